// The maps of top_mean, on either device.
#pragma once

#include "tensors.h"

namespace adtool {

// Pixels of a map; an error unless n of them can be asked for.
inline int64_t pixels_of(const Tensor& maps, int64_t n) {
  const int64_t images = maps.size(0), pixels = images == 0 ? 0 : maps.numel() / images;
  STD_TORCH_CHECK(n >= 1 && (n <= pixels || images == 0), "n: expected 1 to ", pixels, " pixels, got ", n);
  return pixels;
}

// The storage type of maps with a gradient of their scores.
inline Element element_of_maps(const Tensor& maps, const Tensor& grad) {
  const Element element = element_of_features(maps, "maps");
  STD_TORCH_CHECK(grad.dim() == 1 && grad.size(0) == maps.size(0), "grad: expected (", maps.size(0),
                  ",), one for each map, got ", shape_of(grad));
  STD_TORCH_CHECK(grad.scalar_type() == compute_dtype(element),
                  "grad: expected float64 for float64 maps, float32 for all others");
  return element;
}

}  // namespace adtool
