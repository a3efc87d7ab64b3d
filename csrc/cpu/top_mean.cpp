#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

#include "instruction_set.h"
#include "top_maps.h"

namespace adtool {

ADTOOL_BODIES(block_maxima, bool(Element, const void*, int64_t, int64_t, int64_t, double*))
ADTOOL_BODIES(collect_above, int64_t(Element, const void*, int64_t, int64_t, double, double*, int64_t*, int64_t))
ADTOOL_BODIES(share_out, void(Element, const void*, int64_t, int64_t, double, int64_t*, double, void*))

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

// The largest of the elements that are shown to it. The pool holds all that can still be among them; when it is full,
// all but the n largest are dropped and the n-th becomes the bar to pass.
class Largest {
 public:
  Largest(Element element, const void* x, int64_t n, double bar)
      : element_(element), x_(x), n_(n), bar_(bar), pool_(n + std::max(n, LEAST_ROOM)) {}

  // Looks at x[begin, end).
  void scan(int64_t begin, int64_t end) {
    while (begin < end) {
      begin = collect_(element_, x_, begin, end, bar_, pool_.data(), &size_, static_cast<int64_t>(pool_.size()));
      if (begin < end) drop();
    }
  }

  // The n largest, the smallest of them last.
  std::vector<double> take() {
    if (size_ > n_) drop();
    pool_.resize(n_);
    std::fill(pool_.begin() + size_, pool_.end(), bar_);  // what was passed over and is among them equals the bar
    select(pool_, n_, n_);
    return std::move(pool_);
  }

 private:
  static constexpr int64_t LEAST_ROOM = 256;
  Element element_;
  const void* x_;
  int64_t n_, size_ = 0;
  double bar_;
  std::vector<double> pool_;
  decltype(collect_above_body()) collect_ = collect_above_body();

  void drop() {
    if (size_ <= n_) return;
    select(pool_, size_, n_);
    bar_ = pool_[n_ - 1];
    size_ = n_;
  }
};

// The largest element of each whole block of x[begin, end); none where a map is too short for blocks to tell much about
// its n largest elements, or where an element is not a number.
constexpr int64_t BLOCK = 128;
std::vector<double> maxima_of_blocks(Element element, const void* x, int64_t begin, int64_t end, int64_t n) {
  constexpr int64_t ENOUGH = 4;
  const int64_t blocks = (end - begin) / BLOCK;
  std::vector<double> maxima(blocks >= ENOUGH * n ? blocks : 0);
  if (!maxima.empty() && !block_maxima_body()(element, x, begin, blocks, BLOCK, maxima.data())) maxima.clear();
  return maxima;
}

// Calls `function(begin, end)` for the parts of x[begin, end) that have elements of at least the bar: blocks whose
// maximum says so, and what no block covers.
template <class Function>
void for_each_part(const std::vector<double>& maxima, int64_t begin, int64_t end, double bar,
                   const Function& function) {
  for (const double maximum : maxima) {
    if (maximum >= bar) function(begin, begin + BLOCK);
    begin += BLOCK;
  }
  function(begin, end);
}

// The n largest of x[begin, end), the smallest of them last. Where n blocks reach a bar, so do n elements: the n-th
// largest maximum leaves little to look at.
std::vector<double> largest(Element element, const void* x, int64_t begin, int64_t end, int64_t n,
                            const std::vector<double>& maxima) {
  double bar = -std::numeric_limits<double>::infinity();
  if (!maxima.empty()) {
    std::vector<double> order = maxima;
    select(order, static_cast<int64_t>(order.size()), n);
    bar = order[n - 1];
  }
  Largest found(element, x, n, bar);
  for_each_part(maxima, begin, end, bar, [&](int64_t first, int64_t last) { found.scan(first, last); });
  return found.take();
}

Tensor top_mean(const Tensor& input, int64_t n) {
  const Element element = element_of_features(input, "maps");
  const Tensor maps = dense(input);
  const int64_t pixels = pixels_of(maps, n);
  const Tensor mean = torch::stable::new_empty(maps, {maps.size(0)}, compute_dtype(element));
  torch::stable::parallel_for(0, maps.size(0), grain_for(pixels), [&](int64_t first_map, int64_t last_map) {
    for (int64_t i = first_map; i < last_map; ++i) {
      const void* const x = maps.const_data_ptr();
      const std::vector<double> maxima = maxima_of_blocks(element, x, i * pixels, (i + 1) * pixels, n);
      double sum = 0;
      for (double value : largest(element, x, i * pixels, (i + 1) * pixels, n, maxima)) sum += value;
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
  const Element element = element_of_maps(input, output_grad);
  const Tensor maps = torch::stable::contiguous(input), grad = torch::stable::contiguous(output_grad);
  const int64_t pixels = pixels_of(maps, n);
  const Tensor gradient = torch::stable::new_zeros(maps, {maps.size(0), maps.size(1), maps.size(2), maps.size(3)});
  auto* const share_out = share_out_body();
  torch::stable::parallel_for(0, maps.size(0), grain_for(pixels), [&](int64_t first_map, int64_t last_map) {
    for (int64_t i = first_map; i < last_map; ++i) {
      const void* const x = maps.const_data_ptr();
      const int64_t first = i * pixels, last = first + pixels;
      const std::vector<double> maxima = maxima_of_blocks(element, x, first, last, n);
      const std::vector<double> kept = largest(element, x, first, last, n, maxima);
      const double bar = kept.back();
      const int64_t above = std::count_if(kept.begin(), kept.end(), [=](double value) { return larger(value, bar); });
      const double share = element == Element::float64 ? grad.const_data_ptr<double>()[i] / static_cast<double>(n)
                                                       : grad.const_data_ptr<float>()[i] / static_cast<float>(n);
      int64_t ties = n - above;
      for_each_part(maxima, first, last, bar, [&](int64_t begin, int64_t end) {
        share_out(element, x, begin, end, bar, &ties, share, gradient.mutable_data_ptr());
      });
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
