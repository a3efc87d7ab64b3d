#include "cuda/philox_normal.h"

#include <cuda_runtime.h>

#include "kernels/philox_normal.cuh"

namespace adtool::cuda {

const char* launch_philox_normal(Element element, void* out, Samples samples, Draws draws, void* stream) {
  if (samples.count * samples.elements() == 0) return nullptr;
  with_storage(element, [&](auto storage) {
    using S = decltype(storage);
    const auto blocks = static_cast<unsigned>(samples.count * blocks_per_sample(samples, SHARE<S>));
    const auto queue = static_cast<cudaStream_t>(stream);
    S* const to = static_cast<S*>(out);
    if (has_packs<S>(samples, out)) {
      fill_with_noise<S, FULL_PACK<S>><<<blocks, NOISE_THREADS, 0, queue>>>(to, samples, draws);
    } else {
      fill_with_noise<S, 1><<<blocks, NOISE_THREADS, 0, queue>>>(to, samples, draws);
    }
  });
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace adtool::cuda
