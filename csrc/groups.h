// How the features of group_norm are cut for statistics and for use. No torch: vector bodies and kernels see it.
#pragma once

#include <stdint.h>

#include "planes.h"

namespace adtool {

constexpr int64_t PLANE_PIECE = 1024;     // pixels of one work item along contiguous planes: a page of float32 each
constexpr int64_t PIECE_ELEMENTS = 8192;  // about, where channels lie innermost: what the first cache holds of float32
constexpr int64_t PIECE_PIXELS = 16;      // at least

struct Groups {
  Planes planes;
  int64_t count;

  int64_t channels() const { return planes.channels / count; }  // of each group
  // An image is cut across its pixels, whatever else is in the batch: the sums of a piece are taken as one.
  int64_t piece() const {
    if (!planes.channels_last) return PLANE_PIECE;
    const int64_t pixels = PIECE_ELEMENTS / planes.channels / PIECE_PIXELS * PIECE_PIXELS;
    return pixels > PIECE_PIXELS ? pixels : PIECE_PIXELS;
  }
  int64_t pieces() const { return (planes.pixels + piece() - 1) / piece(); }  // of an image
};

}  // namespace adtool
