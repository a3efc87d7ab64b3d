// Bilinear resizing of every scale's distance map and their reduction on the GPU; formulas in adtool/ops/cosine_map.py.
// A block has a tile of the map, a thread one of its pixels.
#pragma once

#include "cuda/cosine_map.h"
#include "kernels/launch.cuh"

namespace adtool::cuda {

constexpr int MAP_THREADS = 256;
constexpr uint32_t TILE_WIDTH = 32, TILE_HEIGHT = MAP_THREADS / TILE_WIDTH;

__host__ __device__ inline uint32_t tiles_across(const MapTarget& target) {
  return (target.width + TILE_WIDTH - 1) / TILE_WIDTH;
}
__host__ __device__ inline uint32_t map_tiles(const MapTarget& target) {
  return (target.height + TILE_HEIGHT - 1) / TILE_HEIGHT * tiles_across(target);
}

// Between which two elements of an axis of `in` output index `i` falls, when it is stretched over `out` of them end on
// end (align_corners), and the weight of the second: i (in - 1) / (out - 1), by whole numbers.
template <class T>
struct Between {
  uint32_t lower, upper;
  T weight;

  __device__ Between(uint32_t i, uint32_t in, uint32_t out) {
    const uint32_t last = out > 1 ? out - 1 : 1, place = i * (in - 1);
    lower = place / last;
    upper = lower + (lower + 1 < in);
    weight = static_cast<T>(place % last) / static_cast<T>(last);
  }
  __device__ T blend(T a, T b) const { return (T(1) - weight) * a + weight * b; }
};

template <class T>
__global__ void __launch_bounds__(MAP_THREADS) cosine_map(DistanceMaps maps, MapTarget target, int64_t done) {
  const uint32_t tiles = map_tiles(target), image = blockIdx.x / tiles, tile = blockIdx.x % tiles;
  const uint32_t x = tile % tiles_across(target) * TILE_WIDTH + threadIdx.x % TILE_WIDTH;
  const uint32_t y = tile / tiles_across(target) * TILE_HEIGHT + threadIdx.x / TILE_WIDTH;
  if (x >= target.width || y >= target.height) return;
  T* const out = static_cast<T*>(target.out) + (static_cast<int64_t>(image) * target.height + y) * target.width + x;
  const bool product = target.reduction == Reduction::mul;
  T total = done > 0 ? *out : T(product ? 1 : 0);
  for (int i = 0; i < maps.count; ++i) {
    const uint32_t height = maps.height[i], width = maps.width[i];
    const Between<T> row(y, height, target.height), column(x, width, target.width);
    const T* const from = static_cast<const T*>(maps.distances[i]) + static_cast<int64_t>(image) * height * width;
    const T* const above = from + static_cast<int64_t>(row.lower) * width;
    const T* const below = from + static_cast<int64_t>(row.upper) * width;
    const T left = row.blend(above[column.lower], below[column.lower]);
    const T right = row.blend(above[column.upper], below[column.upper]);
    const T here = column.blend(left, right);
    total = product ? total * here : total + here;
  }
  const bool complete = done + maps.count == target.scales;
  *out = complete && target.reduction == Reduction::mean ? total / T(target.scales) : total;
}

}  // namespace adtool::cuda
