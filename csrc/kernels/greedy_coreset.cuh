// k-centre greedy picks on the GPU; the algorithm is that of adtool/ops/greedy_coreset.py. A pass shows every patch the
// latest pick and leaves each block's farthest patch behind; the blocks of the next pass find the farthest of these
// before they start. So a pick costs one reading of the patches. A team of threads shares a patch.
#pragma once

#include "cuda/greedy_coreset.h"
#include "kernels/launch.cuh"
#include "kernels/storage.cuh"
#include "kernels/team.cuh"

namespace adtool::cuda {

constexpr int PASS_THREADS = 256, PASS_WARPS = PASS_THREADS / WARP;
constexpr int PASS_BLOCKS = 3;  // on a multiprocessor: 80 registers a thread, which leaves nothing to spill
constexpr int PATCH_TEAM = 8;   // whose packs are a line of the cache
constexpr int PATCH_TEAMS = PASS_THREADS / PATCH_TEAM;

// A patch and its squared distance to the nearest pick.
template <class T>
struct alignas(FARTHEST_BYTES) Farthest {
  T distance;
  int64_t row;

  __device__ void meet(T other_distance, int64_t other_row) {
    if (!(other_distance > distance || (other_distance == distance && other_row < row))) return;
    distance = other_distance;
    row = other_row;
  }
};

// For every thread that of the whole block; each of them must get here.
template <class T>
__device__ Farthest<T> farthest_of_block(Farthest<T> mine) {
  ADTOOL_SHARED(parts, Farthest<T>[PASS_WARPS]);
  for (int step = WARP / 2; step > 0; step /= 2) {
    const T distance = __shfl_xor_sync(ALL, mine.distance, step);
    mine.meet(distance, __shfl_xor_sync(ALL, mine.row, step));
  }
  __syncthreads();  // until those of an earlier call have been read
  if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = mine;
  __syncthreads();
  for (int i = 0; i < PASS_WARPS; ++i) mine.meet(parts[i].distance, parts[i].row);
  return mine;
}

// Of what `blocks` blocks have left; `nobody` where all distances are those of picks.
template <class T>
__device__ Farthest<T> farthest_of_pass(const Farthest<T>* left, int64_t blocks, Farthest<T> nobody) {
  Farthest<T> mine = nobody;
  for (int64_t i = threadIdx.x; i < blocks; i += PASS_THREADS) mine.meet(left[i].distance, left[i].row);
  return farthest_of_block(mine);
}

__device__ inline int32_t least_of_warp(int32_t value) {
  for (int step = WARP / 2; step > 0; step /= 2) {
    const int32_t other = __shfl_xor_sync(ALL, value, step);
    value = other < value ? other : value;
  }
  return value;
}

// The squared distance to the nearer of what is at `distance` and the pick. In float32 it is certain to 1e-3 that most
// picks are no nearer; for the others the distance is that of float64, rounded once.
template <int V, class Exact, class S>
__device__ Compute<S> nearer(const Team<PATCH_TEAM>& team, const S* patch, const S* pick, int64_t depth,
                             Compute<S> distance) {
  using T = Compute<S>;
  if constexpr (sizeof(T) == sizeof(float)) {
    const bool certain = team.squared_distance<float, V>(patch, pick, depth) > distance * 1.001f;
    if (!__any_sync(ALL, !certain)) return distance;
  }
  const T here = static_cast<T>(team.squared_distance<Exact, V>(patch, pick, depth));
  return here < distance ? here : distance;
}

// Shows every patch at least the picks that it has not seen of the first `known`, and leaves in left[block] the block's
// farthest. `before` is what the last pass has left, of which the latest pick comes; all others have been seen then.
// In the first pass it is nullptr, and `seen` becomes `last` for what the passes after it will have shown.
template <class S, int V, class Exact>
__global__ void __launch_bounds__(PASS_THREADS, PASS_BLOCKS)
    show_picks(Cover cover, int64_t known, int32_t last, const Farthest<Compute<S>>* before,
               Farthest<Compute<S>>* left) {
  using T = Compute<S>;
  const Rows& patches = cover.patches;
  const S* const numbers = static_cast<const S*>(patches.data);
  T* const distances = static_cast<T*>(cover.distance);
  const Team<PATCH_TEAM> team;
  const Farthest<T> nobody = {0, patches.count};
  int64_t latest = 0;
  if (before != nullptr) {
    latest = farthest_of_pass(before, gridDim.x, nobody).row;
    if (blockIdx.x == 0 && threadIdx.x == 0) cover.picks[known - 1] = latest;
  }
  Farthest<T> farthest = nobody;
  const int64_t step = static_cast<int64_t>(gridDim.x) * PATCH_TEAMS;
  for (int64_t start = static_cast<int64_t>(blockIdx.x) * PATCH_TEAMS; start < patches.count; start += step) {
    const int64_t row = start + threadIdx.x / PATCH_TEAM;
    const bool first = team.rank == 0 && row < patches.count;
    const S* const patch = numbers + (row < patches.count ? row : 0) * patches.stride;
    const T old = team.of_first(first ? distances[row] : T(-1));
    T distance = old;
    int64_t i = known - 1;
    if (before == nullptr) i = least_of_warp(first ? cover.seen[row] : last);
    for (i = i < 0 ? 0 : i; i < known; ++i) {
      const int64_t pick = before == nullptr ? cover.picks[i] : latest;
      if (pick < 0 || pick >= patches.count) continue;
      if (pick == row) distance = -1;
      distance = nearer<V, Exact>(team, patch, numbers + pick * patches.stride, patches.depth, distance);
    }
    farthest.meet(distance, row);
    if (first && distance != old) distances[row] = distance;
    if (first && before == nullptr) cover.seen[row] = last;
  }
  farthest = farthest_of_block(farthest);
  if (threadIdx.x == 0) left[blockIdx.x] = farthest;
}

// The last pick, of what the last pass has left; one block.
template <class T>
__global__ void __launch_bounds__(PASS_THREADS)
    pick_last(Cover cover, int64_t place, const Farthest<T>* left, int64_t blocks) {
  const int64_t row = farthest_of_pass(left, blocks, Farthest<T>{0, cover.patches.count}).row;
  if (threadIdx.x != 0) return;
  cover.picks[place] = row;
  if (row < cover.patches.count) static_cast<T*>(cover.distance)[row] = -1;
}

}  // namespace adtool::cuda
