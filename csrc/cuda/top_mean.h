// The launches of the mean of the largest, between csrc/cuda/top_mean.cpp (torch, g++) and csrc/cuda/top_mean.cu (no
// torch, nvcc). Each returns nullptr or what CUDA found wrong with the launch.
#pragma once

#include "element.h"

namespace adtool::cuda {

struct TopOfMaps {  // the n largest of each map's pixels
  int64_t images;
  uint32_t pixels, n;
};

const char* launch_top_mean_forward(Element element, const void* maps, void* mean, TopOfMaps top, void* stream);
const char* launch_top_mean_backward(Element element, const void* grad, const void* maps, void* gradient, TopOfMaps top,
                                     void* stream);

}  // namespace adtool::cuda
