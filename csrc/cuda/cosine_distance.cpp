#include "cuda/cosine_distance.h"

#include <tuple>

#include "cuda/device.h"
#include "tensors.h"

namespace adtool {
namespace {

Tensor cosine_distance(const Tensor& teacher_features, const Tensor& student_features) {
  const Element element = element_of_pair(teacher_features, "teacher", student_features, "student");
  check_device(student_features, "student", teacher_features);
  const Device device(teacher_features);
  const Tensor teacher = dense(teacher_features), student = laid_out_like(student_features, teacher);
  const Tensor map =
      torch::stable::new_empty(teacher, {teacher.size(0), 1, teacher.size(2), teacher.size(3)}, compute_dtype(element));
  const char* error = cuda::launch_cosine_distance_forward(element, teacher.const_data_ptr(), student.const_data_ptr(),
                                                           map.mutable_data_ptr(), planes_of(teacher), device.stream());
  STD_TORCH_CHECK(error == nullptr, "cosine_distance: ", error);
  return map;
}

std::tuple<Tensor, Tensor> cosine_distance_backward(const Tensor& map_grad, const Tensor& teacher_features,
                                                    const Tensor& student_features, bool to_teacher, bool to_student) {
  const Element element = element_of_pair(teacher_features, "teacher", student_features, "student");
  check_device(teacher_features, "teacher", map_grad);
  check_device(student_features, "student", map_grad);
  const Device device(teacher_features);
  const Tensor teacher = dense(teacher_features), student = laid_out_like(student_features, teacher);
  const Planes planes = planes_of(teacher);
  const Tensor grad = torch::stable::contiguous(map_grad);
  STD_TORCH_CHECK(grad.numel() == planes.images * planes.pixels && grad.scalar_type() == compute_dtype(element),
                  "grad: expected a map of the features, got ", shape_of(map_grad));
  Tensor teacher_grad = to_teacher ? torch::stable::empty_like(teacher) : torch::stable::new_empty(teacher, {0});
  Tensor student_grad = to_student ? torch::stable::empty_like(teacher) : torch::stable::new_empty(student, {0});
  const char* error = cuda::launch_cosine_distance_backward(
      element, grad.const_data_ptr(), teacher.const_data_ptr(), student.const_data_ptr(),
      to_teacher ? teacher_grad.mutable_data_ptr() : nullptr, to_student ? student_grad.mutable_data_ptr() : nullptr,
      planes, device.stream());
  STD_TORCH_CHECK(error == nullptr, "cosine_distance_backward: ", error);
  return {teacher_grad, to_student ? laid_out_like(student_grad, dense(student_features)) : student_grad};
}

ADTOOL_CUDA_OPERATORS(library) {
  library.impl("cosine_distance", TORCH_BOX(&cosine_distance));
  library.impl("cosine_distance_backward", TORCH_BOX(&cosine_distance_backward));
}

}  // namespace
}  // namespace adtool
