// Lists of features, teacher's and student's at each scale, as arguments of an operator.
#pragma once

#include <string>
#include <vector>

#include "scales.h"
#include "tensors.h"

namespace adtool {

// Both lists have a pair of features for each scale, all of one element type, which is returned, and of as many images.
inline Element element_of_scales(const std::vector<Tensor>& teacher, const std::vector<Tensor>& student) {
  STD_TORCH_CHECK(!teacher.empty() && teacher.size() == student.size(), "student: expected as many scales as teacher, ",
                  teacher.size(), ", got ", student.size());
  const Element element = element_of_pair(teacher[0], "teacher", student[0], "student");
  for (size_t i = 0; i < teacher.size(); ++i) {
    const Tensor& features = teacher[i];
    STD_TORCH_CHECK(element_of_pair(features, "teacher", student[i], "student") == element,
                    "teacher: expected one element type at every scale");
    STD_TORCH_CHECK(features.size(0) == teacher[0].size(0), "teacher: expected ", teacher[0].size(0),
                    " images at every scale, got ", features.size(0));
    STD_TORCH_CHECK(features.numel() > 0 || features.size(0) == 0,
                    "teacher: expected features of at least one pixel, got ", shape_of(features));
  }
  return element;
}

inline void check_map_size(const std::vector<int64_t>& size) {
  STD_TORCH_CHECK(size.size() == 2 && size[0] > 0 && size[1] > 0, "size: expected (height, width), both positive");
}

inline Reduction reduction_of(const std::string& name) {
  STD_TORCH_CHECK(name == "sum" || name == "mean" || name == "mul", "reduce: expected sum, mean or mul, got ", name);
  return name == "sum" ? Reduction::sum : name == "mean" ? Reduction::mean : Reduction::mul;
}

}  // namespace adtool
