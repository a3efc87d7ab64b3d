// (B, N, C) features of nodes as tensors: the numbers of a node lie side by side, or those of a channel, as in
// flattened (B, C, H, W) feature maps.
#pragma once

#include "tensors.h"

namespace adtool {

inline bool nodes_innermost(const Tensor& x) {
  return x.stride(2) != 1 && x.stride(1) == 1;
}

// `x` itself if one of the two layouts fits, else a contiguous copy.
inline Tensor with_dense_axis(const Tensor& x) {
  return x.stride(2) == 1 || x.stride(1) == 1 ? x : torch::stable::contiguous(x);
}

// Without gaps, in the layout of `x`.
inline Tensor empty_laid_out_like(const Tensor& x) {
  if (!nodes_innermost(x)) return torch::stable::new_empty(x, {x.size(0), x.size(1), x.size(2)});
  return torch::stable::transpose(torch::stable::new_empty(x, {x.size(0), x.size(2), x.size(1)}), 1, 2);
}

}  // namespace adtool
