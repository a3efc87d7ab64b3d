#include "cuda/group_norm.h"

#include "cuda/device.h"
#include "group_tensors.h"

namespace adtool {
namespace {

Tensor group_norm(const Tensor& input, int64_t count, const Tensor& weight, const Tensor& bias,
                  const std::optional<Tensor>& modulation, double eps, bool silu) {
  const Element element = element_of_features(input, "x");
  const ChannelNumbers given(input, count, weight, bias, modulation, element);
  check_device(weight, "weight", input);
  check_device(bias, "bias", input);
  if (modulation) check_device(*modulation, "modulation", input);
  const Device device(input);
  const Tensor x = dense(input);
  const Tensor y = torch::stable::empty_like(x);
  if (x.numel() == 0) return y;
  const cuda::NormArguments arguments = {given.weight.const_data_ptr(), given.bias.const_data_ptr(), given.rows(), eps,
                                         silu};
  const char* error = cuda::launch_group_norm(element, x.const_data_ptr(), y.mutable_data_ptr(), {planes_of(x), count},
                                              arguments, device.stream());
  STD_TORCH_CHECK(error == nullptr, "group_norm: ", error);
  return y;
}

ADTOOL_CUDA_OPERATORS(library) {
  library.impl("group_norm", TORCH_BOX(&group_norm));
}

}  // namespace
}  // namespace adtool
