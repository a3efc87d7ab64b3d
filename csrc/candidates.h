// Rows that meet rows, and what is remembered of the nearest; between the torch side and the vector bodies.
#pragma once

#include <stdint.h>

namespace adtool {

constexpr int64_t PANEL = 32;  // columns are packed in multiples of this; a whole number of any tile's
constexpr int64_t STEP = 42;   // rows are packed in multiples of this; a whole number of any tile's
constexpr int64_t KEPT = 16;   // candidates are kept in multiples of this; a whole number of any vector's

// Rows first .. first + count of a larger set, as float32: `columns` packed for the inner products, `offsets` added to
// the scores, infinite where a row cannot be near anything (it is not finite, or lies beyond the end).
struct PackedColumns {
  const float *columns, *offsets;
  int64_t first, count;
};

// For each row the `keep` smallest scores so far, ascending, and whose they are. Two scores are in doubt when they
// differ by no more than `slack`; what does not score below `limit` is not among the k nearest.
struct Candidates {
  float *scores, *limit, *slack;
  int32_t* rows;
  int64_t k, keep;
};

}  // namespace adtool
