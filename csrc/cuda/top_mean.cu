#include "cuda/top_mean.h"

#include "kernels/launch.cuh"
#include "kernels/top_mean.cuh"

namespace adtool::cuda {

const char* launch_top_mean_forward(Element element, const void* maps, void* mean, TopOfMaps top, void* stream) {
  if (top.images == 0) return nullptr;
  const auto blocks = static_cast<unsigned>(top.images);
  with_storage(element, [&](auto storage) {
    using S = decltype(storage);
    const auto launch = [&]<int V>() {
      ADTOOL_LAUNCH(blocks, TOP_THREADS, 0, stream, top_mean_forward<S, V, double>)(
          static_cast<const S*>(maps), static_cast<Compute<S>*>(mean), top.pixels, top.n);
    };
    fits_packs<S>(maps, top.pixels) ? launch.template operator()<FULL_PACK<S>>() : launch.template operator()<1>();
  });
  return launched();
}

const char* launch_top_mean_backward(Element element, const void* grad, const void* maps, void* gradient, TopOfMaps top,
                                     void* stream) {
  if (top.images == 0) return nullptr;
  const auto blocks = static_cast<unsigned>(top.images);
  with_storage(element, [&](auto storage) {
    using S = decltype(storage);
    const auto launch = [&]<int V>() {
      ADTOOL_LAUNCH(blocks, TOP_THREADS, 0, stream, top_mean_backward<S, V>)(
          static_cast<const Compute<S>*>(grad), static_cast<const S*>(maps), static_cast<S*>(gradient), top.pixels,
          top.n);
    };
    const bool packs = fits_packs<S>(maps, top.pixels) && fits_packs<S>(gradient, top.pixels);
    packs ? launch.template operator()<FULL_PACK<S>>() : launch.template operator()<1>();
  });
  return launched();
}

}  // namespace adtool::cuda
