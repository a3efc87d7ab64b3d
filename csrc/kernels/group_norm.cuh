// Group norm, modulation and SiLU on the GPU; formulas and their names in adtool/ops/group_norm.py. A block has one
// group of one image and goes over it three times, the second and third time in cache. Along contiguous planes a warp
// has a channel at a time; where channels lie innermost a thread keeps its channels and goes from pixel to pixel.
#pragma once

#include "groups.h"
#include "kernels/launch.cuh"
#include "kernels/storage.cuh"
#include "kernels/team.cuh"

namespace adtool::cuda {

constexpr int GROUP_THREADS = 512;
constexpr int GROUP_BLOCKS = 2;  // on a multiprocessor at least: 64 registers a thread, which leaves nothing to spill

// Calls visit(c, for_places) for the channels c .. of the thread's share, V of them where they lie innermost, else one;
// for_places(place) calls place(offset) for the V elements at each of its places.
template <int V, bool INNERMOST, class Visit>
__device__ void for_channels(const Groups& groups, const Visit& visit) {
  const int64_t channels = groups.planes.channels, pixels = groups.planes.pixels, own = channels / groups.count;
  const int64_t image = static_cast<int64_t>(blockIdx.x) / groups.count * channels * pixels;
  const int64_t first = static_cast<int64_t>(blockIdx.x) % groups.count * own;
  if constexpr (INNERMOST) {
    const int columns = static_cast<int>(own / V < GROUP_THREADS ? own / V : GROUP_THREADS);
    const int rows = GROUP_THREADS / columns, row = static_cast<int>(threadIdx.x) / columns;
    for (int64_t c = threadIdx.x % columns * V; c < own && row < rows; c += columns * V) {
      visit(first + c, [=](const auto& place) {
        for (int64_t p = row; p < pixels; p += rows) place(image + p * channels + first + c);
      });
    }
  } else {
    for (int64_t c = threadIdx.x / WARP; c < own; c += GROUP_THREADS / WARP) {
      visit(first + c, [=](const auto& place) {
        const int64_t plane = image + (first + c) * pixels;
        for (int64_t p = threadIdx.x % WARP * V; p < pixels; p += WARP * V) place(plane + p);
      });
    }
  }
}

// term(element) summed over the group, the same bits for every thread; called once in a kernel for each kind of term.
template <int V, bool INNERMOST, class S, class Term>
__device__ Compute<S> sum_group(const S* x, const Groups& groups, const Term& term) {
  using T = Compute<S>;
  T sum = 0;
  for_channels<V, INNERMOST>(groups, [&](int64_t, const auto& for_places) {
    for_places([&](int64_t at) {
      const auto pack = *reinterpret_cast<const Pack<S, V>*>(x + at);
      for (int v = 0; v < V; ++v) sum += term(widen(pack.element[v]));
    });
  });
  sum = Warp().sum(sum);
  ADTOOL_SHARED(parts, T[GROUP_THREADS / WARP]);  // one for each kind of term, so that no sum waits for another
  if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = sum;
  __syncthreads();
  sum = parts[0];
  for (int i = 1; i < GROUP_THREADS / WARP; ++i) sum += parts[i];
  return sum;
}

template <class T>
struct Modulation {
  const T *weight, *bias, *rows;  // rows: (N, 2 C) or nullptr

  // v = (x - mean) / deviation to v factor + offset, of one channel.
  __device__ void of(const Groups& groups, int64_t c, T& factor, T& offset) const {
    factor = weight[c], offset = bias[c];
    if (rows == nullptr) return;
    const int64_t channels = groups.planes.channels, image = static_cast<int64_t>(blockIdx.x) / groups.count;
    const T scale = T(1) + rows[image * 2 * channels + c];
    factor *= scale;
    offset = offset * scale + rows[(image * 2 + 1) * channels + c];
  }
};

template <class S, int V, bool INNERMOST>
__global__ void __launch_bounds__(GROUP_THREADS, GROUP_BLOCKS)
    group_norm(const S* x, S* y, Groups groups, Modulation<Compute<S>> modulation, Compute<S> eps, bool silu) {
  using T = Compute<S>;
  const T count = static_cast<T>(groups.planes.channels / groups.count * groups.planes.pixels);
  const T mean = sum_group<V, INNERMOST>(x, groups, [](T value) { return value; }) / count;
  const T squares = sum_group<V, INNERMOST>(x, groups, [=](T value) { return (value - mean) * (value - mean); });
  const T reciprocal = T(1) / sqrt(squares / count + eps);
  for_channels<V, INNERMOST>(groups, [&](int64_t c, const auto& for_places) {
    constexpr int OWN = INNERMOST ? V : 1;
    T factor[OWN], offset[OWN];
    for (int v = 0; v < OWN; ++v) modulation.of(groups, c + v, factor[v], offset[v]);
    for_places([&](int64_t at) {
      const auto pack = *reinterpret_cast<const Pack<S, V>*>(x + at);
      Pack<S, V> out;
      for (int v = 0; v < V; ++v) {
        const int own = INNERMOST ? v : 0;
        const T value = (widen(pack.element[v]) - mean) * reciprocal * factor[own] + offset[own];
        narrow(silu ? value / (T(1) + exp(-value)) : value, out.element[v]);
      }
      *reinterpret_cast<Pack<S, V>*>(y + at) = out;
    });
  });
}

}  // namespace adtool::cuda
