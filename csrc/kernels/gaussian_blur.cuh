// Gaussian blur on the GPU; formula in adtool/ops/gaussian_blur.py. A pass filters along the rows' axis and writes the
// result turned, so that two passes filter both axes and turn it back. A thread has a pack of columns and as many rows
// as a pack of the result holds, and goes once over what they are made of.
#pragma once

#include "cuda/gaussian_blur.h"
#include "kernels/launch.cuh"
#include "kernels/storage.cuh"
#include "kernels/warp.cuh"

namespace adtool::cuda {

constexpr int BLUR_THREADS = 128;
constexpr int LINE = 128;  // bytes that memory is read in

// What a block filters: ACROSS threads read side by side, a line if they can.
template <class In, class Out, int V>
struct BlurTile {
  static constexpr int PACKS = LINE / static_cast<int>(sizeof(In)) / V;
  static constexpr int ACROSS = PACKS < WARP ? PACKS : WARP;
  static constexpr int ROWS = FULL_PACK<Out>;  // of a thread
  static constexpr int COLUMNS = ACROSS * V, LENGTH = BLUR_THREADS / ACROSS * ROWS;

  __host__ __device__ static unsigned across(const BlurPass& pass) { return tiles(pass.width, COLUMNS); }
  __host__ __device__ static unsigned along(const BlurPass& pass) { return tiles(pass.length, LENGTH); }

 private:
  __host__ __device__ static unsigned tiles(int extent, int of) {
    return static_cast<unsigned>((extent + of - 1) / of);
  }
};

// A row that goes forth and back between the first and the last, standing still once where it turns.
struct MirroredRow {
  int row, step;

  __device__ MirroredRow(int position, int length) {
    const int period = 2 * length, folded = (position % period + period) % period;
    row = folded < length ? folded : period - 1 - folded;
    step = folded < length ? 1 : -1;
  }
  __device__ void advance(int length) {
    const int to = row + step;
    if (to >= 0 && to < length) {
      row = to;
    } else {
      step = -step;
    }
  }
};

// One warp makes w_0 ... w_radius.
template <class T, class Exact>
__global__ void __launch_bounds__(WARP) blur_taps(T* taps, Exact sigma, int radius) {
  const auto half = [=](int k) { return k == 0 ? Exact(1) : exp(Exact(-0.5) * (k / sigma) * (k / sigma)); };
  Exact sum = 0;
  for (int k = threadIdx.x; k <= radius; k += WARP) sum += half(k);
  for (int step = WARP / 2; step > 0; step /= 2) sum += __shfl_xor_sync(ALL, sum, step);
  for (int k = threadIdx.x; k <= radius; k += WARP) taps[k] = static_cast<T>(half(k) / (2 * sum - 1));
}

// x (planes, length, width) -> y (planes, width, length); V columns are read, and the rows of a thread written, at
// once.
template <class In, class Out, int V>
__global__ void __launch_bounds__(BLUR_THREADS)
    blur_and_turn(const In* x, Out* y, const Compute<In>* taps, BlurPass pass) {
  using T = Compute<In>;
  using Tile = BlurTile<In, Out, V>;
  constexpr int R = Tile::ROWS, W = V == 1 ? 1 : R;
  const unsigned across = Tile::across(pass), along = Tile::along(pass);
  const int64_t plane = blockIdx.x / across / along;
  const int column = static_cast<int>(blockIdx.x % across) * Tile::COLUMNS + threadIdx.x % Tile::ACROSS * V;
  const int first = static_cast<int>(blockIdx.x / across % along) * Tile::LENGTH + threadIdx.x / Tile::ACROSS * R;
  if (column >= pass.width || first >= pass.length) return;

  const In* const from = x + plane * pass.length * pass.width + column;
  MirroredRow mirrored(first - pass.radius, pass.length);
  T sum[R][V] = {}, weight[R] = {};
#pragma unroll(R)
  for (int k = -pass.radius; k < pass.radius + R; ++k) {
    const auto pack = *reinterpret_cast<const Pack<In, V>*>(from + static_cast<int64_t>(mirrored.row) * pass.width);
    mirrored.advance(pass.length);
    for (int i = R - 1; i > 0; --i) weight[i] = weight[i - 1];
    if (k <= pass.radius) weight[0] = taps[k < 0 ? -k : k];
    for (int i = 0; i < R; ++i) {
      if (k - i < -pass.radius || k - i > pass.radius) continue;  // a weight of zero would spread what is not finite
      for (int v = 0; v < V; ++v) sum[i][v] += weight[i] * widen(pack.element[v]);
    }
  }
  for (int v = 0; v < V; ++v) {
    Out* const to = y + (plane * pass.width + column + v) * pass.length + first;
    for (int i = 0; i < R && first + i < pass.length; i += W) {
      Pack<Out, W> out;
      for (int w = 0; w < W; ++w) narrow(sum[i + w][v], out.element[w]);
      *reinterpret_cast<Pack<Out, W>*>(to + i) = out;
    }
  }
}

}  // namespace adtool::cuda
