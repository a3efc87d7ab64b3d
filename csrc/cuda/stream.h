// The stream that PyTorch runs a tensor's work on.
#pragma once

#include <torch/csrc/stable/accelerator.h>

#include "tensors.h"

namespace adtool {

inline void* current_stream(const Tensor& tensor) {
  return torch::stable::accelerator::getCurrentStream(tensor.get_device_index()).nativeHandle();
}

inline void check_device(const Tensor& tensor, const char* argument, const Tensor& like) {
  STD_TORCH_CHECK(tensor.device() == like.device(), argument, ": expected a tensor on the device of the samples");
}

}  // namespace adtool
