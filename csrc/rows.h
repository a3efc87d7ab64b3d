// Rows of numbers, as the torch side hands them to the vector bodies.
#pragma once

#include <stdint.h>

#include "element.h"

namespace adtool {

struct Rows {  // (count, depth); the elements of a row lie side by side
  Element element;
  const void* data;
  int64_t count, depth, stride;
};

}  // namespace adtool
