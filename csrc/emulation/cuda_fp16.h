// Stands in for the toolkit's header of this name: half precision as it is stored, and its rounding.
#pragma once

#include <stdint.h>

#include "emulation/arithmetic.h"

struct __half {
  uint16_t bits;
};

inline unsigned short __half_as_ushort(__half value) {
  return value.bits;
}
inline __half __ushort_as_half(unsigned short bits) {
  return {bits};
}

inline float __half2float(__half value) {
  const unsigned sign = (value.bits & 0x8000u) << 16, exponent = value.bits >> 10 & 31u, fraction = value.bits & 1023u;
  if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | fraction << 13);
  const float magnitude = exponent == 0 ? static_cast<float>(fraction) * 0x1p-24f  // subnormal
                                        : __uint_as_float((exponent + 112) << 23 | fraction << 13);
  return sign ? -magnitude : magnitude;
}

// To the nearest, ties to even; every NaN becomes 0x7fff, as CUDA has it.
inline __half __float2half_rn(float value) {
  if (value != value) return {0x7fff};
  const uint16_t sign = static_cast<uint16_t>(__float_as_uint(value) >> 16 & 0x8000u);
  const float magnitude = fabsf(value);
  if (magnitude >= 65520.0f) return {static_cast<uint16_t>(sign | 0x7c00u)};
  if (magnitude < 0x1p-14f) {  // a multiple of 2^-24; the addition rounds
    return {static_cast<uint16_t>(sign | (__float_as_uint(magnitude + 0.5f) - __float_as_uint(0.5f)))};
  }
  const unsigned bits = __float_as_uint(magnitude);
  return {static_cast<uint16_t>(sign | (((bits + 0xfffu + (bits >> 13 & 1u)) >> 13) - (112u << 10)))};
}
inline __half __float2half(float value) {
  return __float2half_rn(value);
}
