// Squared lengths and distances of rows, for vector bodies. With T = double they are right to about 1e-15 on every
// instruction set; with T = float to about 1e-5. Between equal rows the distance is 0.
#pragma once

#include "rows.h"
#include "vector.h"

namespace adtool::ADTOOL_BODY {

template <class S>
ADTOOL_INLINE const S* row_of(const Rows& rows, int64_t i) {
  return static_cast<const S*>(rows.data) + i * rows.stride;
}

// The last `n` lanes, the others zero.
template <class T>
ADTOOL_INLINE Vec<T> last_lanes(Vec<T> value, int64_t n) {
  IntVec<T> lane;
  for (int i = 0; i < LANES<T>; ++i) lane[i] = i;
  return lane >= static_cast<typename integer_of<T>::type>(LANES<T> - n) ? value : Vec<T>{};
}

// sum_d value_d^2 in four running sums; value(i, n) gives the n elements from i on, zero beyond them.
template <class T, class Function>
ADTOOL_INLINE T sum_of_squares(int64_t depth, const Function& value) {
  constexpr int64_t L = LANES<T>;
  Vec<T> sum[4] = {};
  const auto add = [&](int u, Vec<T> term) { sum[u] += term * term; };
  int64_t i = 0;
  for (; i + 4 * L <= depth; i += 4 * L) {
    for (int u = 0; u < 4; ++u) add(u, value(i + u * L, L));
  }
  for (int u = 0; i + L <= depth; i += L) add(u++, value(i, L));
  if (i < depth) add(3, depth < L ? value(0, depth) : last_lanes<T>(value(depth - L, L), depth - i));
  return sum_lanes<T>((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

template <class T, class S>
ADTOOL_INLINE T squared_length(const S* row, int64_t depth) {
  return sum_of_squares<T>(depth, [=](int64_t i, int64_t n) { return load_as<T>(row + i, n); });
}

template <class T, class S>
ADTOOL_INLINE T squared_distance(const S* a, const S* b, int64_t depth) {
  return sum_of_squares<T>(depth, [=](int64_t i, int64_t n) { return load_as<T>(a + i, n) - load_as<T>(b + i, n); });
}

}  // namespace adtool::ADTOOL_BODY
