// Vectors for the bodies in csrc/cpu/<op>_body.h, as wide as the instruction set the file is compiled for. Everything
// here is in the namespace of that set: two copies of one inline function, built for two sets, must never be merged.
// No torch, no standard library.
#pragma once

#include <stdint.h>

#include "element.h"

#ifndef ADTOOL_BODY
#error "csrc/cpu/<op>_body.h is compiled through setup.py, once for each instruction set"
#endif

#define ADTOOL_INLINE inline __attribute__((always_inline))

namespace adtool::ADTOOL_BODY {

constexpr int BYTES = ADTOOL_VECTOR_BYTES;

template <class T, int N>
struct lanes {
  typedef T type __attribute__((vector_size(N * sizeof(T))));
};
template <class T, int N>
using Lanes = typename lanes<T, N>::type;  // N elements

template <class T>
constexpr int LANES = BYTES / static_cast<int>(sizeof(T));
template <class T>
using Vec = Lanes<T, LANES<T>>;  // as many as fill a register

// The numbers below N, for patterns of shuffles: sequence_to<N>::type.
template <int... I>
struct Sequence {};
template <int N, int... I>
struct sequence_to : sequence_to<N - 1, N - 1, I...> {};
template <int... I>
struct sequence_to<0, I...> {
  using type = Sequence<I...>;
};

// Integers of the same width as the floating-point type, and as many of them.
template <class T>
struct integer_of;
template <>
struct integer_of<float> {
  using type = int32_t;
};
template <>
struct integer_of<double> {
  using type = int64_t;
};
template <class T>
using IntVec = Vec<typename integer_of<T>::type>;

template <class To, class From>
ADTOOL_INLINE To bits(From value) {
  static_assert(sizeof(To) == sizeof(From), "reinterpreting needs equal sizes");
  To result;
  __builtin_memcpy(&result, &value, sizeof(result));
  return result;
}

template <class T>
ADTOOL_INLINE Vec<T> broadcast(T value) {
  return value - Vec<T>{};
}

// ---- between storage and registers; 16-bit types round to nearest even ----

template <class V>
ADTOOL_INLINE V fetch(const void* from) {
  V value;
  __builtin_memcpy(&value, from, sizeof(value));
  return value;
}

template <int N>
ADTOOL_INLINE Lanes<float, N> read(const float* from) {
  return fetch<Lanes<float, N>>(from);
}

template <int N>
ADTOOL_INLINE Lanes<double, N> read(const double* from) {
  return fetch<Lanes<double, N>>(from);
}

template <int N>
ADTOOL_INLINE Lanes<float, N> read(const BFloat16* from) {
  const auto raw = fetch<Lanes<uint16_t, N>>(from);
  return bits<Lanes<float, N>>(__builtin_convertvector(raw, Lanes<uint32_t, N>) << 16);
}

template <int N>
ADTOOL_INLINE Lanes<float, N> read(const Float16* from) {
  using Words = Lanes<uint32_t, N>;
  const Words half = __builtin_convertvector(fetch<Lanes<uint16_t, N>>(from), Words);
  const Words magnitude = (half & 0x7fff) << 13;
  const Words finite = bits<Words>(bits<Lanes<float, N>>(magnitude) * 0x1p112f);    // exponent bias from 15 to 127
  const Words value = (half & 0x7fff) >= 0x7c00 ? magnitude | 0x7f800000 : finite;  // infinity and NaN
  return bits<Lanes<float, N>>(value | ((half & 0x8000) << 16));
}

template <int N>
ADTOOL_INLINE void write(float* to, Lanes<float, N> value) {
  __builtin_memcpy(to, &value, sizeof(value));
}

template <int N>
ADTOOL_INLINE void write(double* to, Lanes<double, N> value) {
  __builtin_memcpy(to, &value, sizeof(value));
}

template <int N>
ADTOOL_INLINE void write(BFloat16* to, Lanes<float, N> value) {
  using Words = Lanes<uint32_t, N>;
  const Words word = bits<Words>(value);
  const Words rounded = (word + 0x7fff + ((word >> 16) & 1)) >> 16;
  const auto raw = __builtin_convertvector(value != value ? (word >> 16) | 0x40 : rounded, Lanes<uint16_t, N>);
  __builtin_memcpy(to, &raw, sizeof(raw));
}

template <int N>
ADTOOL_INLINE void write(Float16* to, Lanes<float, N> value) {
  using Words = Lanes<uint32_t, N>;
  const Words word = bits<Words>(value), magnitude = word & 0x7fffffff;
  const Words normal = (magnitude + 0xfff + ((magnitude >> 13) & 1) - (112u << 23)) >> 13;
  const Words subnormal = bits<Words>(bits<Lanes<float, N>>(magnitude) + 0.5f) - 0x3f000000;  // the addition rounds
  Words half = magnitude < 0x38800000u ? subnormal : normal;
  half = magnitude >= 0x477ff000u ? Words{} + 0x7c00 : half;  // 65520 and above round to infinity
  half = magnitude > 0x7f800000u ? Words{} + 0x7e00 : half;
  const auto raw = __builtin_convertvector(half | ((word >> 16) & 0x8000), Lanes<uint16_t, N>);
  __builtin_memcpy(to, &raw, sizeof(raw));
}

// A full vector of T, or its first `n` lanes with zeros behind.
template <class T, class Storage>
ADTOOL_INLINE Vec<T> load_as(const Storage* from) {
  return __builtin_convertvector(read<LANES<T>>(from), Vec<T>);
}
template <class T, class Storage>
ADTOOL_INLINE Vec<T> load_as(const Storage* from, int64_t n) {
  if (n == LANES<T>) return load_as<T>(from);
  Storage buffer[LANES<T>] = {};
  for (int64_t i = 0; i < n; ++i) buffer[i] = from[i];
  return load_as<T>(buffer);
}
template <class Storage>
ADTOOL_INLINE Vec<Compute<Storage>> load(const Storage* from) {
  return load_as<Compute<Storage>>(from);
}
template <class Storage>
ADTOOL_INLINE Vec<Compute<Storage>> load(const Storage* from, int64_t n) {
  return load_as<Compute<Storage>>(from, n);
}

// A full vector, or its first `n` lanes; nothing is written behind them.
template <class Storage, class V>
ADTOOL_INLINE void store(Storage* to, V value) {
  constexpr int N = sizeof(V) / sizeof(value[0]);
  write<N>(to, __builtin_convertvector(value, Lanes<Compute<Storage>, N>));
}
template <class Storage, class V>
ADTOOL_INLINE void store(Storage* to, V value, int64_t n) {
  constexpr int N = sizeof(V) / sizeof(value[0]);
  if (n == N) return store(to, value);
  Storage buffer[N];
  store(buffer, value);
  for (int64_t i = 0; i < n; ++i) to[i] = buffer[i];
}

// ---- arithmetic ----

template <class V>
struct Pair {
  V low, high;
};

// `value` with every lane from the n-th on set to zero.
template <class T>
ADTOOL_INLINE Vec<T> first_lanes(Vec<T> value, int64_t n) {
  if (n == LANES<T>) return value;
  IntVec<T> lane;
  for (int i = 0; i < LANES<T>; ++i) lane[i] = i;
  return lane < static_cast<typename integer_of<T>::type>(n) ? value : Vec<T>{};
}

// The sum of all lanes, halves first, so that it rounds alike wherever it is called.
template <class T, int N = LANES<T>>
ADTOOL_INLINE T sum_lanes(Lanes<T, N> value) {
  if constexpr (N == 1) {
    return value[0];
  } else {
    const auto halves = bits<Pair<Lanes<T, N / 2>>>(value);
    return sum_lanes<T, N / 2>(halves.low + halves.high);
  }
}

// sum_i f(i, n) over `count` elements, a vector of L at a time, in four independent partial sums. f(i, n) gives the
// sum's term for the n <= L elements from i on, zero in the lanes beyond.
template <class Sum, int L, class Function>
ADTOOL_INLINE Sum sum_over(int64_t count, const Function& f) {
  Sum part[4] = {};
  int64_t i = 0;
  for (; i + 4 * L <= count; i += 4 * L) {
    for (int u = 0; u < 4; ++u) part[u] += f(i + u * L, L);
  }
  for (; i + L <= count; i += L) part[0] += f(i, L);
  if (i < count) part[1] += f(i, count - i);
  part[0] += part[1];
  part[2] += part[3];
  part[0] += part[2];
  return part[0];
}

// total[u] = sum_p f(p, u) down U columns of vectors, in blocks of rows, which keeps the rounding of long columns
// small.
template <class Sum, int U, class Function>
ADTOOL_INLINE void sum_rows(int64_t rows, Sum (&total)[U], const Function& f) {
  constexpr int64_t BLOCK = 64;
  for (int u = 0; u < U; ++u) total[u] = Sum{};
  for (int64_t begin = 0; begin < rows; begin += BLOCK) {
    const int64_t end = begin + BLOCK < rows ? begin + BLOCK : rows;
    Sum part[U] = {};
    for (int64_t p = begin; p < end; ++p) {
      for (int u = 0; u < U; ++u) part[u] += f(p, u);
    }
    for (int u = 0; u < U; ++u) total[u] += part[u];
  }
}

template <class T>
struct exponential;  // of 2^x: where it becomes 2^lowest, terms of the series, width of the mantissa, and a number so
                     // large that adding it rounds to whole numbers and leaves them, biased, in the lowest bits
template <>
struct exponential<float> {
  static constexpr float lowest = -126, shift = 0x1.8p23f + 127;
  static constexpr int terms = 6, mantissa = 23;
};
template <>
struct exponential<double> {
  static constexpr double lowest = -1022, shift = 0x1.8p52 + 1023;
  static constexpr int terms = 13, mantissa = 52;
};

constexpr double LN2 = 0.693147180559945309417;
constexpr double LOG2E = 1.44269504088896340736;

// 2^x for x <= 0 (and up to 126), to two units in the last place; NaN stays NaN.
template <class T>
ADTOOL_INLINE Vec<T> exp2_of_negative(Vec<T> x) {
  using E = exponential<T>;
  x = x < E::lowest ? broadcast<T>(E::lowest) : x;
  const Vec<T> shifted = x + E::shift;
  const Vec<T> fraction = x - (shifted - E::shift);  // in [-1/2, 1/2]
  double coefficient[E::terms + 1] = {1};            // ln(2)^k / k!
  for (int k = 1; k <= E::terms; ++k) coefficient[k] = coefficient[k - 1] * LN2 / k;
  Vec<T> series = broadcast<T>(static_cast<T>(coefficient[E::terms]));
  for (int k = E::terms - 1; k >= 0; --k) series = series * fraction + static_cast<T>(coefficient[k]);
  return series * bits<Vec<T>>(bits<IntVec<T>>(shifted) << E::mantissa);
}

#if defined(__x86_64__) && !defined(__clang__) && ADTOOL_VECTOR_BYTES == 64
// AVX-512 takes floats apart and puts them together in one instruction each.
template <>
ADTOOL_INLINE Vec<float> exp2_of_negative<float>(Vec<float> x) {
  constexpr int FLOOR = 1, ALL = -1, AS_SET = 4;
  const Vec<float> f = __builtin_ia32_reduceps512_mask(x, FLOOR, x, ALL);  // x - floor(x)
  // the polynomial of degree 5 with the least relative error on [0, 1], 8e-8
  const Vec<float> series =
      ((((0.00187757669f * f + 0.00898933969f) * f + 0.0558263175f) * f + 0.240153611f) * f + 0.693153083f) * f +
      0.99999994f;
  return __builtin_ia32_scalefps512_mask(series, x, series, ALL, AS_SET);  // series 2^floor(x)
}
#endif

}  // namespace adtool::ADTOOL_BODY
