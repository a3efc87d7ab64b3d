#include "cuda/gaussian_blur.h"

#include "kernels/gaussian_blur.cuh"
#include "kernels/launch.cuh"

namespace adtool::cuda {
namespace {

template <class In, class Out, int V>
void launch_pass(const In* x, Out* y, const Compute<In>* taps, BlurPass pass, void* stream) {
  using Tile = BlurTile<In, Out, V>;
  const int64_t blocks = pass.planes * Tile::across(pass) * Tile::along(pass);
  ADTOOL_LAUNCH(static_cast<unsigned>(blocks), BLUR_THREADS, 0, stream, blur_and_turn<In, Out, V>)(x, y, taps, pass);
}

}  // namespace

const char* launch_blur_taps(Element element, void* taps, double sigma, int radius, void* stream) {
  if (element == Element::float64) {
    ADTOOL_LAUNCH(1, WARP, 0, stream, blur_taps<double, double>)(static_cast<double*>(taps), sigma, radius);
  } else {
    ADTOOL_LAUNCH(1, WARP, 0, stream, blur_taps<float, double>)(static_cast<float*>(taps), sigma, radius);
  }
  return launched();
}

const char* launch_blur(Element element, const void* maps, void* between, void* out, const void* taps, BlurPass rows,
                        void* stream) {
  const BlurPass columns = {rows.planes, rows.width, rows.length, rows.radius};
  with_storage(element, [&](auto storage) {
    using S = decltype(storage);
    using T = Compute<S>;
    const auto* const x = static_cast<const S*>(maps);
    auto* const turned = static_cast<T*>(between);
    auto* const y = static_cast<S*>(out);
    const auto* const weights = static_cast<const T*>(taps);
    if (fits_packs<S>(x, rows.width) && fits_packs<S>(y, rows.width) && fits_packs<T>(turned, rows.length)) {
      launch_pass<S, T, FULL_PACK<S>>(x, turned, weights, rows, stream);
      launch_pass<T, S, FULL_PACK<T>>(turned, y, weights, columns, stream);
    } else {
      launch_pass<S, T, 1>(x, turned, weights, rows, stream);
      launch_pass<T, S, 1>(turned, y, weights, columns, stream);
    }
  });
  return launched();
}

}  // namespace adtool::cuda
