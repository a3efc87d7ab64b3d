// Graph neighbours: how the work is cut so that memory stays within a fixed budget, and how threads share it.
#include "cpu/topk_neighbors.h"

#include <limits>
#include <optional>
#include <vector>

#include "graph_operators.h"
#include "instruction_set.h"
#include "row_tensors.h"

namespace adtool {

using Pack = void(const UnitRows&, int64_t, int64_t, float*);
using Similar = void(const UnitRows&, int64_t, int64_t, const PackedColumns&, float*, float*, int64_t);
using Start = void(int64_t, float, const Candidates&);
using Scan = void(const UnitRows&, int64_t, int64_t, const PackedKeys&, float*, const Candidates&);
using Settle = void(const UnitRows&, int64_t, int64_t, const UnitRows&, const UnitRows&, const Candidates&, double*,
                    int64_t*);
ADTOOL_BODIES(neighbors_pack, Pack)
ADTOOL_BODIES(neighbors_similar, Similar)
ADTOOL_BODIES(neighbors_start, Start)
ADTOOL_BODIES(neighbors_scan, Scan)
ADTOOL_BODIES(neighbors_settle, Settle)

namespace {

constexpr int64_t SPARE = 7;                         // candidates beyond k at least, for scores in doubt
constexpr int64_t GRAPHS = 8;                        // that share the similarities of positions
constexpr int64_t KEY_BYTES = int64_t{8} << 20;      // packed keys at a time
constexpr int64_t SIMILAR_BYTES = int64_t{4} << 20;  // similarities of positions at a time
constexpr int64_t BLOCK_BYTES = int64_t{256} << 10;  // packed queries of a thread, which stay in its second-level cache
constexpr int64_t PRODUCTS_PER_THREAD = 1 << 22;     // with fewer, another thread costs more than it saves

// The tensor itself where the numbers of a row lie side by side, or those of a column, else a copy.
Tensor with_dense_matrices(const Tensor& x) {
  return x.stride(-1) == 1 || x.stride(-2) == 1 ? x : torch::stable::contiguous(x);
}

Rows rows_of_matrix(const Tensor& x, int64_t matrix, const char* argument) {
  const Element element = element_of(x, argument);
  const int64_t bytes = element == Element::float64 ? 8 : element == Element::float32 ? 4 : 2;
  const auto* const data = static_cast<const char*>(x.const_data_ptr());
  const int64_t offset = x.dim() == 3 ? matrix * x.stride(0) * bytes : 0;
  // of strides that are both 1, or those of an axis of one, the row's is the one to go by
  return {element, data + offset, x.size(-2), x.size(-1), x.stride(-2), x.size(-1) == 1 ? 1 : x.stride(-1)};
}

struct Search {
  const Tensor &query, &key;
  const Tensor* position;
  int64_t k, threads;
  int64_t* index;

  int64_t graphs = query.size(0), nodes = query.size(1), depth = query.size(2);
  int64_t position_depth = position == nullptr ? 0 : position->size(1);
  int64_t keep = whole(k + SPARE, KEPT), group = std::min(graphs, GRAPHS);
  int64_t part = rows_within(KEY_BYTES / group, 4 * (depth + 1), PANEL, nodes);                     // keys
  int64_t chunk = position == nullptr ? nodes : rows_within(SIMILAR_BYTES, 4 * part, STEP, nodes);  // queries
  int64_t block = rows_within(BLOCK_BYTES, 4 * (std::max(depth, position_depth) + 1), STEP,
                              group* std::min(nodes, chunk) / (4 * threads));
  // twice the rounding of two cosines in depth + 8 steps of 2^-24 each
  float slack = 0x1p-23f * static_cast<float>(depth + position_depth + 16);

  Workspace<float> key_columns{query, group * part * depth}, position_columns{query, part * position_depth};
  Workspace<float> packed{query, threads * block * std::max(depth, position_depth)};
  Workspace<float> similar{query, position == nullptr ? 0 : whole(chunk, STEP) * part};
  Workspace<float> scores{query, group * nodes * keep}, limits{query, group * nodes}, slacks{query, group * nodes};
  Workspace<int32_t> rows{query, group * nodes * keep};
  Workspace<double> key_lengths{query, group * nodes}, query_lengths{query, group * nodes}, lengths{query, nodes};
  Workspace<double> distances{query, threads * k};
  std::vector<float> offsets = std::vector<float>(whole(part, PANEL));

  UnitRows keys(int64_t graph) const {
    return {rows_of_matrix(key, graph, "key"), key_lengths.data + graph % GRAPHS * nodes};
  }
  UnitRows queries(int64_t graph) const {
    return {rows_of_matrix(query, graph, "query"), query_lengths.data + graph % GRAPHS * nodes};
  }
  UnitRows positions() const {
    if (position == nullptr) return {};
    return {rows_of_matrix(*position, 0, "position"), lengths.data};
  }
  Candidates candidates(int64_t graph, int64_t node) const {
    const int64_t slot = graph % GRAPHS * nodes + node;
    return {scores.data + slot * keep, limits.data + slot, slacks.data + slot, rows.data + slot * keep, k, keep};
  }
  PackedColumns columns(const float* data, int64_t first) const {
    return {data, offsets.data(), first, std::min(part, nodes - first)};
  }

  void run() {
    for (int64_t graph = 0; graph < graphs; graph += GRAPHS) {
      const int64_t count = std::min(GRAPHS, graphs - graph);
      for (int64_t i = 0; i < count; ++i) neighbors_start_body()(nodes, slack, candidates(graph + i, 0));
      for (int64_t first = 0; first < nodes; first += part) {
        pack(graph, count, first);
        for (int64_t begin = 0; begin < nodes; begin += chunk) {
          const int64_t end = std::min(begin + chunk, nodes);
          if (position != nullptr) compare_positions(begin, end, first);
          scan(graph, count, begin, end, first);
        }
      }
    }
  }

  // Keys, and the positions' columns, from `first` on.
  void pack(int64_t graph, int64_t count, int64_t first) {
    const int64_t end = std::min(first + part, nodes), panels = (end - first + PANEL - 1) / PANEL;
    for (int64_t i = 0; i < panels * PANEL; ++i) {
      offsets[i] = first + i < end ? 0 : std::numeric_limits<float>::infinity();
    }
    const int64_t items = (count + (position != nullptr)) * panels;
    for_blocks(items, 1, threads, [&](int64_t item, int64_t, int64_t) {
      const int64_t i = item / panels, panel = item % panels * PANEL;
      if (i < count) {
        neighbors_pack_body()(keys(graph + i), first + panel, end, key_columns.data + (i * part + panel) * depth);
      } else {
        neighbors_pack_body()(positions(), first + panel, end, position_columns.data + panel * position_depth);
      }
    });
  }

  void compare_positions(int64_t begin, int64_t end, int64_t first) {
    const PackedColumns packed_columns = columns(position_columns.data, first);
    for_blocks(end - begin, block, threads, [&](int64_t b, int64_t e, int64_t worker) {
      neighbors_similar_body()(positions(), begin + b, begin + e, packed_columns, room(worker), similar.data + b * part,
                               part);
    });
  }

  void scan(int64_t graph, int64_t count, int64_t begin, int64_t end, int64_t first) {
    const int64_t blocks = (end - begin + block - 1) / block;
    for_blocks(count * blocks, 1, threads, [&](int64_t item, int64_t, int64_t worker) {
      const int64_t i = item / blocks, b = begin + item % blocks * block, e = std::min(b + block, end);
      const float* const their_similar = position == nullptr ? nullptr : similar.data + (b - begin) * part;
      const PackedKeys packed_keys = {columns(key_columns.data + i * part * depth, first), their_similar, part};
      neighbors_scan_body()(queries(graph + i), b, e, packed_keys, room(worker), candidates(graph + i, b));
      if (first + part < nodes) return;
      neighbors_settle_body()(queries(graph + i), b, e, keys(graph + i), positions(), candidates(graph + i, b),
                              distances.data + worker * k, index + ((graph + i) * nodes + b) * k);
    });
  }

  float* room(int64_t worker) const { return packed.data + worker * block * std::max(depth, position_depth); }
};

}  // namespace

Tensor topk_neighbors(const Tensor& given_query, const Tensor& given_key, const std::optional<Tensor>& given_position,
                      int64_t k) {
  STD_TORCH_CHECK(given_query.dim() == 3 && same_shape(given_query, given_key),
                  "query and key: expected (B, N, D) each, got ", shape_of(given_query), " and ", shape_of(given_key));
  STD_TORCH_CHECK(given_query.scalar_type() == given_key.scalar_type(), "key: expected the element type of query");
  const int64_t graphs = given_query.size(0), nodes = given_query.size(1);
  STD_TORCH_CHECK(!given_position || (given_position->dim() == 2 && given_position->size(0) == nodes),
                  "position: expected (", nodes, ", P), got ", shape_of(*given_position));
  STD_TORCH_CHECK(k >= 1 && k <= nodes, "k: expected 1 to the ", nodes, " nodes, got ", k);
  STD_TORCH_CHECK(nodes < INT32_MAX - PANEL, "query: expected fewer than 2^31 nodes, got ", nodes);
  const Tensor query = with_dense_matrices(given_query), key = with_dense_matrices(given_key);
  const Tensor position = given_position ? with_dense_matrices(*given_position) : query;
  const Tensor index = torch::stable::new_empty(query, {graphs, nodes, k}, ScalarType::Long);
  if (graphs == 0) return index;
  const int64_t worth = 1 + graphs * nodes * nodes * query.size(2) / PRODUCTS_PER_THREAD;
  Search{query,
         key,
         given_position ? &position : nullptr,
         k,
         std::min<int64_t>(torch::stable::get_num_threads(), worth),
         index.mutable_data_ptr<int64_t>()}
      .run();
  return index;
}

namespace {

STABLE_TORCH_LIBRARY_IMPL(adtool, CPU, library) {
  library.impl("topk_neighbors", TORCH_BOX(&topk_neighbors));
}

}  // namespace
}  // namespace adtool
