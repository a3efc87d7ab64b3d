// Philox4x32-10 and Box-Muller, written once for one number on a GPU and for vectors of them on a CPU. The steps and
// the coefficients are those of adtool/ops/philox_normal.py, and so are the bits: all floating-point operations are
// rounded alone. `Arithmetic` gives the types and what the operators of C++ do not:
//   Word, Product, product(Word, uint32_t), high(Product), low(Product)     for the rounds
//   Bits (unsigned), Integer (signed), Real, real(Integer), as<To>(value)   32 bits a number
//   add, subtract, multiply, root                                            rounded alone
// No torch, no standard library.
#pragma once

#include <stdint.h>

#include "both_sides.h"

namespace adtool {

struct Stream {  // of random blocks: one for each sample and step
  uint64_t seed, sample_id;
  uint32_t t;
};

// Replaces a counter by four random words.
template <class Arithmetic>
ADTOOL_BOTH void philox(typename Arithmetic::Word (&counter)[4], uint64_t seed) {
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const auto p0 = Arithmetic::product(counter[0], 0xD2511F53u), p1 = Arithmetic::product(counter[2], 0xCD9E8D57u);
    counter[0] = Arithmetic::high(p1) ^ counter[1] ^ k0;
    counter[2] = Arithmetic::high(p0) ^ counter[3] ^ k1;
    counter[1] = Arithmetic::low(p1);
    counter[3] = Arithmetic::low(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

// coefficients[0] + coefficients[1] x + ..., by Horner's rule.
template <class Arithmetic, int N>
ADTOOL_BOTH typename Arithmetic::Real polynomial(const float (&coefficients)[N], typename Arithmetic::Real x) {
  auto series = Arithmetic::multiply(x, coefficients[N - 1]);
  for (int k = N - 2; k > 0; --k) {
    series = Arithmetic::multiply(Arithmetic::add(series, coefficients[k]), x);
  }
  return Arithmetic::add(series, coefficients[0]);
}

// sqrt(-2 ln u1)
template <class Arithmetic>
ADTOOL_BOTH typename Arithmetic::Real radius(typename Arithmetic::Bits word) {
  using Integer = typename Arithmetic::Integer;
  using Real = typename Arithmetic::Real;
  constexpr int32_t SQRT_HALF_BITS = 0x3F3504F3;
  constexpr float TWO_LN2 = 1.38629436f;
  constexpr float LOG[] = {-2.0f,        0.999999762f,  -0.666683733f, 0.500041485f, -0.399136662f,
                           0.331247866f, -0.299045324f, 0.287336856f,  -0.174447134f};
  const Real u = Arithmetic::multiply(Arithmetic::real(Arithmetic::template as<Integer>((word >> 1) | 1u)), 0x1p-31f);
  const Integer bits = Arithmetic::template as<Integer>(u), exponent = (bits - SQRT_HALF_BITS) >> 23;
  const Real f = Arithmetic::subtract(Arithmetic::template as<Real>(bits - exponent * (1 << 23)), 1.0f);
  const Real fractional = Arithmetic::multiply(f, polynomial<Arithmetic>(LOG, f));
  return Arithmetic::root(Arithmetic::subtract(fractional, Arithmetic::multiply(Arithmetic::real(exponent), TWO_LN2)));
}

// Two words to two normals.
template <class Arithmetic>
ADTOOL_BOTH void box_muller(typename Arithmetic::Bits first, typename Arithmetic::Bits second,
                            typename Arithmetic::Real& z1, typename Arithmetic::Real& z2) {
  using Bits = typename Arithmetic::Bits;
  using Integer = typename Arithmetic::Integer;
  using Real = typename Arithmetic::Real;
  constexpr float SIN[] = {0.785398185f, -0.0807454363f, 0.00249000103f, -3.5950452e-05f};
  constexpr float COS[] = {1.0f, -0.308425128f, 0.0158543233f, -0.000325936504f, 3.52876168e-06f};
  const Real r = radius<Arithmetic>(first);
  const Bits turned = second + 0x20000000u;  // the nearest quarter turn in the highest two bits
  const Real x = Arithmetic::multiply(Arithmetic::real(Arithmetic::template as<Integer>(second << 2)), 0x1p-31f);
  const Real square = Arithmetic::multiply(x, x);
  const Real sine = Arithmetic::multiply(x, polynomial<Arithmetic>(SIN, square));
  const Real cosine = polynomial<Arithmetic>(COS, square);
  const auto odd = (turned & 0x40000000u) != 0u;
  const Bits cosine_sign = (turned + 0x40000000u) & 0x80000000u, sine_sign = turned & 0x80000000u;
  const Real along = odd ? sine : cosine, across = odd ? cosine : sine;
  z1 = Arithmetic::template as<Real>(Arithmetic::template as<Bits>(Arithmetic::multiply(r, along)) ^ cosine_sign);
  z2 = Arithmetic::template as<Real>(Arithmetic::template as<Bits>(Arithmetic::multiply(r, across)) ^ sine_sign);
}

}  // namespace adtool
