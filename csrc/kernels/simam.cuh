// SimAM on the GPU; formulas and their names in adtool/ops/simam.py. A team of threads shares one plane (n, c) and goes
// over it three times, the second and third time in cache. Teams are a warp or a block along contiguous planes, or,
// where channels lie innermost, the threads of one column of the block, so that neighbouring threads read neighbouring
// channels.
#pragma once

#include "kernels/launch.cuh"
#include "kernels/storage.cuh"
#include "kernels/warp.cuh"
#include "planes.h"

namespace adtool::cuda {

constexpr int BLOCK = 256;        // threads
constexpr int BLOCKS_PER_SM = 3;  // at least: 80 registers a thread, which leaves nothing to spill

template <class T>
__device__ T sum_warp(T value) {
  for (int step = WARP / 2; step > 0; step /= 2) value += __shfl_xor_sync(ALL, value, step);
  return value;
}

// BLOCK threads as teams of THREADS, each with a contiguous plane.
template <class T, int THREADS>
struct RowTeam {
  static constexpr int SIZE = THREADS;
  int rank = threadIdx.x % THREADS;
  int64_t plane = static_cast<int64_t>(blockIdx.x) * (BLOCK / THREADS) + threadIdx.x / THREADS;

  __device__ bool has_plane(Planes planes) const { return plane < planes.images * planes.channels; }
  __device__ int64_t first(Planes planes) const { return plane * planes.pixels; }
  __device__ int64_t step(Planes) const { return 1; }

  __device__ T sum(T value) const {
    value = sum_warp(value);
    if constexpr (THREADS > WARP) {
      ADTOOL_SHARED(parts, T[THREADS / WARP]);
      __syncthreads();  // until the previous sum has been read
      if (rank % WARP == 0) parts[rank / WARP] = value;
      __syncthreads();
      value = parts[0];
      for (int i = 1; i < THREADS / WARP; ++i) value += parts[i];
    }
    return value;
  }
};

// WARP columns of BLOCK / WARP threads, each column with the plane of one channel.
template <class T>
struct ColumnTeam {
  static constexpr int SIZE = BLOCK / WARP;
  int rank = threadIdx.x / WARP, column = threadIdx.x % WARP;

  __device__ int64_t channel(Planes planes) const {
    return static_cast<int64_t>(blockIdx.x) % blocks(planes) * WARP + column;
  }
  __host__ __device__ static int64_t blocks(Planes planes) { return (planes.channels + WARP - 1) / WARP; }
  __device__ bool has_plane(Planes planes) const { return channel(planes) < planes.channels; }
  __device__ int64_t first(Planes planes) const {
    return static_cast<int64_t>(blockIdx.x) / blocks(planes) * planes.channels * planes.pixels + channel(planes);
  }
  __device__ int64_t step(Planes planes) const { return planes.channels; }

  __device__ T sum(T value) const {
    ADTOOL_SHARED(parts, T[SIZE][WARP]);
    __syncthreads();  // until the previous sum has been read
    parts[rank][column] = value;
    __syncthreads();
    value = parts[0][column];
    for (int i = 1; i < SIZE; ++i) value += parts[i][column];
    return value;
  }
};

template <class T>
struct Energy {
  T mean, k;
};

template <class T>
__device__ T gate(T d, T k) {
  return T(1) / (T(1) + exp(T(-0.5) - k * d * d));
}

// Calls `visit(offset)` for every V-th element of the thread's share; every thread of the block must get here.
template <int V, class Team, class Visit>
__device__ void for_share(const Team& team, Planes planes, const Visit& visit) {
  if (!team.has_plane(planes)) return;
  const int64_t first = team.first(planes), step = team.step(planes);
  for (int64_t p = team.rank * V; p < planes.pixels; p += Team::SIZE * V) visit(first + p * step);
}

template <int V, class S, class Team>
__device__ Energy<Compute<S>> energy(const Team& team, const S* x, Planes planes, Compute<S> lambda) {
  using T = Compute<S>;
  T sum = 0, squares = 0;
  for_share<V>(team, planes, [&](int64_t at) {
    const auto pack = *reinterpret_cast<const Pack<S, V>*>(x + at);
    for (int v = 0; v < V; ++v) sum += widen(pack.element[v]);
  });
  const T mean = team.sum(sum) / T(planes.pixels);
  for_share<V>(team, planes, [&](int64_t at) {
    const auto pack = *reinterpret_cast<const Pack<S, V>*>(x + at);
    for (int v = 0; v < V; ++v) {
      const T d = widen(pack.element[v]) - mean;
      squares += d * d;
    }
  });
  const T variance = team.sum(squares) / T(planes.pixels > 1 ? planes.pixels - 1 : 1);
  return {mean, T(1) / (T(4) * (variance + lambda))};
}

template <class S, int V, class Team>
__global__ void __launch_bounds__(BLOCK, BLOCKS_PER_SM)
    simam_forward(const S* x, S* y, Planes planes, Compute<S> lambda) {
  using T = Compute<S>;
  const Team team;
  const Energy<T> e = energy<V>(team, x, planes, lambda);
  for_share<V>(team, planes, [&](int64_t at) {
    const auto pack = *reinterpret_cast<const Pack<S, V>*>(x + at);
    Pack<S, V> out;
    for (int v = 0; v < V; ++v) {
      const T value = widen(pack.element[v]);
      narrow(value * gate(value - e.mean, e.k), out.element[v]);
    }
    *reinterpret_cast<Pack<S, V>*>(y + at) = out;
  });
}

template <class S, int V, class Team>
__global__ void __launch_bounds__(BLOCK, BLOCKS_PER_SM)
    simam_backward(const S* grad, const S* x, S* dx, Planes planes, Compute<S> lambda) {
  using T = Compute<S>;
  const Team team;
  const Energy<T> e = energy<V>(team, x, planes, lambda);
  T sum_qd = 0, sum_qdd = 0;
  for_share<V>(team, planes, [&](int64_t at) {
    const auto pack = *reinterpret_cast<const Pack<S, V>*>(x + at), g = *reinterpret_cast<const Pack<S, V>*>(grad + at);
    for (int v = 0; v < V; ++v) {
      const T value = widen(pack.element[v]), d = value - e.mean, s = gate(d, e.k);
      const T qd = widen(g.element[v]) * value * s * (T(1) - s) * d;
      sum_qd += qd;
      sum_qdd += qd * d;
    }
  });
  const T mean_qd = team.sum(sum_qd) / T(planes.pixels);
  const T through_variance = T(8) * e.k * e.k / T(planes.pixels > 1 ? planes.pixels - 1 : 1) * team.sum(sum_qdd);
  for_share<V>(team, planes, [&](int64_t at) {
    const auto pack = *reinterpret_cast<const Pack<S, V>*>(x + at), g = *reinterpret_cast<const Pack<S, V>*>(grad + at);
    Pack<S, V> out;
    for (int v = 0; v < V; ++v) {
      const T value = widen(pack.element[v]), d = value - e.mean, s = gate(d, e.k), up = widen(g.element[v]);
      const T qd = up * value * s * (T(1) - s) * d;
      narrow(up * s + T(2) * e.k * (qd - mean_qd) - through_variance * d, out.element[v]);
    }
    *reinterpret_cast<Pack<S, V>*>(dx + at) = out;
  });
}

}  // namespace adtool::cuda
