// The launches of the greedy selection, between csrc/cuda/greedy_coreset.cpp (torch, g++) and
// csrc/cuda/greedy_coreset.cu (no torch, nvcc). Each returns nullptr or what CUDA found wrong with the launch.
#pragma once

#include "rows.h"

namespace adtool::cuda {

constexpr int64_t FARTHEST_BYTES = 16;  // of a block's farthest patch

// `distance` (float32, or float64 for float64 patches) is each patch's squared distance to the nearest of the first
// `seen` picks, -1 for a pick. `farthest` has FARTHEST_BYTES for every block of two passes.
struct Cover {
  Rows patches;
  int64_t* picks;
  void* distance;
  int32_t* seen;
  void* farthest;
};

// Of a pass over so many patches.
int64_t pass_blocks(int64_t patches);
// The picks begin .. end, each by one pass over the patches; nothing waits for the device.
const char* launch_picks(const Cover& cover, int64_t begin, int64_t end, void* stream);

}  // namespace adtool::cuda
