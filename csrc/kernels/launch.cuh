// The three things that nvcc and the emulation (csrc/emulation), compiled by g++, spell differently.
//
//   ADTOOL_LAUNCH(grid, block, shared_bytes, stream, kernel<T, N>)(arguments);
//   ADTOOL_SHARED(parts, T[N]);             parts: a T[N] of the block, at the top of a function's or branch's body
//   ADTOOL_DYNAMIC_SHARED(numbers, T);      numbers: T*, to the shared_bytes of the launch
#pragma once

#include <cuda_runtime.h>

#ifdef __CUDACC__

namespace adtool::cuda {
template <class T>
using Shared = T;
}

#define ADTOOL_LAUNCH(grid, block, shared_bytes, stream, ...) \
  __VA_ARGS__<<<grid, block, shared_bytes, static_cast<cudaStream_t>(stream)>>>
#define ADTOOL_SHARED(name, ...) __shared__::adtool::cuda::Shared<__VA_ARGS__> name
#define ADTOOL_DYNAMIC_SHARED(name, ...)                                 \
  extern __shared__ __align__(16) unsigned char adtool_dynamic_shared[]; \
  auto* const name = reinterpret_cast<__VA_ARGS__*>(adtool_dynamic_shared)

#else

#define ADTOOL_LAUNCH(grid, block, shared_bytes, stream, ...) \
  (static_cast<void>(stream),                                 \
   ::adtool::emulation::Launch<__VA_ARGS__>(grid, block, shared_bytes, ::adtool::emulation::here()))
#define ADTOOL_SHARED(name, ...) \
  auto& name = ::adtool::emulation::shared<__VA_ARGS__>([] {}, ::adtool::emulation::here())
#define ADTOOL_DYNAMIC_SHARED(name, ...) \
  auto* const name = static_cast<__VA_ARGS__*>(::adtool::emulation::dynamic_shared_memory(::adtool::emulation::here()))

#endif

namespace adtool::cuda {

// nullptr, or what CUDA found wrong with the launches so far.
inline const char* launched() {
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace adtool::cuda
