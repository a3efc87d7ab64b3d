#include <tuple>

#include "graph_operators.h"

namespace adtool {
namespace {

std::tuple<Tensor, Tensor> topk_max_relative(const Tensor& query, const Tensor& key,
                                             const std::optional<Tensor>& position, const Tensor& x, int64_t k) {
  const Tensor index = topk_neighbors(query, key, position, k);
  return {max_relative(x, index), index};
}

STABLE_TORCH_LIBRARY_IMPL(adtool, CPU, library) {
  library.impl("topk_max_relative", TORCH_BOX(&topk_max_relative));
}

}  // namespace
}  // namespace adtool
