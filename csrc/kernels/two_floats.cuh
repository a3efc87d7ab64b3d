// Numbers of twice the precision of float32, as a sum of two: what rounding takes from an operation is computed by
// further ones (Ogita, Rump & Oishi 2005, "Accurate sum and dot product"). Most GPUs compute in float64 32 or 64 times
// slower. The functions of the form __f.._rn are never contracted, which would break the identities. No torch.
#pragma once

#include <cuda_runtime.h>

namespace adtool::cuda {

struct TwoFloats {
  float high, low;

  __device__ explicit operator double() const { return static_cast<double>(high) + static_cast<double>(low); }
};

__device__ inline TwoFloats two_floats(double value) {
  const float high = static_cast<float>(value);
  return {high, static_cast<float>(value - static_cast<double>(high))};
}

// a + b, rounded and the rest
__device__ inline TwoFloats exact_sum(float a, float b) {
  const float sum = __fadd_rn(a, b), from_b = __fsub_rn(sum, a);
  return {sum, __fadd_rn(__fsub_rn(a, __fsub_rn(sum, from_b)), __fsub_rn(b, from_b))};
}

// a b, rounded and the rest
__device__ inline TwoFloats exact_product(float a, float b) {
  const float product = __fmul_rn(a, b);
  return {product, __fmaf_rn(a, b, -product)};
}

// Gives the same bits for b + a.
__device__ inline TwoFloats operator+(TwoFloats a, TwoFloats b) {
  const TwoFloats sum = exact_sum(a.high, b.high);
  return {sum.high, __fadd_rn(sum.low, __fadd_rn(a.low, b.low))};
}

// a x + b y, rounded once, even where it is nearly zero.
__device__ inline float combined(TwoFloats a, float x, TwoFloats b, float y) {
  const TwoFloats product = exact_product(a.high, x);
  const float rest = __fmaf_rn(a.low, x, __fmaf_rn(b.low, y, product.low));
  return __fadd_rn(__fmaf_rn(b.high, y, product.high), rest);
}

}  // namespace adtool::cuda
