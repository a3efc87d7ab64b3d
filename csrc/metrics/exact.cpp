// The Python module adtool.metrics._exact; its signatures are in adtool/metrics/_exact.pyi.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "pixel_sorter.h"

namespace py = pybind11;

namespace adtool::metrics {
namespace {

template <class Value>
using Array = py::array_t<Value, py::array::c_style>;
using Mask = Array<bool>;

const uint8_t* pixels_of(const Mask& mask, const py::array& scores) {
  if (mask.ndim() != 2 || mask.shape(0) != scores.shape(0) || mask.shape(1) != scores.shape(1)) {
    throw std::invalid_argument("scores and mask must have the same (height, width)");
  }
  return reinterpret_cast<const uint8_t*>(mask.data());
}

void require_image(const py::array& scores) {
  if (scores.ndim() != 2) throw std::invalid_argument("scores must be (height, width)");
}

template <class Score>
void add(PixelSorter& sorter, const Array<Score>& scores, const std::optional<Mask>& mask) {
  require_image(scores);
  sorter.add(scores.data(), mask ? pixels_of(*mask, scores) : nullptr, scores.shape(0), scores.shape(1));
}

template <class Score>
void add_channels(PixelSorter& sorter, const Array<Score>& scores, const std::vector<Mask>& masks,
                  const std::vector<int64_t>& saturation) {
  require_image(scores);
  if (masks.size() != saturation.size()) throw std::invalid_argument("one saturation per mask");
  std::vector<const uint8_t*> pixels;
  for (const Mask& mask : masks) pixels.push_back(pixels_of(mask, scores));
  sorter.add_channels(scores.data(), pixels, saturation, scores.shape(0), scores.shape(1));
}

template <class Value>
py::array_t<Value> to_numpy(const std::vector<Value>& values) {
  return py::array_t<Value>(values.size(), values.data());
}

py::tuple steps(PixelSorter& sorter) {
  const Steps steps = sorter.steps();
  return py::make_tuple(to_numpy(steps.thresholds), to_numpy(steps.normal_below), to_numpy(steps.normal_tied),
                        to_numpy(steps.anomalous), to_numpy(steps.overlap), sorter.normals(), sorter.regions());
}

}  // namespace
}  // namespace adtool::metrics

PYBIND11_MODULE(_exact, m) {
  using namespace adtool::metrics;
  py::class_<PixelSorter>(m, "PixelSorter")
      .def(py::init<>())
      .def("add", &add<float>, py::arg("scores").noconvert(), py::arg("mask").noconvert())
      .def("add", &add<double>, py::arg("scores").noconvert(), py::arg("mask").noconvert())
      .def("add_channels", &add_channels<float>, py::arg("scores").noconvert(), py::arg("masks"), py::arg("saturation"))
      .def("add_channels", &add_channels<double>, py::arg("scores").noconvert(), py::arg("masks"),
           py::arg("saturation"))
      .def("steps", &steps);
}
