// Floating-point numbers as integers of the same order, which processors compare and take the larger of in one step;
// for vector bodies.
#pragma once

#include "vector.h"

namespace adtool::ADTOOL_BODY {

template <class T>
using Key = typename integer_of<T>::type;

// Integers in the order of the numbers, both zeros being one number and NaN, whatever its sign, the largest.
template <class T>
ADTOOL_INLINE IntVec<T> flipped(IntVec<T> key) {
  constexpr int SIGN = 8 * sizeof(T) - 1;
  return key ^ ((key >> SIGN) & ~(Key<T>{1} << SIGN));
}
template <class T>
ADTOOL_INLINE IntVec<T> key_of(Vec<T> x) {
  return flipped<T>(bits<IntVec<T>>(x == x ? x + T(0) : broadcast<T>(__builtin_nanf(""))));
}
template <class T>
ADTOOL_INLINE Vec<T> number_of(IntVec<T> key) {
  return bits<Vec<T>>(flipped<T>(key));
}

}  // namespace adtool::ADTOOL_BODY
