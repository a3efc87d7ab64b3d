#include "cpu/cosine_map.h"

#include <string>
#include <vector>

#include "cpu/cosine_distance.h"
#include "instruction_set.h"
#include "tensors.h"

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

Scale scale_of(const Tensor& teacher_features, const Tensor& student_features, int64_t width) {
  const Element element = element_of_pair(teacher_features, "teacher", student_features, "student");
  const Tensor teacher = dense(teacher_features), student = laid_out_like(student_features, teacher);
  STD_TORCH_CHECK(teacher.numel() > 0 || teacher.size(0) == 0, "teacher: expected features of at least one pixel, got ",
                  shape_of(teacher));
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

Reduction reduction_of(const std::string& name) {
  STD_TORCH_CHECK(name == "sum" || name == "mean" || name == "mul", "reduce: expected sum, mean or mul, got ", name);
  return name == "sum" ? Reduction::sum : name == "mean" ? Reduction::mean : Reduction::mul;
}

Tensor cosine_map(const std::vector<Tensor>& teacher, const std::vector<Tensor>& student,
                  const std::vector<int64_t>& size, const std::string& reduce) {
  STD_TORCH_CHECK(!teacher.empty() && teacher.size() == student.size(), "student: expected as many scales as teacher, ",
                  teacher.size(), ", got ", student.size());
  STD_TORCH_CHECK(size.size() == 2 && size[0] > 0 && size[1] > 0, "size: expected (height, width), both positive");
  const Reduction reduction = reduction_of(reduce);
  const int64_t images = teacher[0].size(0), height = size[0], width = size[1];
  std::vector<Scale> scales;
  std::vector<ScaleMap> maps;
  int64_t widest = 0;
  for (size_t i = 0; i < teacher.size(); ++i) {
    STD_TORCH_CHECK(teacher[i].size(0) == images, "teacher: expected ", images, " images at every scale, got ",
                    teacher[i].size(0));
    scales.push_back(scale_of(teacher[i], student[i], width));
    STD_TORCH_CHECK(scales[i].distances.scalar_type() == scales[0].distances.scalar_type(),
                    "teacher: expected one element type at every scale");
    maps.push_back(scales.back().view());
    widest = std::max(widest, maps.back().width);
  }
  const Tensor& first = scales[0].distances;
  const Tensor map = torch::stable::new_empty(first, {images, 1, height, width});
  auto* const rows = cosine_map_rows_body();
  torch::stable::parallel_for(0, images * height, grain_for(width), [&](int64_t begin, int64_t end) {
    std::vector<double> scratch(widest + 1);
    rows(first.scalar_type() == ScalarType::Double, maps.data(), static_cast<int64_t>(maps.size()), reduction,
         map.mutable_data_ptr(), height, width, scratch.data(), begin, end);
  });
  return map;
}

STABLE_TORCH_LIBRARY_IMPL(adtool, CPU, library) {
  library.impl("cosine_map", TORCH_BOX(&cosine_map));
}

}  // namespace
}  // namespace adtool
