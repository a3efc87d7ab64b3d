// What the vector body of gaussian_blur is told about the filter. No torch.
#pragma once

#include <stdint.h>

namespace adtool {

constexpr int64_t BLUR_ROWS = 32;  // output rows of one work item

struct Blur {
  const double* taps;     // [radius + 1], from the centre outwards
  const int64_t* row;     // [height + 2 radius]: the row that stands at i - radius once the border is reflected
  const int64_t* column;  // [width + 2 radius]
  int64_t radius, height, width;
};

}  // namespace adtool
