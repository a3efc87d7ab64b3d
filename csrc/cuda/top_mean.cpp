#include "cuda/top_mean.h"

#include "cuda/device.h"
#include "top_maps.h"

namespace adtool {
namespace {

cuda::TopOfMaps top_of(const Tensor& maps, int64_t n) {
  const int64_t pixels = pixels_of(maps, n);
  STD_TORCH_CHECK(pixels <= INT32_MAX, "maps: expected fewer than 2^31 pixels each, got ", shape_of(maps));
  return {maps.size(0), static_cast<uint32_t>(pixels), static_cast<uint32_t>(n)};
}

Tensor top_mean(const Tensor& input, int64_t n) {
  const Element element = element_of_features(input, "maps");
  const cuda::TopOfMaps top = top_of(input, n);
  const Device device(input);
  const Tensor maps = dense(input);
  const Tensor mean = torch::stable::new_empty(maps, {maps.size(0)}, compute_dtype(element));
  const char* error =
      cuda::launch_top_mean_forward(element, maps.const_data_ptr(), mean.mutable_data_ptr(), top, device.stream());
  STD_TORCH_CHECK(error == nullptr, "top_mean: ", error);
  return mean;
}

Tensor top_mean_backward(const Tensor& output_grad, const Tensor& input, int64_t n) {
  const Element element = element_of_maps(input, output_grad);
  const cuda::TopOfMaps top = top_of(input, n);
  check_device(output_grad, "grad", input);
  const Device device(input);
  const Tensor maps = torch::stable::contiguous(input), grad = torch::stable::contiguous(output_grad);
  const Tensor gradient = torch::stable::empty_like(maps);
  const char* error = cuda::launch_top_mean_backward(element, grad.const_data_ptr(), maps.const_data_ptr(),
                                                     gradient.mutable_data_ptr(), top, device.stream());
  STD_TORCH_CHECK(error == nullptr, "top_mean_backward: ", error);
  return gradient;
}

ADTOOL_CUDA_OPERATORS(library) {
  library.impl("top_mean", TORCH_BOX(&top_mean));
  library.impl("top_mean_backward", TORCH_BOX(&top_mean_backward));
}

}  // namespace
}  // namespace adtool
