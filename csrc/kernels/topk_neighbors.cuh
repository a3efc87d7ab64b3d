// Graph neighbours on the GPU; formula in adtool/ops/topk_neighbors.py. A block multiplies TILE queries with all keys,
// TILE at a time in shared memory; a score is the negative, so that the nearest have the smallest. Candidates are kept
// in lists; then a warp settles each row in float64. Kernels that compute in float64 whatever is stored say so by a
// template argument, Exact.
#pragma once

#include "cuda/topk_neighbors.h"
#include "kernels/launch.cuh"
#include "kernels/nearest_lists.cuh"
#include "kernels/storage.cuh"

namespace adtool::cuda {

constexpr int SEARCH_THREADS = 256;
constexpr int SEARCH_BLOCKS = 2;  // on a multiprocessor at least: 128 registers a thread, which leaves nothing to spill
constexpr int TILE = 64, TILE_DEPTH = 16;
constexpr int MICRO = 4;            // rows and columns of a thread
constexpr int PADDED = TILE + 4;    // so that rows of a tile start in different banks, 16 bytes aligned
constexpr double ROUND = 0x1.8p12;  // adding it and taking it off leaves multiples of 2^-40
static_assert((TILE / MICRO) * (TILE / MICRO) == SEARCH_THREADS);

template <int COUNT>
struct alignas(16) Rows {  // in shared memory
  float at[COUNT][PADDED];
};

template <class S>
__device__ const S* row_at(const RowSet& rows, int64_t matrix, int64_t row) {
  return static_cast<const S*>(rows.data) + matrix * rows.matrix_stride + row * rows.row_stride;
}

// A warp for each row.
template <class S, class Exact>
__global__ void __launch_bounds__(SEARCH_THREADS, SEARCH_BLOCKS) row_scales(RowSet rows) {
  const int64_t id = static_cast<int64_t>(blockIdx.x) * (SEARCH_THREADS / WARP) + threadIdx.x / WARP;
  const int lane = threadIdx.x % WARP;
  if (id >= rows.matrices * rows.rows) return;
  const S* const row = row_at<S>(rows, id / rows.rows, id % rows.rows);
  Exact squares = 0;
  for (int64_t d = lane; d < rows.depth; d += WARP) {
    const Exact value = widen(row[d * rows.depth_stride]);
    squares += value * value;
  }
  squares = Warp().sum(squares);
  if (lane != 0) return;
  const Exact exact = squares == 0 ? 0 : 1 / sqrt(squares);
  int exponent = 0;
  const Exact fraction = frexp(exact, &exponent);
  const int half = exponent / 2;
  rows.scales[id] = {exact, ldexpf(1.0f, half), ldexpf(static_cast<float>(fraction), exponent - half)};
}

template <class S>
__device__ float scaled(S stored, RowScale scale) {
  if constexpr (sizeof(S) == sizeof(double)) {
    return static_cast<float>(widen(stored) * scale.exact);
  } else {
    return widen(stored) * scale.coarse * scale.fine;
  }
}

// TILE rows from `first` on and TILE_DEPTH numbers of each, as unit vectors and zeros where there are none, to
// (depth, row). V > 1 where packs of a row's numbers lie aligned.
template <class S, int V>
__device__ void load_tile(const RowSet& rows, int64_t matrix, int64_t first, int64_t depth, Rows<TILE_DEPTH>& tile) {
  constexpr int PACKS = TILE_DEPTH / V;
  const bool depth_first = V > 1 || rows.depth_stride == 1;
  for (int i = threadIdx.x; i < TILE * PACKS; i += SEARCH_THREADS) {
    const int r = depth_first ? i / PACKS : i % TILE, d = (depth_first ? i % PACKS : i / TILE) * V;
    const int64_t row = first + r;
    Pack<S, V> pack = {};
    RowScale scale = {};
    if (row < rows.rows && depth + d < rows.depth) {
      pack = *reinterpret_cast<const Pack<S, V>*>(row_at<S>(rows, matrix, row) + (depth + d) * rows.depth_stride);
      scale = rows.scales[matrix * rows.rows + row];
    }
    for (int v = 0; v < V; ++v) tile.at[d + v][r] = scaled(pack.element[v], scale);
  }
}

// The thread's MICRO x MICRO of the cosines of TILE rows with TILE columns; every thread of the block must get here.
// What was read of shared memory before may be overwritten after.
template <class S, int V>
__device__ void multiply(const RowSet& rows, int64_t first_row, const RowSet& columns, int64_t first_column,
                         int64_t matrix, float (&sum)[MICRO][MICRO]) {
  ADTOOL_SHARED(left, Rows<TILE_DEPTH>);
  ADTOOL_SHARED(right, Rows<TILE_DEPTH>);
  const int row = threadIdx.x / (TILE / MICRO) * MICRO, column = threadIdx.x % (TILE / MICRO) * MICRO;
  for (int i = 0; i < MICRO; ++i) {
    for (int j = 0; j < MICRO; ++j) sum[i][j] = 0;
  }
  int64_t depth = 0;
  do {
    __syncthreads();  // until the previous tiles have been read
    load_tile<S, V>(rows, matrix, first_row, depth, left);
    load_tile<S, V>(columns, matrix, first_column, depth, right);
    __syncthreads();
    for (int d = 0; d < TILE_DEPTH; ++d) {
      const auto a = *reinterpret_cast<const Pack<float, MICRO>*>(&left.at[d][row]);
      const auto b = *reinterpret_cast<const Pack<float, MICRO>*>(&right.at[d][column]);
      for (int i = 0; i < MICRO; ++i) {
        for (int j = 0; j < MICRO; ++j) sum[i][j] += a.element[i] * b.element[j];
      }
    }
    depth += TILE_DEPTH;
  } while (depth < rows.depth);
}

// Block (x, y): columns from x TILE on, rows from begin + y TILE on.
template <class Exact, int V>
__global__ void __launch_bounds__(SEARCH_THREADS, SEARCH_BLOCKS)
    similar_positions(RowSet positions, int64_t begin, int64_t end, float* similar) {
  const int64_t first_row = begin + static_cast<int64_t>(blockIdx.y) * TILE;
  const int64_t first_column = static_cast<int64_t>(blockIdx.x) * TILE;
  float sum[MICRO][MICRO];
  multiply<Exact, V>(positions, first_row, positions, first_column, 0, sum);
  const int64_t row = first_row + threadIdx.x / (TILE / MICRO) * MICRO;
  const int64_t column = first_column + threadIdx.x % (TILE / MICRO) * MICRO;
  for (int i = 0; i < MICRO; ++i) {
    for (int j = 0; j < MICRO; ++j) {
      if (row + i < end && column + j < positions.rows) {
        similar[(row + i - begin) * positions.rows + column + j] = sum[i][j];
      }
    }
  }
}

// Block (x, y): graph x, queries from begin + y TILE on.
template <class S, int V>
__global__ void __launch_bounds__(SEARCH_THREADS, SEARCH_BLOCKS)
    search_neighbors(RowSet queries, RowSet keys, int64_t begin, int64_t end, const float* similar,
                     NeighborLists lists) {
  ADTOOL_SHARED(tile, Rows<TILE>);
  const int64_t graph = blockIdx.x, nodes = queries.rows, first = begin + static_cast<int64_t>(blockIdx.y) * TILE;
  const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
  const int row = threadIdx.x / (TILE / MICRO) * MICRO, column = threadIdx.x % (TILE / MICRO) * MICRO;
  const int64_t left = end - first;
  const int count = left < TILE ? static_cast<int>(left) : TILE;

  const auto list_of = [&](int r) -> CandidatesOfWarp {
    const int64_t at = (graph * nodes + first + r) * lists.keep;
    return {lists.scores + at, lists.rows + at, lists.k, lists.keep, lists.slack};
  };

  for (int r = warp; r < count; r += SEARCH_THREADS / WARP) list_of(r).clear();
  for (int64_t start = 0; start < nodes; start += TILE) {
    float sum[MICRO][MICRO];
    multiply<S, V>(queries, first, keys, start, graph, sum);
    for (int i = 0; i < MICRO; ++i) {
      Pack<float, MICRO> scores;
      for (int j = 0; j < MICRO; ++j) {
        const bool there = row + i < count && start + column + j < nodes;
        const float near =
            there && similar != nullptr ? similar[(first - begin + row + i) * nodes + start + column + j] : 0.0f;
        scores.element[j] = there ? near - sum[i][j] : infinity();
      }
      *reinterpret_cast<Pack<float, MICRO>*>(&tile.at[row + i][column]) = scores;
    }
    __syncthreads();
    for (int r = warp; r < count; r += SEARCH_THREADS / WARP) {
      const CandidatesOfWarp list = list_of(r);
      float limit = list.limit();
      for (int c = lane; c < TILE; c += WARP) list.offer(tile.at[r][c], static_cast<int32_t>(start + c), limit);
    }
  }
}

template <class S, class Exact>
__device__ Exact exact_cosine(const RowSet& a, const RowSet& b, int64_t matrix, int64_t i, int64_t j) {
  const S *const x = row_at<S>(a, matrix, i), *const y = row_at<S>(b, matrix, j);
  const Exact p = a.scales[matrix * a.rows + i].exact, q = b.scales[matrix * b.rows + j].exact;
  Exact sum = 0;
  for (int64_t d = threadIdx.x % WARP; d < a.depth; d += WARP) {
    sum += (widen(x[d * a.depth_stride]) * p) * (widen(y[d * b.depth_stride]) * q);
  }
  return Warp().sum(sum);
}

// A warp for each query: exact scores settle what rounding leaves in doubt, the order of near-ties or, where there are
// more of them than were kept or too few numbers, that of all rows.
template <class S, class Exact>
__global__ void __launch_bounds__(SEARCH_THREADS, SEARCH_BLOCKS)
    settle_neighbors(RowSet queries, RowSet keys, RowSet positions, NeighborLists lists) {
  const int64_t id = static_cast<int64_t>(blockIdx.x) * (SEARCH_THREADS / WARP) + threadIdx.x / WARP;
  if (id >= queries.matrices * queries.rows) return;
  const int64_t graph = id / queries.rows, node = id % queries.rows;
  const float* const scores = lists.scores + id * lists.keep;
  const int32_t* const rows = lists.rows + id * lists.keep;
  double* const distances = lists.distances + id * lists.k;
  int64_t* const index = lists.index + id * lists.k;
  const auto exact = [&](int64_t other) {
    const Exact near = positions.data == nullptr ? 0 : exact_cosine<Exact, Exact>(positions, positions, 0, node, other);
    return near - exact_cosine<S, Exact>(queries, keys, graph, node, other) + ROUND - ROUND;
  };
  for (int64_t i = 0, end; i < lists.k; i = end) {
    for (end = i + 1; end < lists.keep && scores[end] - scores[end - 1] <= lists.slack;) ++end;
    if (end == lists.keep || !(scores[lists.k - 1] < infinity())) {
      NearestOfWarp nearest{{distances, index, lists.k}};
      for (int64_t other = 0; other < keys.rows; ++other) nearest.add(exact(other), other);
      return;
    }
    NearestOfWarp nearest{{distances + i, index + i, lists.k - i < end - i ? lists.k - i : end - i}};
    for (int64_t j = i; j < end; ++j) nearest.add(end - i > 1 ? exact(rows[j]) : 0, rows[j]);
  }
}

}  // namespace adtool::cuda
