// Numbers as integers of the same order: both zeros are one number, and NaN is the largest. No torch.
#pragma once

#include "kernels/storage.cuh"

namespace adtool::cuda {

template <class S>
constexpr int KEY_BITS = 8 * sizeof(S);

template <int BITS>
struct key_type {
  using type = uint32_t;
};
template <>
struct key_type<64> {
  using type = uint64_t;
};
template <class S>
using Key = typename key_type<KEY_BITS<S>>::type;

template <class S>
constexpr Key<S> SIGN = Key<S>{1} << (KEY_BITS<S> - 1);
template <class S>
constexpr Key<S> LARGEST = SIGN<S> | (SIGN<S> - 1);

__device__ inline uint32_t bits_of(float value) {
  return __float_as_uint(value);
}
__device__ inline uint64_t bits_of(double value) {
  return static_cast<uint64_t>(__double_as_longlong(value));
}
__device__ inline uint32_t bits_of(Float16 value) {
  return value.bits;
}
__device__ inline uint32_t bits_of(BFloat16 value) {
  return value.bits;
}

template <class S>
__device__ Key<S> order_key(S stored) {
  const auto value = widen(stored);
  if (value != value) return LARGEST<S>;
  if (value == 0) return SIGN<S>;
  const Key<S> bits = bits_of(stored);
  return bits & SIGN<S> ? LARGEST<S> - bits : bits | SIGN<S>;
}

template <class S>
__device__ S number_of(Key<S> key) {
  const Key<S> bits = key & SIGN<S> ? key - SIGN<S> : LARGEST<S> - key;
  if constexpr (sizeof(S) == sizeof(double)) {
    return __longlong_as_double(static_cast<long long>(bits));
  } else if constexpr (sizeof(S) == sizeof(float)) {
    return __uint_as_float(bits);
  } else {
    return {static_cast<uint16_t>(bits)};
  }
}

}  // namespace adtool::cuda
