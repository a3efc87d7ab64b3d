#include "cuda/q_sample.h"

#include "kernels/launch.cuh"
#include "kernels/q_sample.cuh"

namespace adtool::cuda {

const char* launch_q_sample(Element element, const void* x, void* y, Samples samples, Draws draws, const void* schedule,
                            int64_t rows, void* stream) {
  if (samples.count * samples.elements() == 0) return nullptr;
  with_storage(element, [&](auto storage) {
    using S = decltype(storage);
    const auto blocks = static_cast<unsigned>(samples.count * blocks_per_sample(samples, SHARE<S>));
    const S* const from = static_cast<const S*>(x);
    S* const to = static_cast<S*>(y);
    const auto* const table = static_cast<const Compute<S>*>(schedule);
    if (has_packs<S>(samples, x) && has_packs<S>(samples, y)) {
      ADTOOL_LAUNCH(blocks, NOISE_THREADS, 0, stream, noise_samples<S, FULL_PACK<S>>)(from, to, samples, draws, table,
                                                                                      rows);
    } else {
      ADTOOL_LAUNCH(blocks, NOISE_THREADS, 0, stream, noise_samples<S, 1>)(from, to, samples, draws, table, rows);
    }
  });
  return launched();
}

}  // namespace adtool::cuda
