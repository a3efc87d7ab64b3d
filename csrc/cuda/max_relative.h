// The max-relative launches, between csrc/cuda/max_relative.cpp (torch, g++) and csrc/cuda/max_relative.cu (no torch,
// nvcc). Each returns nullptr or what CUDA found wrong with the launch.
#pragma once

#include "element.h"

namespace adtool::cuda {

// index (images, nodes, k); features (images, nodes, channels) without gaps, nodes or channels innermost.
struct NodeGraph {
  const int64_t* index;
  int64_t images, nodes, channels, k;
  bool nodes_innermost;
};

// What the backward pass writes on its way: `which` (like the features) the place of each maximum among the neighbours,
// and of the edges e = node * k + place of each image those that lead to node i, ascending, from edges[first[i]] on.
// `cursor` (images, nodes) and `unsorted` (images, nodes * k) are between.
struct Inverse {
  uint16_t* which;
  int32_t *first, *cursor, *unsorted, *edges;  // first (images, nodes + 1)
};

const char* launch_max_relative_forward(Element element, const void* x, void* y, NodeGraph graph, void* stream);
const char* launch_max_relative_backward(Element element, const void* grad, const void* x, void* dx, NodeGraph graph,
                                         Inverse inverse, void* stream);

}  // namespace adtool::cuda
