// Cosine distance on the GPU; formulas in adtool/ops/cosine_distance.py. A block has a few pixels, as many as fill
// cache lines of 128 bytes, and its threads share their channels. Sums have twice the precision of float32, since 1 -
// cos of nearly equal vectors is what cancelling leaves; one thread for each pixel makes the result of them, in
// float64.
#pragma once

#include "kernels/launch.cuh"
#include "kernels/storage.cuh"
#include "kernels/two_floats.cuh"
#include "kernels/warp.cuh"
#include "planes.h"

namespace adtool::cuda {

constexpr int DISTANCE_THREADS = 256;
constexpr int DISTANCE_BLOCKS =
    2;                   // on a multiprocessor at least: 128 registers a thread, which leaves nothing to spill
constexpr int LINE = 8;  // packs of 16 bytes

template <class S>
struct sum_type {
  using type = TwoFloats;
};
template <>
struct sum_type<double> {
  using type = double;
};
template <class S>
using Sum = typename sum_type<S>::type;

// sum += a b
template <class S>
__device__ void add_product(TwoFloats& sum, float a, float b) {
  const float product = __fmul_rn(a, b);
  const TwoFloats next = exact_sum(sum.high, product);
  float rest = next.low;
  if constexpr (sizeof(S) == sizeof(float)) rest = __fadd_rn(rest, __fmaf_rn(a, b, -product));  // 16 bits leave none
  sum = {next.high, __fadd_rn(sum.low, rest)};
}
template <class S>
__device__ void add_product(double& sum, double a, double b) {
  sum += a * b;
}

__device__ inline double from_lane(double value, int step) {
  return __shfl_xor_sync(ALL, value, step);
}
__device__ inline TwoFloats from_lane(TwoFloats value, int step) {
  return {__shfl_xor_sync(ALL, value.high, step), __shfl_xor_sync(ALL, value.low, step)};
}

template <class Number>
struct Sums {  // over the channels of one pixel
  Number tt, ss, ts;

  template <class S, class T>
  __device__ void add(T t, T s) {
    add_product<S>(tt, t, t);
    add_product<S>(ss, s, s);
    add_product<S>(ts, t, s);
  }
  __device__ void add(const Sums& other) {
    tt = tt + other.tt;
    ss = ss + other.ss;
    ts = ts + other.ts;
  }
  // The sum of the lanes whose numbers differ in the bits from `first` up to, not including, `end`: in each of them.
  __device__ void add_lanes(int first, int end) {
    for (int step = first; step < end; step *= 2) add({from_lane(tt, step), from_lane(ss, step), from_lane(ts, step)});
  }
};

__device__ inline double distance(Sums<double> sum) {
  const double square = sum.tt * sum.ss;
  if (square == 0) return 1;
  const double d = 1 - sum.ts / sqrt(square);
  return d < 0 ? 0 : d;
}

template <class Number>
struct Gradient {  // d/dt = cross s + own_t t, and the same with t and s exchanged
  Number cross, own_t, own_s;
};

__device__ inline Gradient<double> gradient(Sums<double> sum, double grad) {
  const double square = sum.tt * sum.ss;
  if (square == 0) return {0, 0, 0};
  const double inverse = 1 / sqrt(square), scaled = grad * sum.ts * inverse;
  return {-grad * inverse, scaled / sum.tt, scaled / sum.ss};
}

__device__ inline double combined(double a, double x, double b, double y) {
  return a * x + b * y;
}

// Whether float32 holds everything on the way from these sums to the results, and all of its rest.
__device__ inline bool moderate(Sums<double> sum) {
  return sum.tt > 0x1p-60 && sum.tt < 0x1p60 && sum.ss > 0x1p-60 && sum.ss < 0x1p60;
}
__device__ inline bool moderate(double grad) {
  return grad == 0 || (fabs(grad) > 0x1p-40 && fabs(grad) < 0x1p40);
}

// What a thread has of its block's pixels. ACROSS: channels lie apart, packs hold V pixels side by side, and threads
// share the channels; else packs hold V channels of one pixel.
template <class S, int V, bool ACROSS>
struct Share {
  static constexpr int LANES = ACROSS && V == 1 ? WARP : LINE;  // threads with packs side by side
  static constexpr int SLICES = DISTANCE_THREADS / LANES;
  static constexpr int HELD = ACROSS ? V : 1;                         // pixels of a thread
  static constexpr int PIXELS = ACROSS ? LANES * V : SLICES;          // of the block
  static constexpr int PARTS = ACROSS ? DISTANCE_THREADS / WARP : 1;  // sums of a pixel, after those of the warps
  const int lane = threadIdx.x % LANES, slice = threadIdx.x / LANES;
  const int pixel = ACROSS ? lane * V : slice;  // the thread's first, of the block's
  int64_t first, step, count;                   // of its packs: the first's place, how far apart, how many

  __device__ explicit Share(Planes planes) {
    const int64_t id = first_of_block() + pixel, image = id / planes.pixels;
    const int64_t packs = ACROSS ? planes.channels : planes.channels / V;
    const int start = ACROSS ? slice : lane, stride = ACROSS ? SLICES : LANES;
    first = ACROSS ? (image * planes.channels + start) * planes.pixels + id % planes.pixels
                   : id * planes.channels + start * V;
    step = ACROSS ? stride * planes.pixels : stride * V;
    count = image < planes.images && start < packs ? (packs - start + stride - 1) / stride : 0;
  }

  __device__ static int64_t first_of_block() { return static_cast<int64_t>(blockIdx.x) * PIXELS; }

  // Calls visit(place, teacher's pack, student's pack).
  template <class Visit>
  __device__ void for_packs(const S* teacher, const S* student, const Visit& visit) const {
    int64_t at = first;
#pragma unroll 2
    for (int64_t i = 0; i < count; ++i, at += step) {
      const auto t = *reinterpret_cast<const Pack<S, V>*>(teacher + at);
      const auto s = *reinterpret_cast<const Pack<S, V>*>(student + at);
      visit(at, t, s);
    }
  }

  // Calls visit(place) for every element of the thread's i-th pixel.
  template <class Visit>
  __device__ void for_elements(int i, const Visit& visit) const {
    int64_t at = first;
    for (int64_t pack = 0; pack < count; ++pack, at += step) {
      for (int v = ACROSS ? i : 0; v < (ACROSS ? i + 1 : V); ++v) visit(at + v);
    }
  }
};

// A warp's sums of one pixel, in each of its threads.
template <class S>
__device__ Sums<double> sums_in_double(const S* teacher, const S* student, Planes planes, int64_t pixel) {
  const int64_t step = planes.channels_last ? 1 : planes.pixels;
  const int64_t first = planes.channels_last
                            ? pixel * planes.channels
                            : pixel / planes.pixels * planes.channels * planes.pixels + pixel % planes.pixels;
  Sums<double> sum = {};
  for (int64_t c = threadIdx.x % WARP; c < planes.channels; c += WARP) {
    sum.template add<S>(double{widen(teacher[first + c * step])}, double{widen(student[first + c * step])});
  }
  sum.add_lanes(1, WARP);
  return sum;
}

// Whether the block has a pixel for this thread to make the result of.
template <class Own>
__device__ bool has_pixel(Planes planes) {
  return threadIdx.x < Own::PIXELS && Own::first_of_block() + threadIdx.x < planes.images * planes.pixels;
}

// The sums of the pixel of this thread; every thread of the block must get here.
template <class S, int V, bool ACROSS>
__device__ Sums<double> sums_of_pixel(const Share<S, V, ACROSS>& share, const S* teacher, const S* student,
                                      Planes planes) {
  using Own = Share<S, V, ACROSS>;
  ADTOOL_SHARED(parts, Sums<Sum<S>>[Own::PARTS][Own::PIXELS]);
  Sums<Sum<S>> sum[Own::HELD] = {};
  share.for_packs(teacher, student, [&](int64_t, const Pack<S, V>& t, const Pack<S, V>& s) {
    for (int v = 0; v < V; ++v) sum[ACROSS ? v : 0].template add<S>(widen(t.element[v]), widen(s.element[v]));
  });
  for (int i = 0; i < Own::HELD; ++i) {
    sum[i].add_lanes(ACROSS ? Own::LANES : 1, ACROSS ? WARP : Own::LANES);
    const int lane = threadIdx.x % WARP;
    if (ACROSS ? lane < Own::LANES : share.lane == 0) parts[ACROSS ? threadIdx.x / WARP : 0][share.pixel + i] = sum[i];
  }
  __syncthreads();

  const bool mine = has_pixel<Own>(planes);
  Sums<double> result = {};
  if (mine) {
    Sums<Sum<S>> total = parts[0][threadIdx.x];
    for (int i = 1; i < Own::PARTS; ++i) total.add(parts[i][threadIdx.x]);
    result = {double(total.tt), double(total.ss), double(total.ts)};
  }
  if constexpr (sizeof(S) < sizeof(double)) {  // too long or too short vectors, or zero: again, all by itself
    const int64_t first = Own::first_of_block() + threadIdx.x / WARP * WARP;
    for (unsigned left = __ballot_sync(ALL, mine && !moderate(result)); left != 0; left &= left - 1) {
      const int lane = __ffs(static_cast<int>(left)) - 1;
      const Sums<double> again = sums_in_double(teacher, student, planes, first + lane);
      if (threadIdx.x % WARP == lane) result = again;
    }
  }
  return result;
}

template <class S, int V, bool ACROSS, class Exact>
__global__ void __launch_bounds__(DISTANCE_THREADS, DISTANCE_BLOCKS)
    cosine_distance_forward(const S* teacher, const S* student, Compute<S>* out, Planes planes) {
  using Own = Share<S, V, ACROSS>;
  const Own share(planes);
  const Sums<Exact> sum = sums_of_pixel(share, teacher, student, planes);
  if (has_pixel<Own>(planes)) out[Own::first_of_block() + threadIdx.x] = static_cast<Compute<S>>(distance(sum));
}

// A pixel's gradient, for all threads of the block.
template <class Number>
struct PixelGradient {
  Gradient<double> whole;
  Gradient<Number> parts;
  int moderate;  // else the parts do not hold it
};

__device__ inline PixelGradient<double> pixel_gradient(Sums<double> sum, double grad) {
  const Gradient<double> whole = gradient(sum, grad);
  return {whole, whole, 1};
}
__device__ inline PixelGradient<TwoFloats> pixel_gradient(Sums<double> sum, float grad) {
  const Gradient<double> whole = gradient(sum, grad);
  const Gradient<TwoFloats> parts = {two_floats(whole.cross), two_floats(whole.own_t), two_floats(whole.own_s)};
  return {whole, parts, moderate(sum) && moderate(double{grad})};
}

// Gradients of nullptr are those that nobody asked for.
template <class S, int V, bool ACROSS, class Exact>
__global__ void __launch_bounds__(DISTANCE_THREADS, DISTANCE_BLOCKS)
    cosine_distance_backward(const Compute<S>* grad, const S* teacher, const S* student, S* teacher_grad,
                             S* student_grad, Planes planes) {
  using Own = Share<S, V, ACROSS>;
  ADTOOL_SHARED(gradients, PixelGradient<Sum<S>>[Own::PIXELS]);
  const Own share(planes);
  const Sums<Exact> sum = sums_of_pixel(share, teacher, student, planes);
  if (has_pixel<Own>(planes)) {
    gradients[threadIdx.x] = pixel_gradient(sum, grad[Own::first_of_block() + threadIdx.x]);
  }
  __syncthreads();

  Gradient<Sum<S>> own[Own::HELD];
  for (int i = 0; i < Own::HELD; ++i) own[i] = gradients[share.pixel + i].parts;
  share.for_packs(teacher, student, [&](int64_t at, const Pack<S, V>& t, const Pack<S, V>& s) {
    Pack<S, V> dt, ds;
    for (int v = 0; v < V; ++v) {
      const Gradient<Sum<S>>& g = own[ACROSS ? v : 0];
      narrow(combined(g.own_t, widen(t.element[v]), g.cross, widen(s.element[v])), dt.element[v]);
      narrow(combined(g.own_s, widen(s.element[v]), g.cross, widen(t.element[v])), ds.element[v]);
    }
    if (teacher_grad != nullptr) *reinterpret_cast<Pack<S, V>*>(teacher_grad + at) = dt;
    if (student_grad != nullptr) *reinterpret_cast<Pack<S, V>*>(student_grad + at) = ds;
  });
  if constexpr (sizeof(S) < sizeof(double)) {  // what the parts do not hold: again
    for (int i = 0; i < Own::HELD; ++i) {
      const PixelGradient<Sum<S>>& pixel = gradients[share.pixel + i];
      if (pixel.moderate) continue;
      share.for_elements(i, [&](int64_t at) {
        const double t = widen(teacher[at]), s = widen(student[at]);
        const Gradient<double>& g = pixel.whole;
        if (teacher_grad != nullptr) narrow(static_cast<float>(combined(g.own_t, t, g.cross, s)), teacher_grad[at]);
        if (student_grad != nullptr) narrow(static_cast<float>(combined(g.own_s, s, g.cross, t)), student_grad[at]);
      });
    }
  }
}

}  // namespace adtool::cuda
