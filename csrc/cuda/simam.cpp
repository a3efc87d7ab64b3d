#include "cuda/simam.h"

#include "cuda/device.h"
#include "tensors.h"

namespace adtool {
namespace {

Tensor simam(const Tensor& input, double lambda) {
  const Element element = element_of_features(input, "x");
  const Device device(input);
  const Tensor x = dense(input);
  const Tensor y = torch::stable::empty_like(x);
  const char* error = cuda::launch_simam_forward(element, x.const_data_ptr(), y.mutable_data_ptr(), planes_of(x),
                                                 lambda, device.stream());
  STD_TORCH_CHECK(error == nullptr, "simam: ", error);
  return y;
}

Tensor simam_backward(const Tensor& output_grad, const Tensor& input, double lambda) {
  const Element element = element_of_pair(input, "x", output_grad, "grad");
  check_device(output_grad, "grad", input);
  const Device device(input);
  const Tensor x = dense(input), grad = laid_out_like(output_grad, x);
  const Tensor dx = torch::stable::empty_like(x);
  const char* error = cuda::launch_simam_backward(element, grad.const_data_ptr(), x.const_data_ptr(),
                                                  dx.mutable_data_ptr(), planes_of(x), lambda, device.stream());
  STD_TORCH_CHECK(error == nullptr, "simam_backward: ", error);
  return dx;
}

ADTOOL_CUDA_OPERATORS(library) {
  library.impl("simam", TORCH_BOX(&simam));
  library.impl("simam_backward", TORCH_BOX(&simam_backward));
}

}  // namespace
}  // namespace adtool
