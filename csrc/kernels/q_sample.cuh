// Forward noising on the GPU; formula and names in adtool/ops/q_sample.py.
#pragma once

#include "kernels/noise.cuh"

namespace adtool::cuda {

template <class S, int V>
__global__ void __launch_bounds__(NOISE_THREADS)
    noise_samples(const S* x, S* y, Samples samples, Draws draws, const Compute<S>* schedule, int64_t rows) {
  using T = Compute<S>;
  const Share<S> share(samples);
  if (share.count == 0) return;
  const int64_t t = draws.t[share.sample];
  T value[SHARE<S>], z[SHARE<S>] = {};
  read_share<S, V>(x, samples, share, value);
  const bool known = t >= 0 && t < rows;
  const T signal = known ? schedule[2 * t] : not_a_number<T>(), sigma = known ? schedule[2 * t + 1] : T(0);
  if (sigma != 0) draw_share(share.stream(draws), share, z);
#pragma unroll
  for (int i = 0; i < SHARE<S>; ++i) value[i] = weigh(signal, value[i], sigma, z[i]);
  write_share<S, V>(y, samples, share, value);
}

}  // namespace adtool::cuda
