// What the CUDA operators need of the device their tensors are on, and where they register themselves. Compiled with
// ADTOOL_EMULATED they take CPU tensors, in a namespace of their own, and csrc/emulation runs their kernels.
//
//   ADTOOL_CUDA_OPERATORS(library) { library.impl("<op>", TORCH_BOX(&<op>)); }
#pragma once

#ifndef ADTOOL_EMULATED
#include <torch/csrc/stable/accelerator.h>
#endif

#include "tensors.h"

namespace adtool {

#ifdef ADTOOL_EMULATED

#define ADTOOL_CUDA_OPERATORS(library) STABLE_TORCH_LIBRARY_IMPL(adtool_emulated, CPU, library)

// Bytes of intermediate results at a time: few, so that small tests take more than one turn.
constexpr int64_t WORKSPACE_BYTES = int64_t{128} << 10;

class Device {
 public:
  explicit Device(const Tensor&) {}
  void* stream() const { return nullptr; }
};

#else

#define ADTOOL_CUDA_OPERATORS(library) STABLE_TORCH_LIBRARY_IMPL(adtool, CUDA, library)

constexpr int64_t WORKSPACE_BYTES = int64_t{16} << 20;

// Makes the tensor's device the current one for as long as it lives.
class Device {
 public:
  explicit Device(const Tensor& tensor) : index_(tensor.get_device_index()), guard_(index_) {}
  void* stream() const { return torch::stable::accelerator::getCurrentStream(index_).nativeHandle(); }

 private:
  torch::stable::accelerator::DeviceIndex index_;
  torch::stable::accelerator::DeviceGuard guard_;
};

#endif

// A kernel would read another device's memory.
inline void check_device(const Tensor& tensor, const char* argument, const Tensor& first) {
  STD_TORCH_CHECK(tensor.device() == first.device(), argument, ": expected a tensor on the first argument's device");
}

}  // namespace adtool
