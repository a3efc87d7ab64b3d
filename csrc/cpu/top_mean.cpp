#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "instruction_set.h"
#include "tensors.h"

namespace adtool {

ADTOOL_BODIES(collect_above, int64_t(Element, const void*, int64_t, int64_t, double, double*, int64_t*, int64_t))
ADTOOL_BODIES(share_out, void(Element, const void*, int64_t, int64_t, double, int64_t, double, void*))

namespace {

// A NaN is larger than any number.
bool larger(double a, double b) {
  return a > b || (std::isnan(a) && !std::isnan(b));
}

// Puts the n largest of the pool's first `size` elements first, and the smallest of these last.
void select(std::vector<double>& pool, int64_t size, int64_t n) {
  const auto begin = pool.begin(), end = begin + size, last = begin + (n - 1);
  if (std::none_of(begin, end, [](double value) { return std::isnan(value); })) {
    std::nth_element(begin, last, end, std::greater<double>());
  } else {
    std::nth_element(begin, last, end, larger);
  }
}

// The n largest of x[begin, end), the smallest of them last. The pool holds every element that can still be among them;
// when it is full, all but the n largest are dropped and the n-th becomes the bar to pass.
std::vector<double> largest(Element element, const void* x, int64_t begin, int64_t end, int64_t n) {
  constexpr int64_t LEAST_ROOM = 256;
  std::vector<double> pool(n + std::max(n, LEAST_ROOM));
  auto* const collect = collect_above_body();
  double bar = -std::numeric_limits<double>::infinity();
  int64_t size = 0;
  while (begin < end) {
    begin = collect(element, x, begin, end, bar, pool.data(), &size, static_cast<int64_t>(pool.size()));
    if (size > n) {
      select(pool, size, n);
      bar = pool[n - 1];
      size = n;
    }
  }
  pool.resize(n);
  std::fill(pool.begin() + size, pool.end(), bar);  // only elements of minus infinity were passed over
  select(pool, n, n);
  return pool;
}

// Pixels of a map; an error unless n of them can be asked for.
int64_t pixels_of(const Tensor& maps, int64_t n) {
  const int64_t images = maps.size(0), pixels = images == 0 ? 0 : maps.numel() / images;
  STD_TORCH_CHECK(n >= 1 && (n <= pixels || images == 0), "n: expected 1 to ", pixels, " pixels, got ", n);
  return pixels;
}

Tensor top_mean(const Tensor& input, int64_t n) {
  const Element element = element_of_features(input, "maps");
  const Tensor maps = dense(input);
  const int64_t pixels = pixels_of(maps, n);
  const Tensor mean = torch::stable::new_empty(maps, {maps.size(0)}, compute_dtype(element));
  torch::stable::parallel_for(0, maps.size(0), grain_for(pixels), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      double sum = 0;
      for (double value : largest(element, maps.const_data_ptr(), i * pixels, (i + 1) * pixels, n)) sum += value;
      const double value = sum / static_cast<double>(n);
      if (element == Element::float64) {
        mean.mutable_data_ptr<double>()[i] = value;
      } else {
        mean.mutable_data_ptr<float>()[i] = static_cast<float>(value);
      }
    }
  });
  return mean;
}

Tensor top_mean_backward(const Tensor& output_grad, const Tensor& input, int64_t n) {
  const Element element = element_of_features(input, "maps");
  STD_TORCH_CHECK(output_grad.dim() == 1 && output_grad.size(0) == input.size(0), "grad: expected (", input.size(0),
                  ",), one for each map, got ", shape_of(output_grad));
  STD_TORCH_CHECK(output_grad.scalar_type() == compute_dtype(element),
                  "grad: expected float64 for float64 maps, float32 for all others");
  const Tensor maps = torch::stable::contiguous(input), grad = torch::stable::contiguous(output_grad);
  const int64_t pixels = pixels_of(maps, n);
  const Tensor gradient = torch::stable::new_zeros(maps, {maps.size(0), maps.size(1), maps.size(2), maps.size(3)});
  auto* const share_out = share_out_body();
  torch::stable::parallel_for(0, maps.size(0), grain_for(pixels), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const std::vector<double> kept = largest(element, maps.const_data_ptr(), i * pixels, (i + 1) * pixels, n);
      const double bar = kept.back();
      const int64_t above = std::count_if(kept.begin(), kept.end(), [=](double value) { return larger(value, bar); });
      const double share = element == Element::float64 ? grad.const_data_ptr<double>()[i] / static_cast<double>(n)
                                                       : grad.const_data_ptr<float>()[i] / static_cast<float>(n);
      share_out(element, maps.const_data_ptr(), i * pixels, (i + 1) * pixels, bar, n - above, share,
                gradient.mutable_data_ptr());
    }
  });
  return gradient;
}

STABLE_TORCH_LIBRARY_IMPL(adtool, CPU, library) {
  library.impl("top_mean", TORCH_BOX(&top_mean));
  library.impl("top_mean_backward", TORCH_BOX(&top_mean_backward));
}

}  // namespace
}  // namespace adtool
