// Elements as they are stored, in packs of up to 16 bytes, and as they are computed with. No torch.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "element.h"

namespace adtool::cuda {

__device__ inline float widen(float value) {
  return value;
}
__device__ inline double widen(double value) {
  return value;
}
__device__ inline float widen(Float16 value) {
  return __half2float(__ushort_as_half(value.bits));
}
__device__ inline float widen(BFloat16 value) {
  return __uint_as_float(static_cast<uint32_t>(value.bits) << 16);
}

__device__ inline void narrow(float value, float& to) {
  to = value;
}
__device__ inline void narrow(double value, double& to) {
  to = value;
}
__device__ inline void narrow(float value, Float16& to) {
  to.bits = __half_as_ushort(__float2half_rn(value));
}
__device__ inline void narrow(float value, BFloat16& to) {
  to.bits = __bfloat16_as_ushort(__float2bfloat16_rn(value));
}

// V neighbouring elements, read and written at once.
template <class Storage, int V>
struct alignas(sizeof(Storage) * V) Pack {
  Storage element[V];
};

template <class Storage>
constexpr int FULL_PACK = 16 / sizeof(Storage);

template <class Storage>
inline bool fits_packs(const void* pointer, int64_t elements_per_row) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0 && elements_per_row % FULL_PACK<Storage> == 0;
}

}  // namespace adtool::cuda
