// One reverse-diffusion step on the GPU; formula and names in adtool/ops/denoise_step.py.
#pragma once

#include "kernels/noise.cuh"

namespace adtool::cuda {

template <class S, int V>
__global__ void __launch_bounds__(NOISE_THREADS)
    denoise_samples(const S* x, const S* eps, S* y, Samples samples, Draws draws, const Compute<S>* schedule,
                    int64_t rows, Compute<S> clip) {
  using T = Compute<S>;
  const Share<S> share(samples);
  if (share.count == 0) return;
  const int64_t t = draws.t[share.sample];
  T value[SHARE<S>];
  read_share<S, V>(x, samples, share, value);
  if (t != 0) {
    const bool known = t > 0 && t < rows;
    const T* const row = schedule + (known ? 5 * t : 0);
    const T a = row[0], b = row[1], c = row[2], d = known ? row[3] : not_a_number<T>(), s = row[4];
    T predicted[SHARE<S>], z[SHARE<S>] = {};
    read_share<S, V>(eps, samples, share, predicted);
    if (s != 0) draw_share(share.stream(draws), share, z);
#pragma unroll
    for (int i = 0; i < SHARE<S>; ++i) {
      T x0 = weigh(b, value[i], c, predicted[i]);
      x0 = x0 < -clip ? -clip : x0 > clip ? clip : x0;
      value[i] = add_weighed(weigh(a, x0, d, value[i]), s, z[i]);
    }
  }
  write_share<S, V>(y, samples, share, value);
}

// What reaches x and eps of a gradient; an x0 that was cut off passes nothing on.
template <class S, int V>
__global__ void __launch_bounds__(NOISE_THREADS)
    denoise_samples_backward(const S* grad, const S* x, const S* eps, S* x_grad, S* eps_grad, Samples samples,
                             const int64_t* steps, const Compute<S>* schedule, int64_t rows, Compute<S> clip) {
  using T = Compute<S>;
  const Share<S> share(samples);
  if (share.count == 0) return;
  const int64_t t = steps[share.sample];
  T along_x[SHARE<S>], along_eps[SHARE<S>] = {};
  read_share<S, V>(grad, samples, share, along_x);
  if (t != 0) {
    const bool known = t > 0 && t < rows;
    const T* const row = schedule + (known ? 5 * t : 0);
    const T a = known ? row[0] : not_a_number<T>(), b = row[1], c = row[2], d = row[3];
    T value[SHARE<S>];
    read_share<S, V>(x, samples, share, value);
    read_share<S, V>(eps, samples, share, along_eps);
#pragma unroll
    for (int i = 0; i < SHARE<S>; ++i) {
      const T x0 = weigh(b, value[i], c, along_eps[i]);
      const T through = known && !(x0 >= -clip && x0 <= clip) ? T(0) : a * along_x[i];
      along_x[i] = weigh(through, b, along_x[i], d);
      along_eps[i] = through * c;
    }
  }
  write_share<S, V>(x_grad, samples, share, along_x);
  write_share<S, V>(eps_grad, samples, share, along_eps);
}

}  // namespace adtool::cuda
