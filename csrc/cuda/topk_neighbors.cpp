#include "cuda/topk_neighbors.h"

#include <algorithm>

#include "cuda/device.h"
#include "cuda/graph_operators.h"

namespace adtool {
namespace {

constexpr int64_t SPARE = 7;                          // candidates beyond k at least, for scores in doubt
constexpr int64_t SIMILAR_BYTES = int64_t{32} << 20;  // similarities of positions at a time
constexpr int64_t ROWS = 64;                          // of them in multiples of this

Tensor scales_for(const Tensor& x) {
  const int64_t rows = x.dim() == 3 ? x.size(0) * x.size(1) : x.size(0);
  return torch::stable::new_empty(x, {rows * static_cast<int64_t>(sizeof(cuda::RowScale))}, ScalarType::Byte);
}

cuda::RowSet rows_of(const Tensor& x, const Tensor& scales) {
  const bool many = x.dim() == 3;
  return {x.const_data_ptr(),   static_cast<cuda::RowScale*>(scales.mutable_data_ptr()),
          many ? x.size(0) : 1, x.size(-2),
          x.size(-1),           many ? x.stride(0) : 0,
          x.stride(-2),         x.stride(-1)};
}

void check(const char* error) {
  STD_TORCH_CHECK(error == nullptr, "topk_neighbors: ", error);
}

void check(const Tensor& query, const Tensor& key, const std::optional<Tensor>& position, int64_t k) {
  STD_TORCH_CHECK(query.dim() == 3 && same_shape(query, key), "query and key: expected (B, N, D) each, got ",
                  shape_of(query), " and ", shape_of(key));
  STD_TORCH_CHECK(query.scalar_type() == key.scalar_type(), "key: expected the element type of query");
  const int64_t nodes = query.size(1);
  STD_TORCH_CHECK(!position || (position->dim() == 2 && position->size(0) == nodes), "position: expected (", nodes,
                  ", P), got ", shape_of(*position));
  STD_TORCH_CHECK(k >= 1 && k <= nodes, "k: expected 1 to the ", nodes, " nodes, got ", k);
  STD_TORCH_CHECK(nodes <= 65535 * ROWS, "query: expected at most ", 65535 * ROWS, " nodes, got ", nodes);
}

}  // namespace

Tensor cuda::topk_neighbors(const Tensor& query, const Tensor& key, const std::optional<Tensor>& given_position,
                            int64_t k) {
  check(query, key, given_position, k);
  const Element element = element_of(query, "query");
  if (given_position) element_of(*given_position, "position");
  check_device(key, "key", query);
  if (given_position) check_device(*given_position, "position", query);
  const Device device(query);
  const int64_t graphs = query.size(0), nodes = query.size(1);
  const Tensor index = torch::stable::new_empty(query, {graphs, nodes, k}, ScalarType::Long);
  if (graphs == 0) return index;
  const Tensor position = given_position ? torch::stable::to(*given_position, ScalarType::Double) : query;
  const Tensor query_scales = scales_for(query), key_scales = scales_for(key), position_scales = scales_for(position);
  const cuda::RowSet queries = rows_of(query, query_scales), keys = rows_of(key, key_scales);
  cuda::RowSet positions = given_position ? rows_of(position, position_scales) : cuda::RowSet{};

  const int64_t keep = (k + SPARE + cuda::KEPT - 1) / cuda::KEPT * cuda::KEPT;
  const Tensor scores = torch::stable::new_empty(query, {graphs * nodes * keep}, ScalarType::Float);
  const Tensor rows = torch::stable::new_empty(query, {graphs * nodes * keep}, ScalarType::Int);
  const Tensor distances = torch::stable::new_empty(query, {graphs * nodes * k}, ScalarType::Double);
  // twice the rounding of two cosines in depth + 8 steps of 2^-24 each
  const float slack = 0x1p-23f * static_cast<float>(queries.depth + positions.depth + 16);
  const cuda::NeighborLists lists = {scores.mutable_data_ptr<float>(),
                                     rows.mutable_data_ptr<int32_t>(),
                                     distances.mutable_data_ptr<double>(),
                                     index.mutable_data_ptr<int64_t>(),
                                     k,
                                     keep,
                                     slack};

  void* const stream = device.stream();
  check(cuda::launch_row_scales(element, queries, stream));
  check(cuda::launch_row_scales(element, keys, stream));
  if (given_position) check(cuda::launch_row_scales(Element::float64, positions, stream));
  const int64_t fit = std::max(SIMILAR_BYTES / (4 * nodes) / ROWS, int64_t{1}) * ROWS;
  const int64_t chunk = given_position ? std::min(fit, nodes) : nodes;
  const Tensor similar = torch::stable::new_empty(query, {given_position ? chunk * nodes : 0}, ScalarType::Float);
  float* const compared = given_position ? similar.mutable_data_ptr<float>() : nullptr;
  for (int64_t begin = 0; begin < nodes; begin += chunk) {
    const int64_t end = std::min(begin + chunk, nodes);
    if (given_position) check(cuda::launch_similar(positions, begin, end, compared, stream));
    check(cuda::launch_search(element, queries, keys, begin, end, compared, lists, stream));
  }
  check(cuda::launch_settle(element, queries, keys, positions, lists, stream));
  return index;
}

namespace {

ADTOOL_CUDA_OPERATORS(library) {
  library.impl("topk_neighbors", TORCH_BOX(&cuda::topk_neighbors));
}

}  // namespace
}  // namespace adtool
