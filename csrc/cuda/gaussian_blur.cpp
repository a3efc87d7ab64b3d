#include "cuda/gaussian_blur.h"

#include "cuda/device.h"
#include "tensors.h"

namespace adtool {
namespace {

constexpr int64_t LONGEST = int64_t{1} << 30;  // side of a map, so that its mirrored double fits an int

void check(const char* error) {
  STD_TORCH_CHECK(error == nullptr, "gaussian_blur: ", error);
}

Tensor gaussian_blur(const Tensor& input, double sigma) {
  const Element element = element_of_features(input, "maps");
  STD_TORCH_CHECK(sigma >= 0 && sigma < 1e6, "sigma: expected a number of pixels from 0 on, got ", sigma);
  STD_TORCH_CHECK(input.size(2) < LONGEST && input.size(3) < LONGEST,
                  "maps: expected fewer than 2^30 rows and columns, got ", shape_of(input));
  const Device device(input);
  const Tensor maps = torch::stable::contiguous(input);
  const Tensor out = torch::stable::empty_like(maps);
  if (maps.numel() == 0) return out;
  const int radius = static_cast<int>(4 * sigma + 0.5);
  const Tensor taps = torch::stable::new_empty(maps, {radius + 1}, compute_dtype(element));
  const Tensor between = torch::stable::new_empty(maps, {maps.numel()}, compute_dtype(element));
  const cuda::BlurPass rows = {maps.size(0) * maps.size(1), static_cast<int>(maps.size(2)),
                               static_cast<int>(maps.size(3)), radius};
  check(cuda::launch_blur_taps(element, taps.mutable_data_ptr(), sigma, radius, device.stream()));
  check(cuda::launch_blur(element, maps.const_data_ptr(), between.mutable_data_ptr(), out.mutable_data_ptr(),
                          taps.const_data_ptr(), rows, device.stream()));
  return out;
}

ADTOOL_CUDA_OPERATORS(library) {
  library.impl("gaussian_blur", TORCH_BOX(&gaussian_blur));
}

}  // namespace
}  // namespace adtool
