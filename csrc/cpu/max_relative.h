// What max_relative.cpp and its vector body hand to each other.
#pragma once

#include <stdint.h>

#include "element.h"

namespace adtool {

constexpr int64_t NODE_CHANNELS = 64;  // channels of one work item

struct Graph {  // index (images, nodes, k), every one of them a node
  const int64_t* index;
  int64_t images, nodes, k;

  const int64_t* neighbors(int64_t image, int64_t node) const { return index + (image * nodes + node) * k; }
};

// (images, nodes, channels) numbers; nodes or channels lie side by side.
struct NodeFeatures {
  Element element;
  void* data;
  int64_t channels, image_stride, node_stride, channel_stride;

  int64_t blocks() const { return (channels + NODE_CHANNELS - 1) / NODE_CHANNELS; }
};

}  // namespace adtool
