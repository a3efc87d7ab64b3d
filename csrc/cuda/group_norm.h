// The launch of group_norm, between csrc/cuda/group_norm.cpp (torch, g++) and csrc/cuda/group_norm.cu (no torch, nvcc).
// It returns nullptr or what CUDA found wrong with the launch.
#pragma once

#include "element.h"
#include "groups.h"

namespace adtool::cuda {

struct NormArguments {
  const void *weight, *bias, *modulation;  // of the type that is computed with; modulation may be nullptr
  double eps;
  bool silu;
};

const char* launch_group_norm(Element element, const void* x, void* y, Groups groups, const NormArguments& arguments,
                              void* stream);

}  // namespace adtool::cuda
