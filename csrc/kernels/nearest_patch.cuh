// Nearest bank rows on the GPU; the search and its bounds are those of adtool/ops/nearest_patch.py. A block multiplies
// TILE patches with its share of the bank, TILE rows at a time in shared memory, in float32; what the products say of
// the nearest stays in lists. Then a warp settles each patch: it joins the lists of all shares and takes the distances
// of the few candidates in float64. How the bank is shared does not show in the result.
#pragma once

#include "cuda/nearest_patch.h"
#include "kernels/launch.cuh"
#include "kernels/nearest_lists.cuh"
#include "kernels/storage.cuh"

namespace adtool::cuda {

constexpr int SEARCH_THREADS = 256, SEARCH_WARPS = SEARCH_THREADS / WARP;
constexpr int SEARCH_BLOCKS = 2;  // on a multiprocessor at least: 128 registers a thread, which leaves nothing to spill
constexpr int TILE = 128, TILE_DEPTH = 16;
constexpr int MICRO = 8;  // patches and bank rows of a thread: MICRO / 2 in either half of the tile
constexpr int SIDE = TILE / MICRO;
constexpr int PADDED = TILE + 4;  // so that rows of a panel start in different banks, 16 bytes aligned
static_assert(SIDE * SIDE == SEARCH_THREADS && 2 * SIDE == WARP && TILE == PATCHES && TILE == BANK_ROWS);

struct alignas(16) Panel {  // TILE_DEPTH numbers of TILE rows
  float at[TILE_DEPTH][PADDED];
};

// What a thread carries of a panel, as it is stored. V > 1 where packs of a row's numbers lie aligned and fill it.
template <class S, int V>
struct PanelShare {
  static constexpr int ROWS = SEARCH_THREADS * V / TILE_DEPTH, PACKS = TILE / ROWS;
  int row = threadIdx.x / (TILE_DEPTH / V), depth = threadIdx.x % (TILE_DEPTH / V) * V;
  Pack<S, V> packs[PACKS];

  // From row `first` and number `start` on; zeros where there are none.
  __device__ void fetch(const Rows& rows, int64_t first, int64_t start) {
    const S* from = static_cast<const S*>(rows.data) + (first + row) * rows.stride + start + depth;
    const int64_t left = start + depth < rows.depth ? rows.count - first - row : 0;
#pragma unroll
    for (int p = 0; p < PACKS; ++p, from += ROWS * rows.stride) {
      packs[p] = p * ROWS < left ? *reinterpret_cast<const Pack<S, V>*>(from) : Pack<S, V>{};
    }
  }

  __device__ void put(Panel& panel) const {
#pragma unroll
    for (int p = 0; p < PACKS; ++p) {
#pragma unroll
      for (int v = 0; v < V; ++v) {
        panel.at[depth + v][row + p * ROWS] = static_cast<float>(widen(packs[p].element[v]));
      }
    }
  }
};

// The i-th row of those that a thread with `place` in 0 .. SIDE has in a tile.
__device__ inline int tile_row(int place, int i) {
  return i / (MICRO / 2) * (TILE / 2) + place * (MICRO / 2) + i % (MICRO / 2);
}

__device__ inline void load_micro(const float (&numbers)[PADDED], int place, float (&to)[MICRO]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const auto pack = *reinterpret_cast<const Pack<float, MICRO / 2>*>(&numbers[tile_row(place, half * MICRO / 2)]);
#pragma unroll
    for (int i = 0; i < MICRO / 2; ++i) to[half * MICRO / 2 + i] = pack.element[i];
  }
}

// The thread's MICRO x MICRO inner products of TILE patches with TILE bank rows; every thread of the block must get
// here. What was read of shared memory before may be overwritten after.
template <class S, int V>
__device__ void multiply(const Rows& patches, int64_t first_patch, const Rows& bank, int64_t first_row,
                         float (&sum)[MICRO][MICRO]) {
  ADTOOL_SHARED(left, Panel);
  ADTOOL_SHARED(right, Panel);
#pragma unroll
  for (int i = 0; i < MICRO; ++i) {
#pragma unroll
    for (int j = 0; j < MICRO; ++j) sum[i][j] = 0;
  }
#pragma unroll 1
  for (int64_t start = 0; start < patches.depth; start += TILE_DEPTH) {
    PanelShare<S, V> of_patches, of_bank;
    of_patches.fetch(patches, first_patch, start);
    of_bank.fetch(bank, first_row, start);
    __syncthreads();  // until the previous panels have been read
    of_patches.put(left);
    of_bank.put(right);
    __syncthreads();
#pragma unroll 8  // no more: what is loaded ahead takes registers
    for (int d = 0; d < TILE_DEPTH; ++d) {
      float a[MICRO], b[MICRO];
      load_micro(left.at[d], threadIdx.x / SIDE, a);
      load_micro(right.at[d], threadIdx.x % SIDE, b);
#pragma unroll
      for (int i = 0; i < MICRO; ++i) {
#pragma unroll
        for (int j = 0; j < MICRO; ++j) sum[i][j] += a[i] * b[j];
      }
    }
  }
}

// A warp for each row. Squares are those of float64, rounded once.
template <class S, int V, class Exact>
__global__ void __launch_bounds__(SEARCH_THREADS, SEARCH_BLOCKS) square_bank(Rows bank, BankSquares squares) {
  const Warp team;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * SEARCH_WARPS + threadIdx.x / WARP;
  if (row >= bank.count) return;
  const S* const numbers = static_cast<const S*>(bank.data) + row * bank.stride;
  const Exact square = team.squared_length<Exact, V>(numbers, bank.depth);
  const bool finite = square - square == 0;
  const float rounded = finite ? static_cast<float>(square) : infinity();
  if (team.rank != 0) return;
  squares.of_row[row] = rounded;
  if (finite) atomicMax(squares.largest, __float_as_uint(rounded));
}

// The list of a patch and a share of the bank, for the warp that keeps it.
__device__ inline CandidatesOfWarp candidates_of(const NearestLists& lists, int64_t patches, int64_t share,
                                                 int64_t patch, float slack) {
  const int64_t at = (share * patches + patch) * lists.keep;
  return {lists.scores + at, lists.rows + at, lists.k, lists.keep, slack};
}

// A warp for each patch.
template <class S, int V, class Exact>
__global__ void __launch_bounds__(SEARCH_THREADS, SEARCH_BLOCKS)
    start_lists(Rows patches, const unsigned* largest_square, NearestLists lists) {
  const Warp team;
  const int64_t patch = static_cast<int64_t>(blockIdx.x) * SEARCH_WARPS + threadIdx.x / WARP;
  if (patch >= patches.count) return;
  const S* const numbers = static_cast<const S*>(patches.data) + patch * patches.stride;
  const Exact norm = sqrt(team.squared_length<Exact, V>(numbers, patches.depth));
  const Exact largest = sqrt(static_cast<Exact>(__uint_as_float(*largest_square)));
  const float slack = slack_of(patches.depth, norm, largest);
  for (int64_t share = 0; share < lists.shares; ++share) {
    candidates_of(lists, patches.count, share, patch, slack).clear();
  }
  if (team.rank == 0) lists.slack[patch] = slack;
}

// Block (x, y): patches from x TILE on, share y of the bank. A half warp has a patch's scores with a tile. Addresses of
// single numbers take registers, and so do float64 ones.
template <class S, int V>
__global__ void __launch_bounds__(SEARCH_THREADS, V == 1 || sizeof(S) == sizeof(double) ? 1 : SEARCH_BLOCKS)
    search_bank(Rows patches, Rows bank, const float* squares, NearestLists lists) {
  ADTOOL_SHARED(shown, float[SEARCH_WARPS][TILE]);
  const int lane = threadIdx.x % WARP, place = threadIdx.x % SIDE;
  float* const scores = shown[threadIdx.x / WARP];
  const int64_t first = static_cast<int64_t>(blockIdx.x) * TILE, begin = blockIdx.y * lists.bank_share;
  const int64_t end = begin + lists.bank_share < bank.count ? begin + lists.bank_share : bank.count;
#pragma unroll 1
  for (int64_t start = begin; start < end; start += TILE) {
    float sum[MICRO][MICRO], square[MICRO];
    multiply<S, V>(patches, first, bank, start, sum);
#pragma unroll
    for (int j = 0; j < MICRO; ++j) {
      const int64_t row = start + tile_row(place, j);
      square[j] = row < end ? squares[row] : infinity();
    }
#pragma unroll
    for (int i = 0; i < MICRO; ++i) {
      float least = infinity();
#pragma unroll
      for (int j = 0; j < MICRO; ++j) {
        sum[i][j] = square[j] - 2 * sum[i][j];
        least = sum[i][j] < least ? sum[i][j] : least;
      }
#pragma unroll 1
      for (int half = 0; half < 2; ++half) {
        const int64_t patch = first + tile_row(threadIdx.x / WARP * 2 + half, i);
        if (patch >= patches.count) break;
        const CandidatesOfWarp list = candidates_of(lists, patches.count, blockIdx.y, patch, lists.slack[patch]);
        float limit = list.limit();
        const bool mine = lane / SIDE == half;
        if (!__any_sync(ALL, mine && least < limit)) continue;
        if (mine) {
#pragma unroll
          for (int j = 0; j < MICRO; ++j) scores[tile_row(place, j)] = sum[i][j];
        }
        __syncwarp();
#pragma unroll 1
        for (int c = lane; c < TILE; c += WARP) list.offer(scores[c], static_cast<int32_t>(start + c), limit);
        __syncwarp();  // until the scores have been read
      }
    }
  }
}

// A warp for each patch.
template <class S, int V, class Exact>
__global__ void __launch_bounds__(SEARCH_THREADS, SEARCH_BLOCKS)
    settle_patches(Rows patches, Rows bank, NearestLists lists, Compute<S>* distance, int64_t* index) {
  const Warp team;
  const int64_t patch = static_cast<int64_t>(blockIdx.x) * SEARCH_WARPS + threadIdx.x / WARP;
  if (patch >= patches.count) return;
  const CandidatesOfWarp list = candidates_of(lists, patches.count, 0, patch, lists.slack[patch]);
  float limit = list.limit();
  for (int64_t share = 1; share < lists.shares; ++share) {
    const CandidatesOfWarp other = candidates_of(lists, patches.count, share, patch, list.slack);
    for (int64_t i = team.rank; i < list.keep && list.offer(other.scores[i], other.rows[i], limit);) i += WARP;
  }
  __syncwarp();

  const S* const x = static_cast<const S*>(patches.data) + patch * patches.stride;
  Exact* const exact = lists.exact + patch * list.k;
  NearestOfWarp nearest{{exact, index + patch * list.k, list.k}};
  const auto add = [&](int64_t row) {
    const S* const b = static_cast<const S*>(bank.data) + row * bank.stride;
    nearest.add(team.squared_distance<Exact, V>(x, b, bank.depth), row);
  };
  const float kth = list.scores[list.k - 1];
  if (list.scores[list.keep - 1] - kth > list.slack) {
    for (int64_t i = 0; i < list.keep && list.scores[i] <= kth + list.slack; ++i) add(list.rows[i]);
  } else {  // rounding leaves more of them in doubt than were kept, or values are not finite
    for (int64_t row = 0; row < bank.count; ++row) add(row);
  }
  __syncwarp();
  for (int64_t i = team.rank; i < list.k; i += WARP) {
    distance[patch * list.k + i] = static_cast<Compute<S>>(sqrt(exact[i]));
  }
}

}  // namespace adtool::cuda
