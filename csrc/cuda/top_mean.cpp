#include "cuda/top_mean.h"

#include "cuda/device.h"
#include "tensors.h"

namespace adtool {
namespace {

// An error unless n pixels of a map can be asked for.
cuda::TopOfMaps top_of(const Tensor& maps, int64_t n) {
  const int64_t images = maps.size(0), pixels = images == 0 ? 0 : maps.numel() / images;
  STD_TORCH_CHECK(n >= 1 && (n <= pixels || images == 0), "n: expected 1 to ", pixels, " pixels, got ", n);
  STD_TORCH_CHECK(pixels <= INT32_MAX, "maps: expected fewer than 2^31 pixels each, got ", shape_of(maps));
  return {images, static_cast<uint32_t>(pixels), static_cast<uint32_t>(n)};
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
  const Element element = element_of_features(input, "maps");
  STD_TORCH_CHECK(output_grad.dim() == 1 && output_grad.size(0) == input.size(0), "grad: expected (", input.size(0),
                  ",), one for each map, got ", shape_of(output_grad));
  STD_TORCH_CHECK(output_grad.scalar_type() == compute_dtype(element),
                  "grad: expected float64 for float64 maps, float32 for all others");
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
