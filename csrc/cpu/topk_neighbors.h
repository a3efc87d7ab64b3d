// What topk_neighbors.cpp and its vector body hand to each other.
#pragma once

#include "candidates.h"
#include "rows.h"

namespace adtool {

// Rows and, once they are known, the reciprocals of their lengths; 0 for a row of zeros.
struct UnitRows {
  Rows rows;
  double* reciprocals;
};

// What queries meet: keys, packed, and their positions' similarities (query, packed key), or nullptr; of the first
// query of a block.
struct PackedKeys {
  PackedColumns columns;
  const float* similar;
  int64_t similar_stride;
};

}  // namespace adtool
