// Noise of every sample, written as it is drawn.
#pragma once

#include "kernels/noise.cuh"

namespace adtool::cuda {

template <class S, int V>
__global__ void __launch_bounds__(NOISE_THREADS) fill_with_noise(S* out, Samples samples, Draws draws) {
  const Share<S> share(samples);
  if (share.count == 0) return;
  Compute<S> z[SHARE<S>];
  draw_share(share.stream(draws), share, z);
  write_share<S, V>(out, samples, share, z);
}

}  // namespace adtool::cuda
