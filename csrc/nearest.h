// The k nearest rows found so far, by exact distances: nearer first, then the lower row, NaN after everything. Written
// once for a CPU and a GPU.
#pragma once

#include <stdint.h>

#include "both_sides.h"

namespace adtool {

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

}  // namespace adtool
