// Occupancy by the toolkit's own rules, cuda_occupancy.h: for each line "ARCHITECTURE REGISTERS SHARED DYNAMIC
// THREADS", bytes of static and of dynamic shared memory and threads of a block, the share of a multiprocessor's
// threads that run.
#include <cuda_occupancy.h>

#include <cstdio>

namespace {

// CUDA C++ Programming Guide, "Technical Specifications per Compute Capability".
struct Multiprocessor {
  int architecture, threads, shared_kib, block_kib, reserved;
};
constexpr Multiprocessor KNOWN[] = {
    {75, 1024, 64, 64, 0},      {80, 2048, 164, 163, 1024},  {86, 1536, 100, 99, 1024},  {89, 1536, 100, 99, 1024},
    {90, 2048, 228, 227, 1024}, {100, 2048, 228, 227, 1024}, {120, 1536, 100, 99, 1024},
};

cudaOccDeviceProp device_of(const Multiprocessor& own) {
  cudaOccDeviceProp device;
  device.computeMajor = own.architecture / 10;
  device.computeMinor = own.architecture % 10;
  device.maxThreadsPerBlock = 1024;
  device.maxThreadsPerMultiprocessor = own.threads;
  device.regsPerBlock = device.regsPerMultiprocessor = 65536;
  device.warpSize = 32;
  device.sharedMemPerBlock = 48 << 10;
  device.sharedMemPerMultiprocessor = static_cast<size_t>(own.shared_kib) << 10;
  device.sharedMemPerBlockOptin = static_cast<size_t>(own.block_kib) << 10;
  device.reservedSharedMemPerBlock = own.reserved;
  device.numSms = 1;
  return device;
}

}  // namespace

int main() {
  int architecture, registers, threads;
  size_t shared, dynamic;
  while (std::scanf("%d %d %zu %zu %d", &architecture, &registers, &shared, &dynamic, &threads) == 5) {
    const Multiprocessor* own = nullptr;
    for (const Multiprocessor& each : KNOWN) {
      if (each.architecture == architecture) own = &each;
    }
    if (own == nullptr) return std::fprintf(stderr, "sm_%d: unknown architecture\n", architecture), 1;
    const cudaOccDeviceProp device = device_of(*own);
    cudaOccFuncAttributes kernel;
    kernel.maxThreadsPerBlock = 1024;
    kernel.numRegs = registers;
    kernel.sharedSizeBytes = shared;
    kernel.maxDynamicSharedSizeBytes = dynamic;
    kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
    kernel.numBlockBarriers = 1;
    const cudaOccDeviceState state;
    cudaOccResult result;
    const auto error = cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &kernel, &state, threads, dynamic);
    if (error != CUDA_OCC_SUCCESS) return std::fprintf(stderr, "sm_%d: error %d\n", architecture, error), 1;
    std::printf("%.4f\n", static_cast<double>(result.activeBlocksPerMultiprocessor) * threads / own->threads);
  }
}
