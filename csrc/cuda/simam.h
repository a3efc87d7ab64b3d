// The SimAM launches, between csrc/cuda/simam.cpp (torch, g++) and csrc/cuda/simam.cu (no torch, nvcc). Each returns
// nullptr or what CUDA found wrong with the launch.
#pragma once

#include "element.h"
#include "planes.h"

namespace adtool::cuda {

const char* launch_simam_forward(Element element, const void* x, void* y, Planes planes, double lambda, void* stream);
const char* launch_simam_backward(Element element, const void* grad, const void* x, void* dx, Planes planes,
                                  double lambda, void* stream);

}  // namespace adtool::cuda
