#include "cpu/cosine_map.h"

#include <string>
#include <vector>

#include "cpu/cosine_distance.h"
#include "instruction_set.h"
#include "scale_tensors.h"

namespace adtool {

ADTOOL_BODIES(cosine_map_rows,
              void(bool, const ScaleMap*, int64_t, Reduction, void*, int64_t, int64_t, double*, int64_t, int64_t))

namespace {

struct Scale {
  Tensor distances;  // (N, 1, H, W)
  std::vector<int32_t> column;
  std::vector<double> weight;

  ScaleMap view() const {
    return {distances.const_data_ptr(), distances.size(2), distances.size(3), column.data(), weight.data()};
  }
};

Scale scale_of(Element element, const Tensor& teacher_features, const Tensor& student_features, int64_t width) {
  const Tensor teacher = dense(teacher_features), student = laid_out_like(student_features, teacher);
  Scale scale = {
      torch::stable::new_empty(teacher, {teacher.size(0), 1, teacher.size(2), teacher.size(3)}, compute_dtype(element)),
      std::vector<int32_t>(width), std::vector<double>(width)};
  cosine_distances(element, teacher.const_data_ptr(), student.const_data_ptr(), scale.distances.mutable_data_ptr(),
                   planes_of(teacher));
  for (int64_t x = 0; x < width; ++x) {
    const double position = source_position(x, teacher.size(3), width);
    scale.column[x] = static_cast<int32_t>(position);
    scale.weight[x] = position - scale.column[x];
  }
  return scale;
}

Tensor cosine_map(const std::vector<Tensor>& teacher, const std::vector<Tensor>& student,
                  const std::vector<int64_t>& size, const std::string& reduce) {
  const Element element = element_of_scales(teacher, student);
  check_map_size(size);
  const Reduction reduction = reduction_of(reduce);
  const int64_t images = teacher[0].size(0), height = size[0], width = size[1];
  std::vector<Scale> scales;
  std::vector<ScaleMap> maps;
  int64_t widest = 0;
  for (size_t i = 0; i < teacher.size(); ++i) {
    scales.push_back(scale_of(element, teacher[i], student[i], width));
    maps.push_back(scales.back().view());
    widest = std::max(widest, maps.back().width);
  }
  const Tensor& first = scales[0].distances;
  const Tensor map = torch::stable::new_empty(first, {images, 1, height, width});
  auto* const rows = cosine_map_rows_body();
  torch::stable::parallel_for(0, images * height, grain_for(width), [&](int64_t begin, int64_t end) {
    std::vector<double> scratch(widest + 1);
    rows(element == Element::float64, maps.data(), static_cast<int64_t>(maps.size()), reduction, map.mutable_data_ptr(),
         height, width, scratch.data(), begin, end);
  });
  return map;
}

STABLE_TORCH_LIBRARY_IMPL(adtool, CPU, library) {
  library.impl("cosine_map", TORCH_BOX(&cosine_map));
}

}  // namespace
}  // namespace adtool
