#include <cmath>

#include "group_tensors.h"
#include "instruction_set.h"
#include "row_tensors.h"

namespace adtool {

ADTOOL_BODIES(group_moments, void(Element, const void*, void*, Groups, int64_t, int64_t))
ADTOOL_BODIES(group_apply, void(Element, const void*, void*, const void*, Groups, bool, int64_t, int64_t))

namespace {

template <class T>
struct Norm {
  Groups groups;
  double eps;
  const T *weight, *bias, *modulation;

  // Means, factors and offsets (3, C) of one image, from the moments of its pieces (pieces, 2, C).
  void numbers(const T* moments, int64_t image, T* out) const {
    const int64_t channels = groups.planes.channels, pixels = groups.planes.pixels, per_group = groups.channels();
    const T* const scale = modulation == nullptr ? nullptr : modulation + image * 2 * channels;
    for (int64_t first = 0; first < channels; first += per_group) {
      double mean = 0, squares = 0;
      each_moment(moments, first, [&](double count, T piece_mean, T) { mean += count * piece_mean; });
      mean /= static_cast<double>(pixels * per_group);
      each_moment(moments, first, [&](double count, T piece_mean, T piece_squares) {
        squares += piece_squares + count * (piece_mean - mean) * (piece_mean - mean);
      });
      const double reciprocal = 1 / std::sqrt(squares / static_cast<double>(pixels * per_group) + eps);
      for (int64_t c = first; c < first + per_group; ++c) {
        const double factor = scale == nullptr ? 1 : 1 + static_cast<double>(scale[c]);
        const double shift = scale == nullptr ? 0 : static_cast<double>(scale[channels + c]);
        out[c] = static_cast<T>(mean);
        out[channels + c] = static_cast<T>(reciprocal * weight[c] * factor);
        out[2 * channels + c] = static_cast<T>(bias[c] * factor + shift);
      }
    }
  }

 private:
  // Calls visit(pixels, mean, squares) for each piece of each channel of the group from `first` on, always in this
  // order.
  template <class Visit>
  void each_moment(const T* moments, int64_t first, const Visit& visit) const {
    const int64_t channels = groups.planes.channels;
    for (int64_t p = 0, begin = 0; begin < groups.planes.pixels; ++p, begin += groups.piece()) {
      const auto count = static_cast<double>(std::min(groups.piece(), groups.planes.pixels - begin));
      const T* const mean = moments + p * 2 * channels;
      for (int64_t c = first; c < first + groups.channels(); ++c) visit(count, mean[c], mean[channels + c]);
    }
  }
};

template <class T>
void run(Element element, const Tensor& x, const Tensor& y, const Norm<T>& norm, bool silu) {
  const Groups& groups = norm.groups;
  const int64_t images = groups.planes.images, channels = groups.planes.channels, items = images * groups.pieces();
  const Workspace<T> moments(x, items * 2 * channels), numbers(x, images * 3 * channels);
  const int64_t grain = grain_for(groups.piece() * channels);
  auto* const take = group_moments_body();
  torch::stable::parallel_for(0, items, grain, [&](int64_t begin, int64_t end) {
    take(element, x.const_data_ptr(), moments.data, groups, begin, end);
  });
  for (int64_t image = 0; image < images; ++image) {
    norm.numbers(moments.data + image * groups.pieces() * 2 * channels, image, numbers.data + image * 3 * channels);
  }
  auto* const apply = group_apply_body();
  torch::stable::parallel_for(0, items, grain, [&](int64_t begin, int64_t end) {
    apply(element, x.const_data_ptr(), y.mutable_data_ptr(), numbers.data, groups, silu, begin, end);
  });
}

Tensor group_norm(const Tensor& input, int64_t count, const Tensor& weight, const Tensor& bias,
                  const std::optional<Tensor>& modulation, double eps, bool silu) {
  const Element element = element_of_features(input, "x");
  const ChannelNumbers given(input, count, weight, bias, modulation, element);
  const Tensor x = dense(input);
  const Tensor y = torch::stable::empty_like(x);
  if (x.numel() == 0) return y;
  const auto norm = [&](auto compute) {
    using T = decltype(compute);
    const auto* const w = static_cast<const T*>(given.weight.const_data_ptr());
    const auto* const b = static_cast<const T*>(given.bias.const_data_ptr());
    run<T>(element, x, y, {{planes_of(x), count}, eps, w, b, static_cast<const T*>(given.rows())}, silu);
  };
  element == Element::float64 ? norm(double{}) : norm(float{});
  return y;
}

STABLE_TORCH_LIBRARY_IMPL(adtool, CPU, library) {
  library.impl("group_norm", TORCH_BOX(&group_norm));
}

}  // namespace
}  // namespace adtool
