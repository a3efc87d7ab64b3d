// What the CPU operators need of tensors, on torch's stable ABI.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "element.h"
#include "planes.h"

namespace adtool {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// "(2, 3, 4)", for error messages.
inline std::string shape_of(const Tensor& tensor) {
  std::string text = "(";
  for (int64_t d = 0; d < tensor.dim(); ++d) text += (d ? ", " : "") + std::to_string(tensor.size(d));
  return text + ")";
}

inline bool same_shape(const Tensor& a, const Tensor& b) {
  bool same = a.dim() == b.dim();
  for (int64_t d = 0; same && d < a.dim(); ++d) same = a.size(d) == b.size(d);
  return same;
}

// The storage type of `tensor`; an error names the argument.
inline Element element_of(const Tensor& tensor, const char* argument) {
  switch (tensor.scalar_type()) {
    case ScalarType::Double:
      return Element::float64;
    case ScalarType::Half:
      return Element::float16;
    case ScalarType::BFloat16:
      return Element::bfloat16;
    default:
      break;
  }
  STD_TORCH_CHECK(tensor.scalar_type() == ScalarType::Float, argument,
                  ": expected float32, float64, float16 or bfloat16 elements");
  return Element::float32;
}

// The storage type of (N, C, H, W) features.
inline Element element_of_features(const Tensor& tensor, const char* argument) {
  STD_TORCH_CHECK(tensor.dim() == 4, argument, ": expected (N, C, H, W), got ", shape_of(tensor));
  return element_of(tensor, argument);
}

// The same for two tensors that agree in shape and storage type.
inline Element element_of_pair(const Tensor& first, const char* first_argument, const Tensor& second,
                               const char* second_argument) {
  STD_TORCH_CHECK(same_shape(first, second), second_argument, ": expected the shape of ", first_argument, " ",
                  shape_of(first), ", got ", shape_of(second));
  STD_TORCH_CHECK(first.scalar_type() == second.scalar_type(), second_argument, ": expected the element type of ",
                  first_argument);
  return element_of_features(first, first_argument);
}

// The type that is accumulated in, and that maps and scores are given in.
inline ScalarType compute_dtype(Element element) {
  return element == Element::float64 ? ScalarType::Double : ScalarType::Float;
}

// Whether an (N, C, H, W) tensor lies in memory as (N, H, W, C) without gaps. Strides of length-1 axes mean nothing.
inline bool is_channels_last(const Tensor& tensor) {
  int64_t expected = 1;
  for (int64_t d : {1, 3, 2, 0}) {
    if (tensor.size(d) != 1 && tensor.stride(d) != expected) return false;
    expected *= tensor.size(d);
  }
  return true;
}

// `tensor` itself if it is contiguous or channels last, else a contiguous copy.
inline Tensor dense(const Tensor& tensor) {
  return tensor.is_contiguous() || is_channels_last(tensor) ? tensor : torch::stable::contiguous(tensor);
}

// `tensor` in the memory format of the dense tensor `like`; copied only if it is not.
inline Tensor laid_out_like(const Tensor& tensor, const Tensor& like) {
  if (like.is_contiguous()) return torch::stable::contiguous(tensor);
  return is_channels_last(tensor) ? tensor : torch::stable::contiguous(tensor, MemoryFormat::ChannelsLast);
}

inline Planes planes_of(const Tensor& dense) {
  return {dense.size(0), dense.size(1), dense.size(2) * dense.size(3), !dense.is_contiguous()};
}

// Work items per thread at least, so that each has enough to do.
inline int64_t grain_for(int64_t elements_per_item) {
  constexpr int64_t ELEMENTS_PER_THREAD = 1 << 14;
  return ELEMENTS_PER_THREAD / std::max<int64_t>(elements_per_item, 1) + 1;
}

// Runs `function(begin, end)` over the work items of `planes` in parallel.
template <class Function>
void for_each_item(const Planes& planes, const Function& function) {
  torch::stable::parallel_for(0, planes.items(), grain_for(planes.pixels_per_item()), function);
}

}  // namespace adtool
