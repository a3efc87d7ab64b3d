// What nearest_patch.cpp and its vector body hand to each other.
#pragma once

#include <stdint.h>

#include "rows.h"

namespace adtool {

constexpr int64_t PANEL = 32;  // bank rows are packed in multiples of this; a whole number of any tile's columns
constexpr int64_t STEP = 42;   // patches are packed in multiples of this; a whole number of any tile's rows

// Bank rows first .. first + count as float32: `columns` packed for the inner products, `squares` their |b|^2, infinite
// where a row cannot be near anything (it is not finite, or lies beyond the end).
struct PackedBank {
  const float *columns, *squares;
  int64_t first, count;
};

// For each patch the `keep` smallest scores |b|^2 - 2 <x, b> so far, ascending, and their bank rows. Two scores are in
// doubt when they differ by no more than `slack`; a row whose score is not below `limit` is not among the k nearest.
struct Candidates {
  float *scores, *limit, *slack;
  int32_t* rows;
  int64_t k, keep;
};

}  // namespace adtool
