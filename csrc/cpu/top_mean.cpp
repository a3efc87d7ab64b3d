#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "instruction_set.h"
#include "tensors.h"

namespace adtool {

ADTOOL_BODIES(collect_above, int64_t(Element, const void*, int64_t, int64_t, double, double*, int64_t*, int64_t))

namespace {

// Mean of the n largest of x[begin, end); not a number if one element is none. The pool holds every element that can
// still be among them; when it is full, all but the n largest are dropped and the n-th becomes the bar to pass.
double mean_of_largest(Element element, const void* x, int64_t begin, int64_t end, int64_t n) {
  constexpr int64_t LEAST_ROOM = 256;
  std::vector<double> pool(n + std::max(n, LEAST_ROOM));
  auto* const collect = collect_above_body();
  double bar = -std::numeric_limits<double>::infinity();
  int64_t size = 0;
  while (begin < end) {
    begin = collect(element, x, begin, end, bar, pool.data(), &size, static_cast<int64_t>(pool.size()));
    for (int64_t i = 0; i < size; ++i) {
      if (std::isnan(pool[i])) return pool[i];
    }
    if (size > n) {
      std::nth_element(pool.begin(), pool.begin() + (n - 1), pool.begin() + size, std::greater<double>());
      bar = pool[n - 1];
      size = n;
    }
  }
  if (size < n) return bar;  // only elements of minus infinity were passed over
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += pool[i];
  return sum / static_cast<double>(n);
}

Tensor top_mean(const Tensor& input, int64_t n) {
  const Element element = element_of_features(input, "maps");
  const Tensor maps = dense(input);
  const int64_t images = maps.size(0), size = images == 0 ? 0 : maps.numel() / images;
  STD_TORCH_CHECK(n >= 1 && (n <= size || images == 0), "n: expected 1 to ", size, " pixels, got ", n);
  const Tensor mean = torch::stable::new_empty(maps, {images}, compute_dtype(element));
  torch::stable::parallel_for(0, images, grain_for(size), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const double value = mean_of_largest(element, maps.const_data_ptr(), i * size, (i + 1) * size, n);
      if (element == Element::float64) {
        static_cast<double*>(mean.mutable_data_ptr())[i] = value;
      } else {
        static_cast<float*>(mean.mutable_data_ptr())[i] = static_cast<float>(value);
      }
    }
  });
  return mean;
}

STABLE_TORCH_LIBRARY_IMPL(adtool, CPU, library) {
  library.impl("top_mean", TORCH_BOX(&top_mean));
}

}  // namespace
}  // namespace adtool
