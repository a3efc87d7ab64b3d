// Noise on the GPU, a block of four normals at a time, and the walk of a thread over its share of the samples.
#pragma once

#include "kernels/launch.cuh"
#include "kernels/storage.cuh"
#include "philox.h"
#include "samples.h"

namespace adtool::cuda {

constexpr int NOISE_THREADS = 256;  // of a block

struct ScalarArithmetic {  // __f..._rn: never contracted to a fused multiply-add
  using Word = uint32_t;
  using Product = uint64_t;
  using Bits = uint32_t;
  using Integer = int32_t;
  using Real = float;

  static __device__ __forceinline__ uint64_t product(uint32_t word, uint32_t factor) {
    return static_cast<uint64_t>(word) * factor;
  }
  static __device__ __forceinline__ uint32_t high(uint64_t product) { return static_cast<uint32_t>(product >> 32); }
  static __device__ __forceinline__ uint32_t low(uint64_t product) { return static_cast<uint32_t>(product); }

  template <class To>
  static __device__ __forceinline__ To as(uint32_t value) {
    return from_bits(value, To{});
  }
  template <class To>
  static __device__ __forceinline__ To as(int32_t value) {
    return from_bits(static_cast<uint32_t>(value), To{});
  }
  template <class To>
  static __device__ __forceinline__ To as(float value) {
    return from_bits(__float_as_uint(value), To{});
  }
  static __device__ __forceinline__ float real(int32_t value) { return __int2float_rn(value); }
  static __device__ __forceinline__ float add(float a, float b) { return __fadd_rn(a, b); }
  static __device__ __forceinline__ float subtract(float a, float b) { return __fsub_rn(a, b); }
  static __device__ __forceinline__ float multiply(float a, float b) { return __fmul_rn(a, b); }
  static __device__ __forceinline__ float root(float a) { return __fsqrt_rn(a); }

 private:
  static __device__ __forceinline__ uint32_t from_bits(uint32_t value, uint32_t) { return value; }
  static __device__ __forceinline__ int32_t from_bits(uint32_t value, int32_t) { return static_cast<int32_t>(value); }
  static __device__ __forceinline__ float from_bits(uint32_t value, float) { return __uint_as_float(value); }
};

// The normals of elements 4 `block` to 4 `block` + 3.
__device__ __forceinline__ void draw(Stream stream, uint32_t block, float (&z)[4]) {
  uint32_t words[4] = {block, stream.t, static_cast<uint32_t>(stream.sample_id),
                       static_cast<uint32_t>(stream.sample_id >> 32)};
  philox<ScalarArithmetic>(words, stream.seed);
  box_muller<ScalarArithmetic>(words[0], words[1], z[0], z[1]);
  box_muller<ScalarArithmetic>(words[2], words[3], z[2], z[3]);
}

// Products and sums rounded alone, as in the reference.
__device__ __forceinline__ float weigh(float a, float x, float b, float y) {
  return __fadd_rn(__fmul_rn(a, x), __fmul_rn(b, y));
}
__device__ __forceinline__ float add_weighed(float sum, float a, float x) {
  return __fadd_rn(sum, __fmul_rn(a, x));
}
__device__ __forceinline__ double weigh(double a, double x, double b, double y) {
  return __dadd_rn(__dmul_rn(a, x), __dmul_rn(b, y));
}
__device__ __forceinline__ double add_weighed(double sum, double a, double x) {
  return __dadd_rn(sum, __dmul_rn(a, x));
}

template <class T>
__device__ __forceinline__ T not_a_number() {
  return __uint_as_float(0x7fc00000u);
}

// A thread has as many elements as a block of noise or a 16-byte access has, whichever is more.
template <class S>
constexpr int SHARE = FULL_PACK<S> > 4 ? FULL_PACK<S> : 4;

__host__ __device__ inline int64_t elements_of(const Samples& samples) {
  return samples.channels * samples.pixels;
}

__host__ __device__ inline int64_t blocks_per_sample(const Samples& samples, int share) {
  return (elements_of(samples) + int64_t{NOISE_THREADS} * share - 1) / (int64_t{NOISE_THREADS} * share);
}

// Whether every share of samples at `pointer` is whole and can be read in packs.
template <class S>
inline bool has_packs(const Samples& samples, const void* pointer) {
  return !samples.channels_last && elements_of(samples) % SHARE<S> == 0 && fits_packs<S>(pointer, elements_of(samples));
}

// A thread's part of one sample: SHARE<S> elements from `first` on, of which `count` are there.
template <class S>
struct Share {
  int64_t sample, first;
  int count;

  __device__ explicit Share(const Samples& samples) {
    const int64_t blocks = blocks_per_sample(samples, SHARE<S>);
    sample = static_cast<int64_t>(blockIdx.x) / blocks;
    first = (static_cast<int64_t>(blockIdx.x) % blocks * NOISE_THREADS + threadIdx.x) * SHARE<S>;
    const int64_t left = elements_of(samples) - first;
    count = left <= 0 ? 0 : left < SHARE<S> ? static_cast<int>(left) : SHARE<S>;
  }

  __device__ __forceinline__ Stream stream(const Draws& draws) const {
    return {draws.seed, static_cast<uint64_t>(draws.sample_id[sample]),
            static_cast<uint32_t>(draws.sign * draws.t[sample])};
  }

  // Where element `first` + i is in memory.
  __device__ __forceinline__ int64_t place(const Samples& samples, int i) const {
    const int64_t element = first + i, start = sample * elements_of(samples);
    if (!samples.channels_last) return start + element;
    return start + element % samples.pixels * samples.channels + element / samples.pixels;
  }
};

// The share's elements in registers: in packs where V is FULL_PACK<S>, and then there are all of them, or one by one.
template <class S, int V>
__device__ __forceinline__ void read_share(const S* from, const Samples& samples, const Share<S>& share,
                                           Compute<S> (&value)[SHARE<S>]) {
  if constexpr (V > 1) {
    const S* const start = from + share.place(samples, 0);
#pragma unroll
    for (int i = 0; i < SHARE<S>; i += V) {
      const auto pack = *reinterpret_cast<const Pack<S, V>*>(start + i);
#pragma unroll
      for (int v = 0; v < V; ++v) value[i + v] = widen(pack.element[v]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < SHARE<S>; ++i) value[i] = i < share.count ? widen(from[share.place(samples, i)]) : 0;
  }
}

template <class S, int V>
__device__ __forceinline__ void write_share(S* to, const Samples& samples, const Share<S>& share,
                                            const Compute<S> (&value)[SHARE<S>]) {
  if constexpr (V > 1) {
    S* const start = to + share.place(samples, 0);
#pragma unroll
    for (int i = 0; i < SHARE<S>; i += V) {
      Pack<S, V> pack;
#pragma unroll
      for (int v = 0; v < V; ++v) narrow(value[i + v], pack.element[v]);
      *reinterpret_cast<Pack<S, V>*>(start + i) = pack;
    }
  } else {
#pragma unroll
    for (int i = 0; i < SHARE<S>; ++i) {
      if (i < share.count) narrow(value[i], to[share.place(samples, i)]);
    }
  }
}

// z[i] is the noise of element `first` + i.
template <class S>
__device__ __forceinline__ void draw_share(const Stream& stream, const Share<S>& share, Compute<S> (&z)[SHARE<S>]) {
#pragma unroll
  for (int i = 0; i < SHARE<S>; i += 4) {
    float four[4];
    draw(stream, static_cast<uint32_t>((share.first + i) / 4), four);
#pragma unroll
    for (int j = 0; j < 4; ++j) z[i + j] = four[j];
  }
}

}  // namespace adtool::cuda
