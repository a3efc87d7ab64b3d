// The k nearest rows found so far, by exact distances, and how exact inner products in float32 are. Written once for a
// CPU and a GPU.
#pragma once

#include <stdint.h>

#include "both_sides.h"

namespace adtool {

// Nearer first, then the lower row, NaN after everything.
struct Nearest {
  double* distances;
  int64_t* rows;
  int64_t k, count = 0;

  ADTOOL_BOTH static bool before(double a, int64_t i, double b, int64_t j) {
    return a < b || (a == b && i < j) || (b != b && (a == a || i < j));
  }

  ADTOOL_BOTH void add(double distance, int64_t row) {
    if (count == k && !before(distance, row, distances[k - 1], rows[k - 1])) return;
    int64_t place = count < k ? count++ : k - 1;
    for (; place > 0 && before(distance, row, distances[place - 1], rows[place - 1]); --place) {
      distances[place] = distances[place - 1];
      rows[place] = rows[place - 1];
    }
    distances[place] = distance;
    rows[place] = row;
  }
};

// By how much the scores |b|^2 - 2 <x, b> of two rows b may differ and yet be in the wrong order, in float32: `norm` is
// |x|, `largest` the |b| of the longest. Infinite where float32 may overflow.
ADTOOL_BOTH float slack_of(int64_t depth, double norm, double largest) {
  if (!(norm < 1e38 && largest * (2 * norm + largest) < 1e38)) return __builtin_inff();
  // twice the rounding of 2 <x, b> in depth + 8 steps of 2^-24 each, and of |b|^2; underflow apart
  const double rounding = 0x1p-22 * largest * ((depth + 8) * norm + 2 * largest);
  return static_cast<float>(rounding + 0x1p-120 * depth);
}

}  // namespace adtool
