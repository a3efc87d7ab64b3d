// What greedy_coreset.cpp and its vector body hand to each other.
#pragma once

#include "rows.h"

namespace adtool {

// A patch and its squared distance to the nearest pick.
struct Far {
  double distance;
  int64_t row;
};

// What is known of every patch: `distance` (float32, or float64 for float64 patches) is its squared distance to the
// nearest of the first `seen` picks, and so an upper bound of that to the nearest of all; -1 for a pick itself.
struct Cover {
  Rows patches;
  const int64_t* picks;
  void* distance;
  int32_t* seen;
};

}  // namespace adtool
