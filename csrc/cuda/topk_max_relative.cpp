#include <tuple>

#include "cuda/device.h"
#include "cuda/graph_operators.h"

namespace adtool {
namespace {

std::tuple<Tensor, Tensor> topk_max_relative(const Tensor& query, const Tensor& key,
                                             const std::optional<Tensor>& position, const Tensor& x, int64_t k) {
  check_device(x, "x", query);
  const Tensor index = cuda::topk_neighbors(query, key, position, k);
  return {cuda::max_relative(x, index), index};
}

ADTOOL_CUDA_OPERATORS(library) {
  library.impl("topk_max_relative", TORCH_BOX(&topk_max_relative));
}

}  // namespace
}  // namespace adtool
