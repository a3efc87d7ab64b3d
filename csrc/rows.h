// Rows of numbers, as the torch side hands them to the vector bodies.
#pragma once

#include <stdint.h>

#include "element.h"

namespace adtool {

struct Rows {  // (count, depth); the elements of a row lie side by side unless depth_stride says else
  Element element;
  const void* data;
  int64_t count, depth, stride, depth_stride = 1;
};

}  // namespace adtool
