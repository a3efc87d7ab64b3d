// The graph operators on CUDA, for the one that calls both.
#pragma once

#include <optional>

#include "tensors.h"

namespace adtool::cuda {

Tensor topk_neighbors(const Tensor& query, const Tensor& key, const std::optional<Tensor>& position, int64_t k);
Tensor max_relative(const Tensor& x, const Tensor& index);

}  // namespace adtool::cuda
