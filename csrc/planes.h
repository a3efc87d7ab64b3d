// How (N, C, H, W) features lie in memory, and how they are shared among threads. No torch: the vector bodies see it.
#pragma once

#include <stdint.h>

namespace adtool {

constexpr int64_t CHANNEL_BLOCK = 64;  // channels of one work item where channels lie innermost

struct Planes {
  int64_t images, channels, pixels;
  bool channels_last;

  int64_t blocks() const { return (channels + CHANNEL_BLOCK - 1) / CHANNEL_BLOCK; }
  // Work items: a plane (n, c) of contiguous features, a block of channels of one image of channels-last ones.
  int64_t items() const { return images * (channels_last ? blocks() : channels); }
  int64_t pixels_per_item() const { return channels_last ? pixels * CHANNEL_BLOCK : pixels; }
};

}  // namespace adtool
