// The launch of philox_normal, between csrc/cuda/philox_normal.cpp (torch, g++) and csrc/cuda/philox_normal.cu (no
// torch, nvcc). It returns nullptr or what CUDA found wrong.
#pragma once

#include "element.h"
#include "samples.h"

namespace adtool::cuda {

const char* launch_philox_normal(Element element, void* out, Samples samples, Draws draws, void* stream);

}  // namespace adtool::cuda
