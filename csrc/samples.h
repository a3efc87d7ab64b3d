// How samples (N, ...) lie in memory, and how they are shared among threads. No torch: the vector bodies see it.
#pragma once

#include <stdint.h>

namespace adtool {

constexpr int64_t CHUNK = 8192;                           // elements of one work item of a contiguous sample
constexpr int64_t TILE_PIXELS = 256, TILE_CHANNELS = 16;  // and of one whose channels lie innermost

struct Samples {
  int64_t count, channels, pixels;  // a contiguous sample is one channel
  bool channels_last;

  int64_t elements() const { return channels * pixels; }
  int64_t channel_tiles() const { return (channels + TILE_CHANNELS - 1) / TILE_CHANNELS; }
  int64_t items_per_sample() const {
    return channels_last ? channel_tiles() * ((pixels + TILE_PIXELS - 1) / TILE_PIXELS)
                         : (elements() + CHUNK - 1) / CHUNK;
  }
};

struct Draws {  // what selects the noise of each sample
  uint64_t seed;
  const int64_t *t, *sample_id;
  int64_t sign = 1;  // the noise is that of sign * t: forward noising has -1, to share none with the way back
};

}  // namespace adtool
