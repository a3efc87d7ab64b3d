#include "instruction_set.h"
#include "tensors.h"

namespace adtool {

ADTOOL_BODIES(simam_forward, void(Element, const void*, void*, Planes, double, int64_t, int64_t))
ADTOOL_BODIES(simam_backward, void(Element, const void*, const void*, void*, Planes, double, int64_t, int64_t))

namespace {

Tensor simam(const Tensor& input, double lambda) {
  STD_TORCH_CHECK(lambda >= 0, "lambda_: expected a regulariser from 0 on, got ", lambda);
  const Element element = element_of_features(input, "x");
  const Tensor x = dense(input);
  const Tensor y = torch::stable::empty_like(x);
  const Planes planes = planes_of(x);
  auto* const forward = simam_forward_body();
  for_each_item(planes, [&](int64_t begin, int64_t end) {
    forward(element, x.const_data_ptr(), y.mutable_data_ptr(), planes, lambda, begin, end);
  });
  return y;
}

Tensor simam_backward(const Tensor& output_grad, const Tensor& input, double lambda) {
  STD_TORCH_CHECK(lambda >= 0, "lambda_: expected a regulariser from 0 on, got ", lambda);
  const Element element = element_of_pair(input, "x", output_grad, "grad");
  const Tensor x = dense(input), grad = laid_out_like(output_grad, x);
  const Tensor dx = torch::stable::empty_like(x);
  const Planes planes = planes_of(x);
  auto* const backward = simam_backward_body();
  for_each_item(planes, [&](int64_t begin, int64_t end) {
    backward(element, grad.const_data_ptr(), x.const_data_ptr(), dx.mutable_data_ptr(), planes, lambda, begin, end);
  });
  return dx;
}

STABLE_TORCH_LIBRARY_IMPL(adtool, CPU, library) {
  library.impl("simam", TORCH_BOX(&simam));
  library.impl("simam_backward", TORCH_BOX(&simam_backward));
}

}  // namespace
}  // namespace adtool
