// The launches of the blur, between csrc/cuda/gaussian_blur.cpp (torch, g++) and csrc/cuda/gaussian_blur.cu (no torch,
// nvcc). Each returns nullptr or what CUDA found wrong with the launch.
#pragma once

#include "element.h"

namespace adtool::cuda {

struct BlurPass {  // over (planes, length, width) numbers, along `length`
  int64_t planes;
  int length, width, radius;
};

// w_0 ... w_radius, in the type that is computed with.
const char* launch_blur_taps(Element element, void* taps, double sigma, int radius, void* stream);
// Along the rows' axis to `between`, which is turned and of the type that is computed with, then along the columns'
// axis.
const char* launch_blur(Element element, const void* maps, void* between, void* out, const void* taps, BlurPass rows,
                        void* stream);

}  // namespace adtool::cuda
