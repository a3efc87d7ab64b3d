// The launch that resizes and reduces distance maps, between csrc/cuda/cosine_map.cpp (torch, g++) and
// csrc/cuda/cosine_map.cu (no torch, nvcc). It returns nullptr or what CUDA found wrong with the launch.
#pragma once

#include "element.h"
#include "scales.h"

namespace adtool::cuda {

constexpr int SCALES_AT_ONCE = 8;

struct DistanceMaps {                     // of some scales
  const void* distances[SCALES_AT_ONCE];  // (images, height, width)
  uint32_t height[SCALES_AT_ONCE], width[SCALES_AT_ONCE];
  int count;
};

struct MapTarget {
  void* out;  // (images, height, width)
  int64_t images;
  uint32_t height, width;
  Reduction reduction;
  int64_t scales;  // all of them
};

// Takes the scales from `done` on into what is already made of those before; all numbers are of the computing type.
const char* launch_cosine_map(Element element, DistanceMaps maps, MapTarget target, int64_t done, void* stream);

}  // namespace adtool::cuda
