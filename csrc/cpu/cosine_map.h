// One scale's distance map on its way to the size of the result.
#pragma once

#include <stdint.h>

#include "scales.h"

namespace adtool {

struct ScaleMap {
  const void* distances;  // (images, height, width) of the compute type
  int64_t height, width;
  const int32_t* column;  // of each output column: the source column to its left ...
  const double* weight;   // ... and the weight of the one to its right
};

// Where output index `i` falls in an axis of `in` elements stretched over `out` of them, end on end (align_corners).
inline double source_position(int64_t i, int64_t in, int64_t out) {
  return out > 1 ? static_cast<double>(i * (in - 1)) / static_cast<double>(out - 1) : 0.0;
}

}  // namespace adtool
