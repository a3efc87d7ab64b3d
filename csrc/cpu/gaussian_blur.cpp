#include "cpu/gaussian_blur.h"

#include <cmath>
#include <vector>

#include "instruction_set.h"
#include "tensors.h"

namespace adtool {

ADTOOL_BODIES(blur_rows, void(Element, const void*, void*, Blur, double*, int64_t, int64_t))

namespace {

// exp(-k^2 / (2 sigma^2)) for k = 0..radius, scaled so that the whole filter sums to one.
std::vector<double> half_filter(double sigma) {
  const int64_t radius = static_cast<int64_t>(4 * sigma + 0.5);
  std::vector<double> taps(radius + 1, 1.0);
  double total = 1;
  for (int64_t k = 1; k <= radius; ++k) {
    taps[k] = std::exp(-0.5 * static_cast<double>(k * k) / (sigma * sigma));
    total += 2 * taps[k];
  }
  for (double& tap : taps) tap /= total;
  return taps;
}

// Positions -radius .. length + radius - 1 folded back into [0, length), edges repeated: d c b a | a b c d | d c b a.
std::vector<int64_t> reflected(int64_t length, int64_t radius) {
  std::vector<int64_t> index(length + 2 * radius);
  for (int64_t i = 0; i < static_cast<int64_t>(index.size()); ++i) {
    const int64_t period = 2 * length, folded = ((i - radius) % period + period) % period;
    index[i] = folded < length ? folded : period - 1 - folded;
  }
  return index;
}

Tensor gaussian_blur(const Tensor& input, double sigma) {
  const Element element = element_of_features(input, "maps");
  STD_TORCH_CHECK(sigma >= 0 && sigma < 1e6, "sigma: expected a number of pixels from 0 on, got ", sigma);
  const Tensor maps = torch::stable::contiguous(input);
  const Tensor out = torch::stable::empty_like(maps);
  if (maps.numel() == 0) return out;
  const int64_t planes = maps.size(0) * maps.size(1), height = maps.size(2), width = maps.size(3);
  const std::vector<double> taps = half_filter(sigma);
  const int64_t radius = static_cast<int64_t>(taps.size()) - 1;
  const std::vector<int64_t> row = reflected(height, radius), column = reflected(width, radius);
  const Blur blur = {taps.data(), row.data(), column.data(), radius, height, width};
  const int64_t blocks = planes * ((height + BLUR_ROWS - 1) / BLUR_ROWS);
  auto* const rows = blur_rows_body();
  torch::stable::parallel_for(0, blocks, grain_for(BLUR_ROWS * width * (radius + 1)), [&](int64_t begin, int64_t end) {
    std::vector<double> line(width + 2 * radius);
    rows(element, maps.const_data_ptr(), out.mutable_data_ptr(), blur, line.data(), begin, end);
  });
  return out;
}

STABLE_TORCH_LIBRARY_IMPL(adtool, CPU, library) {
  library.impl("gaussian_blur", TORCH_BOX(&gaussian_blur));
}

}  // namespace
}  // namespace adtool
