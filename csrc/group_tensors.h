// The tensors of group_norm: features, what norms and modulates their channels, and how they are cut.
#pragma once

#include <initializer_list>
#include <optional>

#include "groups.h"
#include "tensors.h"

namespace adtool {

// One number for each channel or more, contiguous and of the type that is computed with; an error names the argument.
inline Tensor channel_numbers(const Tensor& tensor, const char* argument, std::initializer_list<int64_t> sizes,
                              Element element) {
  bool fits = tensor.dim() == static_cast<int64_t>(sizes.size());
  std::string expected;
  int64_t axis = 0;
  for (const int64_t size : sizes) {
    fits = fits && tensor.size(axis++) == size;
    expected += (expected.empty() ? "(" : ", ") + std::to_string(size);
  }
  STD_TORCH_CHECK(fits, argument, ": expected ", expected, "), got ", shape_of(tensor));
  STD_TORCH_CHECK(tensor.scalar_type() == compute_dtype(element), argument,
                  ": expected float64 for float64 features, float32 for all others");
  return torch::stable::contiguous(tensor);
}

// What an operator is given besides x, checked and without gaps.
struct ChannelNumbers {
  Tensor weight, bias;
  std::optional<Tensor> modulation;  // (N, 2 C): scales, then shifts

  ChannelNumbers(const Tensor& x, int64_t groups, const Tensor& weight, const Tensor& bias,
                 const std::optional<Tensor>& modulation, Element element)
      : weight(channel_numbers(weight, "weight", {x.size(1)}, element)),
        bias(channel_numbers(bias, "bias", {x.size(1)}, element)) {
    STD_TORCH_CHECK(groups >= 1 && x.size(1) % groups == 0, "groups: expected a divisor of the ", x.size(1),
                    " channels, got ", groups);
    if (modulation) this->modulation = channel_numbers(*modulation, "modulation", {x.size(0), 2 * x.size(1)}, element);
  }

  const void* rows() const { return modulation ? modulation->const_data_ptr() : nullptr; }
};

}  // namespace adtool
