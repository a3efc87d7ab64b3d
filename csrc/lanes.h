// Lanes moved within and between vectors, for vector bodies.
#pragma once

#include "vector.h"

namespace adtool::ADTOOL_BODY {

// a, b, c, .. and A, B, C, .. make a, A, b, B, .. from lane `First` on.
template <int First, class V, int... I>
ADTOOL_INLINE V interleave(V lower, V upper, Sequence<I...>) {
  return __builtin_shufflevector(lower, upper, (First + I / 2 + I % 2 * int{sizeof...(I)})...);
}

// A square of numbers, one vector a row: interleaving the halves moves one bit of a row's number into that of the lane.
template <class T>
ADTOOL_INLINE void transpose(Vec<T> (&rows)[LANES<T>]) {
  constexpr int L = LANES<T>;
  typename sequence_to<L>::type lanes;
#pragma GCC unroll 4
  for (int step = L; step > 1; step /= 2) {
    Vec<T> next[L];
#pragma GCC unroll 16
    for (int i = 0; i < L / 2; ++i) {
      next[2 * i] = interleave<0>(rows[i], rows[i + L / 2], lanes);
      next[2 * i + 1] = interleave<L / 2>(rows[i], rows[i + L / 2], lanes);
    }
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) rows[i] = next[i];
  }
}

}  // namespace adtool::ADTOOL_BODY
