// Mean of the n largest pixels on the GPU; formula in adtool/ops/top_mean.py. A block has one map. It finds the n-th
// largest pixel a digit at a time, from the most significant one: the pixels that agree in all digits found so far are
// counted by the next one. Counts are integers, so that no order of threads shows.
#pragma once

#include "cuda/top_mean.h"
#include "kernels/launch.cuh"
#include "kernels/order_keys.cuh"
#include "kernels/storage.cuh"
#include "kernels/warp.cuh"

namespace adtool::cuda {

constexpr int TOP_THREADS = 512;
constexpr int TOP_BLOCKS = 2;  // on a multiprocessor at least: 64 registers a thread, which leaves nothing to spill
constexpr int AT_ONCE = 4;     // packs that a thread waits for
constexpr int DIGIT_BITS = 8, DIGITS = 1 << DIGIT_BITS;

// Calls visit(first pixel, pack) for every pack of V pixels of the thread's share.
template <int V, class S, class Visit>
__device__ void for_packs(const S* x, uint32_t pixels, const Visit& visit) {
  constexpr uint32_t STEP = TOP_THREADS * V;
  for (uint32_t p = threadIdx.x * V; p < pixels; p += AT_ONCE * STEP) {
    Pack<S, V> packs[AT_ONCE];
    for (int i = 0; i < AT_ONCE; ++i) {
      if (p + i * STEP < pixels) packs[i] = *reinterpret_cast<const Pack<S, V>*>(x + p + i * STEP);
    }
    for (int i = 0; i < AT_ONCE; ++i) {
      if (p + i * STEP < pixels) visit(p + i * STEP, packs[i]);
    }
  }
}

// Calls visit(pixel, its key) for each pixel of it.
template <int V, class S, class Visit>
__device__ void for_keys(const S* x, uint32_t pixels, const Visit& visit) {
  for_packs<V>(x, pixels, [&](uint32_t p, const Pack<S, V>& pack) {
    for (int v = 0; v < V; ++v) visit(p + v, order_key(pack.element[v]));
  });
}

// Of the n largest of some keys the smallest, how many are equal to it, and how many of these are among the n.
template <class Key>
struct Smallest {
  Key key;
  uint32_t equal, taken;
};

struct Digit {
  uint32_t value, above, equal;  // how many have a larger one, and this one
};

// The digit of the n-th largest, of `counts` by digit; by one warp, whose first thread has the largest digits.
__device__ inline void find_digit(const uint32_t* counts, uint32_t n, Digit& found) {
  constexpr int SHARE = DIGITS / WARP;
  const int lane = threadIdx.x, largest = DIGITS - 1 - lane * SHARE;
  uint32_t sum = 0;
  for (int i = 0; i < SHARE; ++i) sum += counts[largest - i];
  uint32_t above = sum;
  for (int step = 1; step < WARP; step *= 2) {
    const uint32_t before = __shfl_up_sync(ALL, above, step);
    above += lane >= step ? before : 0;
  }
  above -= sum;
  for (int i = 0; i < SHARE; ++i) {
    const uint32_t equal = counts[largest - i];
    if (above < n && n <= above + equal) found = {static_cast<uint32_t>(largest - i), above, equal};
    above += equal;
  }
}

// `for_each(visit)` calls visit(key) for the thread's share of the keys, which have as many bits, whole digits of them;
// every thread of the block must get here.
template <class Key, class ForEach>
__device__ Smallest<Key> smallest_of(uint32_t n, int bits, const ForEach& for_each) {
  ADTOOL_SHARED(counts, uint32_t[DIGITS]);
  ADTOOL_SHARED(found, Digit);
  Smallest<Key> smallest = {0, 0, n};
  Key known = 0;
  for (int shift = bits - DIGIT_BITS; shift >= 0; shift -= DIGIT_BITS) {
    if (threadIdx.x < DIGITS) counts[threadIdx.x] = 0;
    __syncthreads();
    uint32_t digit = 0, run = 0;  // equal ones in a row are counted at once
    for_each([&](Key key) {
      if ((key & known) != smallest.key) return;
      const uint32_t here = static_cast<uint32_t>(key >> shift) % DIGITS;
      if (here != digit && run > 0) {
        atomicAdd(&counts[digit], run);
        run = 0;
      }
      digit = here;
      ++run;
    });
    if (run > 0) atomicAdd(&counts[digit], run);
    __syncthreads();
    if (threadIdx.x < WARP) find_digit(counts, smallest.taken, found);
    __syncthreads();
    smallest = {smallest.key | static_cast<Key>(found.value) << shift, found.equal, smallest.taken - found.above};
    known |= static_cast<Key>(DIGITS - 1) << shift;
  }
  return smallest;
}

template <int V, class S>
__device__ Smallest<Key<S>> smallest_of_map(const S* x, uint32_t pixels, uint32_t n) {
  return smallest_of<Key<S>>(
      n, KEY_BITS<S>, [=](const auto& visit) { for_keys<V>(x, pixels, [&](uint32_t, Key<S> key) { visit(key); }); });
}

// The sum for the first thread.
__device__ inline double sum_block(double value) {
  ADTOOL_SHARED(parts, double[TOP_THREADS / WARP]);
  for (int step = WARP / 2; step > 0; step /= 2) value += __shfl_xor_sync(ALL, value, step);
  if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = value;
  __syncthreads();
  value = 0;
  for (int i = 0; threadIdx.x == 0 && i < TOP_THREADS / WARP; ++i) value += parts[i];
  return value;
}

template <class S, int V, class Exact>
__global__ void __launch_bounds__(TOP_THREADS, TOP_BLOCKS)
    top_mean_forward(const S* maps, Compute<S>* mean, uint32_t pixels, uint32_t n) {
  const S* const x = maps + static_cast<int64_t>(blockIdx.x) * pixels;
  const auto bar = smallest_of_map<V>(x, pixels, n);
  Exact sum = 0;
  for_keys<V>(x, pixels, [&](uint32_t, Key<S> key) {
    if (key > bar.key) sum += widen(number_of<S>(key));
  });
  sum = sum_block(sum);
  if (threadIdx.x != 0) return;
  mean[blockIdx.x] = static_cast<Compute<S>>((sum + bar.taken * static_cast<Exact>(widen(number_of<S>(bar.key)))) / n);
}

// The share goes to what is above the bar, and to the first of those equal to it.
template <class S, int V>
__global__ void __launch_bounds__(TOP_THREADS, TOP_BLOCKS)
    top_mean_backward(const Compute<S>* grad, const S* maps, S* gradient, uint32_t pixels, uint32_t n) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * pixels;
  const S* const x = maps + first;
  const auto bar = smallest_of_map<V>(x, pixels, n);
  uint32_t last = pixels - 1;  // of those equal to the bar that have a share
  if (bar.taken < bar.equal) {
    const int bits = (32 - __clz(static_cast<int>(pixels - 1)) + DIGIT_BITS - 1) / DIGIT_BITS * DIGIT_BITS;
    last -= smallest_of<uint32_t>(bar.taken, bits, [=](const auto& visit) {
              for_keys<V>(x, pixels, [&](uint32_t p, Key<S> key) {
                if (key == bar.key) visit(pixels - 1 - p);
              });
            }).key;
  }
  S share;
  narrow(grad[blockIdx.x] / static_cast<Compute<S>>(n), share);
  for_packs<V>(x, pixels, [&](uint32_t p, const Pack<S, V>& pack) {
    Pack<S, V> out;
    for (int v = 0; v < V; ++v) {
      const Key<S> key = order_key(pack.element[v]);
      out.element[v] = key > bar.key || (key == bar.key && p + v <= last) ? share : S{};
    }
    *reinterpret_cast<Pack<S, V>*>(gradient + first + p) = out;
  });
}

}  // namespace adtool::cuda
