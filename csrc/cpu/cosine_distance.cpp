#include "cpu/cosine_distance.h"

#include <tuple>

#include "instruction_set.h"
#include "tensors.h"

namespace adtool {

ADTOOL_BODIES(cosine_distance_forward, void(Element, const void*, const void*, void*, Planes, int64_t, int64_t))
ADTOOL_BODIES(cosine_distance_backward,
              void(Element, const void*, const void*, const void*, void*, void*, Planes, int64_t, int64_t))

namespace {

// Runs `function(begin, end)` over blocks of pixels in parallel.
template <class Function>
void for_each_block(const Planes& planes, const Function& function) {
  const int64_t blocks = planes.images * ((planes.pixels + PIXEL_BLOCK - 1) / PIXEL_BLOCK);
  const int64_t elements = std::min(PIXEL_BLOCK, planes.pixels) * planes.channels;
  torch::stable::parallel_for(0, blocks, grain_for(elements), function);
}

}  // namespace

void cosine_distances(Element element, const void* teacher, const void* student, void* out, const Planes& planes) {
  auto* const forward = cosine_distance_forward_body();
  for_each_block(planes,
                 [&](int64_t begin, int64_t end) { forward(element, teacher, student, out, planes, begin, end); });
}

namespace {

Tensor cosine_distance(const Tensor& teacher_features, const Tensor& student_features) {
  const Element element = element_of_pair(teacher_features, "teacher", student_features, "student");
  const Tensor teacher = dense(teacher_features), student = laid_out_like(student_features, teacher);
  const Tensor map =
      torch::stable::new_empty(teacher, {teacher.size(0), 1, teacher.size(2), teacher.size(3)}, compute_dtype(element));
  cosine_distances(element, teacher.const_data_ptr(), student.const_data_ptr(), map.mutable_data_ptr(),
                   planes_of(teacher));
  return map;
}

std::tuple<Tensor, Tensor> cosine_distance_backward(const Tensor& map_grad, const Tensor& teacher_features,
                                                    const Tensor& student_features, bool to_teacher, bool to_student) {
  const Element element = element_of_pair(teacher_features, "teacher", student_features, "student");
  const Tensor teacher = dense(teacher_features), student = laid_out_like(student_features, teacher);
  const Planes planes = planes_of(teacher);
  const Tensor grad = torch::stable::contiguous(map_grad);
  STD_TORCH_CHECK(grad.numel() == planes.images * planes.pixels && grad.scalar_type() == compute_dtype(element),
                  "grad: expected a map of the features, got ", shape_of(map_grad));
  Tensor teacher_grad = to_teacher ? torch::stable::empty_like(teacher) : torch::stable::new_empty(teacher, {0});
  Tensor student_grad = to_student ? torch::stable::empty_like(teacher) : torch::stable::new_empty(student, {0});
  auto* const backward = cosine_distance_backward_body();
  for_each_block(planes, [&](int64_t begin, int64_t end) {
    backward(element, grad.const_data_ptr(), teacher.const_data_ptr(), student.const_data_ptr(),
             to_teacher ? teacher_grad.mutable_data_ptr() : nullptr,
             to_student ? student_grad.mutable_data_ptr() : nullptr, planes, begin, end);
  });
  return {teacher_grad, to_student ? laid_out_like(student_grad, dense(student_features)) : student_grad};
}

STABLE_TORCH_LIBRARY_IMPL(adtool, CPU, library) {
  library.impl("cosine_distance", TORCH_BOX(&cosine_distance));
  library.impl("cosine_distance_backward", TORCH_BOX(&cosine_distance_backward));
}

}  // namespace
}  // namespace adtool
