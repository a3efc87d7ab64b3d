// Threads that share a row: SIZE of them, a power of two, side by side in a warp. What says nothing else is called by
// all teams of the warp.
#pragma once

#include "kernels/launch.cuh"
#include "kernels/storage.cuh"
#include "kernels/warp.cuh"

namespace adtool::cuda {

template <int SIZE>
struct Team {
  int rank = threadIdx.x % SIZE;

  // The same bits for each of them.
  template <class T>
  __device__ T sum(T value) const {
    for (int step = SIZE / 2; step > 0; step /= 2) value += __shfl_xor_sync(ALL, value, step, SIZE);
    return value;
  }

  template <class T>
  __device__ T of_first(T value) const {
    return __shfl_sync(ALL, value, 0, SIZE);
  }

  // term(d) for the thread's share of the packs of V numbers in 0 .. depth; called by any thread.
  template <int V, class Term>
  __device__ void for_packs(int64_t depth, const Term& term) const {
#pragma unroll 4
    for (int64_t d = rank * V; d < depth; d += SIZE * V) term(d);
  }

  // In T; V > 1 where packs of a row's numbers lie aligned and fill it.
  template <class T, int V, class S>
  __device__ T squared_length(const S* row, int64_t depth) const {
    T squares = 0;
    for_packs<V>(depth, [&](int64_t d) {
      const auto pack = *reinterpret_cast<const Pack<S, V>*>(row + d);
      for (int v = 0; v < V; ++v) squares += T(widen(pack.element[v])) * T(widen(pack.element[v]));
    });
    return sum(squares);
  }

  template <class T, int V, class S>
  __device__ T squared_distance(const S* a, const S* b, int64_t depth) const {
    T squares = 0;
    for_packs<V>(depth, [&](int64_t d) {
      const auto x = *reinterpret_cast<const Pack<S, V>*>(a + d), y = *reinterpret_cast<const Pack<S, V>*>(b + d);
      for (int v = 0; v < V; ++v) {
        const T difference = T(widen(x.element[v])) - T(widen(y.element[v]));
        squares += difference * difference;
      }
    });
    return sum(squares);
  }
};

using Warp = Team<WARP>;

}  // namespace adtool::cuda
