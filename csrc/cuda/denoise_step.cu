#include "cuda/denoise_step.h"

#include <initializer_list>

#include "kernels/denoise_step.cuh"
#include "kernels/launch.cuh"

namespace adtool::cuda {

const char* launch_denoise_step(Element element, const void* x, const void* eps, void* y, Samples samples, Draws draws,
                                const void* schedule, int64_t rows, double clip, void* stream) {
  if (samples.count * samples.elements() == 0) return nullptr;
  with_storage(element, [&](auto storage) {
    using S = decltype(storage);
    using T = Compute<S>;
    const auto blocks = static_cast<unsigned>(samples.count * blocks_per_sample(samples, SHARE<S>));
    const S *const from = static_cast<const S*>(x), *const predicted = static_cast<const S*>(eps);
    S* const to = static_cast<S*>(y);
    const T* const table = static_cast<const T*>(schedule);
    const T bound = static_cast<T>(clip);
    if (has_packs<S>(samples, x) && has_packs<S>(samples, eps) && has_packs<S>(samples, y)) {
      ADTOOL_LAUNCH(blocks, NOISE_THREADS, 0, stream, denoise_samples<S, FULL_PACK<S>>)(from, predicted, to, samples,
                                                                                        draws, table, rows, bound);
    } else {
      ADTOOL_LAUNCH(blocks, NOISE_THREADS, 0, stream, denoise_samples<S, 1>)(from, predicted, to, samples, draws, table,
                                                                             rows, bound);
    }
  });
  return launched();
}

const char* launch_denoise_step_backward(Element element, const void* grad, const void* x, const void* eps,
                                         void* x_grad, void* eps_grad, Samples samples, const int64_t* steps,
                                         const void* schedule, int64_t rows, double clip, void* stream) {
  if (samples.count * samples.elements() == 0) return nullptr;
  with_storage(element, [&](auto storage) {
    using S = decltype(storage);
    using T = Compute<S>;
    const auto blocks = static_cast<unsigned>(samples.count * blocks_per_sample(samples, SHARE<S>));
    const auto launch = [&]<int V>() {
      ADTOOL_LAUNCH(blocks, NOISE_THREADS, 0, stream, denoise_samples_backward<S, V>)(
          static_cast<const S*>(grad), static_cast<const S*>(x), static_cast<const S*>(eps), static_cast<S*>(x_grad),
          static_cast<S*>(eps_grad), samples, steps, static_cast<const T*>(schedule), rows, static_cast<T>(clip));
    };
    bool packs = true;
    for (const void* each : {grad, x, eps, static_cast<const void*>(x_grad), static_cast<const void*>(eps_grad)}) {
      packs = packs && has_packs<S>(samples, each);
    }
    packs ? launch.template operator()<FULL_PACK<S>>() : launch.template operator()<1>();
  });
  return launched();
}

}  // namespace adtool::cuda
