#include "cuda/group_norm.h"

#include "kernels/group_norm.cuh"
#include "kernels/launch.cuh"

namespace adtool::cuda {

const char* launch_group_norm(Element element, const void* x, void* y, Groups groups, const NormArguments& arguments,
                              void* stream) {
  const auto blocks = static_cast<unsigned>(groups.planes.images * groups.count);
  const bool innermost = groups.planes.channels_last;
  if (blocks == 0) return nullptr;
  with_storage(element, [&](auto storage) {
    using S = decltype(storage);
    using T = Compute<S>;
    const Modulation<T> modulation = {static_cast<const T*>(arguments.weight), static_cast<const T*>(arguments.bias),
                                      static_cast<const T*>(arguments.modulation)};
    const auto launch = [&]<int V, bool INNERMOST>() {
      ADTOOL_LAUNCH(blocks, GROUP_THREADS, 0, stream, group_norm<S, V, INNERMOST>)(
          static_cast<const S*>(x), static_cast<S*>(y), groups, modulation, static_cast<T>(arguments.eps),
          arguments.silu);
    };
    const int64_t run = innermost ? groups.channels() : groups.planes.pixels;
    constexpr int V = FULL_PACK<S>;
    if (fits_packs<S>(x, run) && fits_packs<S>(y, run)) {
      innermost ? launch.template operator()<V, true>() : launch.template operator()<V, false>();
    } else {
      innermost ? launch.template operator()<1, true>() : launch.template operator()<1, false>();
    }
  });
  return launched();
}

}  // namespace adtool::cuda
