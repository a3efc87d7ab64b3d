#include "cuda/simam.h"

#include "kernels/launch.cuh"
#include "kernels/simam.cuh"

namespace adtool::cuda {
namespace {

constexpr int64_t WARP_PIXELS = 1024;  // planes up to this size are left to one warp

// Calls `launch<Team, V>(blocks)` with the team, and the elements per access, that suit the planes.
template <class S, class Launch>
const char* with_geometry(Planes planes, bool packs, const Launch& launch) {
  using T = Compute<S>;
  constexpr int V = FULL_PACK<S>, TEAMS = BLOCK / WARP;
  const int64_t count = planes.images * planes.channels;
  if (count == 0 || planes.pixels == 0) return nullptr;
  if (planes.channels_last) {
    launch.template operator()<ColumnTeam<T>, 1>(planes.images * ColumnTeam<T>::blocks(planes));
  } else if (planes.pixels <= WARP_PIXELS) {
    const int64_t blocks = (count + TEAMS - 1) / TEAMS;
    packs ? launch.template operator()<RowTeam<T, WARP>, V>(blocks)
          : launch.template operator()<RowTeam<T, WARP>, 1>(blocks);
  } else {
    packs ? launch.template operator()<RowTeam<T, BLOCK>, V>(count)
          : launch.template operator()<RowTeam<T, BLOCK>, 1>(count);
  }
  return launched();
}

}  // namespace

const char* launch_simam_forward(Element element, const void* x, void* y, Planes planes, double lambda, void* stream) {
  const char* error = nullptr;
  with_storage(element, [&](auto storage) {
    using S = decltype(storage);
    const bool packs = fits_packs<S>(x, planes.pixels) && fits_packs<S>(y, planes.pixels);
    error = with_geometry<S>(planes, packs, [&]<class Team, int V>(int64_t blocks) {
      ADTOOL_LAUNCH(static_cast<unsigned>(blocks), BLOCK, 0, stream, simam_forward<S, V, Team>)(
          static_cast<const S*>(x), static_cast<S*>(y), planes, static_cast<Compute<S>>(lambda));
    });
  });
  return error;
}

const char* launch_simam_backward(Element element, const void* grad, const void* x, void* dx, Planes planes,
                                  double lambda, void* stream) {
  const char* error = nullptr;
  with_storage(element, [&](auto storage) {
    using S = decltype(storage);
    const bool packs =
        fits_packs<S>(grad, planes.pixels) && fits_packs<S>(x, planes.pixels) && fits_packs<S>(dx, planes.pixels);
    error = with_geometry<S>(planes, packs, [&]<class Team, int V>(int64_t blocks) {
      ADTOOL_LAUNCH(static_cast<unsigned>(blocks), BLOCK, 0, stream, simam_backward<S, V, Team>)(
          static_cast<const S*>(grad), static_cast<const S*>(x), static_cast<S*>(dx), planes,
          static_cast<Compute<S>>(lambda));
    });
  });
  return error;
}

}  // namespace adtool::cuda
