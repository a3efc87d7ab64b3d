// Stands in for the toolkit's header of this name: what kernels and launches of this project use of CUDA, on the host.
#pragma once

#include <stdint.h>

#include <cstddef>
#include <cstring>

#include "emulation/arithmetic.h"
#include "emulation/atomics.h"
#include "emulation/launch.h"
#include "emulation/machine.h"
#include "emulation/vector_types.h"
#include "emulation/warp.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

inline const uint3& threadIdx = adtool::emulation::coordinates.thread;
inline const uint3& blockIdx = adtool::emulation::coordinates.block;
inline const dim3& blockDim = adtool::emulation::coordinates.block_size;
inline const dim3& gridDim = adtool::emulation::coordinates.grid_size;
constexpr int warpSize = adtool::emulation::WARP;

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorInvalidConfiguration = 9 };
using cudaStream_t = struct CUstream_st*;

cudaError_t cudaGetLastError();
cudaError_t cudaPeekAtLastError();

inline const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    default:
      return "invalid argument";
  }
}

enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };

template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute, int bytes) {
  if (bytes < 0 || static_cast<size_t>(bytes) > adtool::emulation::SHARED_OPT_IN) return cudaErrorInvalidValue;
  adtool::emulation::allow_shared_memory(reinterpret_cast<const void*>(kernel), static_cast<size_t>(bytes));
  return cudaSuccess;
}

enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16, cudaDevAttrMaxSharedMemoryPerBlockOptin = 97 };

inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

// Two processors: few, so that what strides over the grid takes more than one stride in small tests.
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrMultiProcessorCount ? 2 : static_cast<int>(adtool::emulation::SHARED_OPT_IN);
  return cudaSuccess;
}

inline cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t = nullptr) {
  std::memset(memory, value, bytes);
  return cudaSuccess;
}

enum cudaMemcpyKind { cudaMemcpyDeviceToDevice = 3, cudaMemcpyDefault = 4 };

inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t = nullptr) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
