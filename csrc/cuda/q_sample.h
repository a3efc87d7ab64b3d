// The launch of q_sample, between csrc/cuda/q_sample.cpp (torch, g++) and csrc/cuda/q_sample.cu (no torch, nvcc). It
// returns nullptr or what CUDA found wrong.
#pragma once

#include "element.h"
#include "samples.h"

namespace adtool::cuda {

const char* launch_q_sample(Element element, const void* x, void* y, Samples samples, Draws draws, const void* schedule,
                            int64_t rows, void* stream);

}  // namespace adtool::cuda
