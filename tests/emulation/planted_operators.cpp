// Operators with one mistake each, to see what of it arrives in Python.
#include "cuda/device.h"
#include "kernels/launch.cuh"

namespace {

using torch::stable::Tensor;

__global__ void diverge(const float* x, float* y) {
  if (threadIdx.x % 2 == 0) __syncthreads();
  y[threadIdx.x] = x[threadIdx.x];
}

__global__ void forget_the_last(const float* x, float* y, unsigned count) {
  if (threadIdx.x + 1 < count) y[threadIdx.x] = x[threadIdx.x];
}

Tensor divergent(const Tensor& x) {
  const Tensor y = torch::stable::empty_like(x);
  ADTOOL_LAUNCH(1, 64, 0, nullptr, diverge)
  (static_cast<const float*>(x.const_data_ptr()), static_cast<float*>(y.mutable_data_ptr()));
  return y;
}

Tensor unfinished(const Tensor& x) {
  const Tensor y = torch::stable::empty_like(x);
  ADTOOL_LAUNCH(1, 64, 0, nullptr, forget_the_last)
  (static_cast<const float*>(x.const_data_ptr()), static_cast<float*>(y.mutable_data_ptr()),
   static_cast<unsigned>(x.numel()));
  return y;
}

STABLE_TORCH_LIBRARY(adtool_planted, library) {
  library.def("divergent(Tensor x) -> Tensor");
  library.def("unfinished(Tensor x) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(adtool_planted, CPU, library) {
  library.impl("divergent", TORCH_BOX(&divergent));
  library.impl("unfinished", TORCH_BOX(&unfinished));
}

}  // namespace
