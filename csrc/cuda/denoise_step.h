// The launches of denoise_step, between csrc/cuda/denoise_step.cpp (torch, g++) and csrc/cuda/denoise_step.cu (no
// torch, nvcc). They return nullptr or what CUDA found wrong.
#pragma once

#include "element.h"
#include "samples.h"

namespace adtool::cuda {

const char* launch_denoise_step(Element element, const void* x, const void* eps, void* y, Samples samples, Draws draws,
                                const void* schedule, int64_t rows, double clip, void* stream);

const char* launch_denoise_step_backward(Element element, const void* grad, const void* x, const void* eps,
                                         void* x_grad, void* eps_grad, Samples samples, const int64_t* steps,
                                         const void* schedule, int64_t rows, double clip, void* stream);

}  // namespace adtool::cuda
