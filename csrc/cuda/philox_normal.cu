#include "cuda/philox_normal.h"

#include "kernels/launch.cuh"
#include "kernels/philox_normal.cuh"

namespace adtool::cuda {

const char* launch_philox_normal(Element element, void* out, Samples samples, Draws draws, void* stream) {
  if (samples.count * samples.elements() == 0) return nullptr;
  with_storage(element, [&](auto storage) {
    using S = decltype(storage);
    const auto blocks = static_cast<unsigned>(samples.count * blocks_per_sample(samples, SHARE<S>));
    S* const to = static_cast<S*>(out);
    if (has_packs<S>(samples, out)) {
      ADTOOL_LAUNCH(blocks, NOISE_THREADS, 0, stream, fill_with_noise<S, FULL_PACK<S>>)(to, samples, draws);
    } else {
      ADTOOL_LAUNCH(blocks, NOISE_THREADS, 0, stream, fill_with_noise<S, 1>)(to, samples, draws);
    }
  });
  return launched();
}

}  // namespace adtool::cuda
