// What a warp remembers of the nearest rows: a list of candidates by scores in float32, and one by exact distances that
// settles it.
#pragma once

#include "kernels/team.cuh"
#include "nearest.h"

namespace adtool::cuda {

__device__ inline float infinity() {
  return __uint_as_float(0x7f800000u);
}

// The `keep` smallest scores so far, ascending, and whose they are; `keep` is a multiple of WARP, and element i in the
// hands of thread i % WARP alone. Two scores are in doubt when they differ by no more than `slack`. Every thread of the
// warp calls each of these.
struct CandidatesOfWarp {
  float* scores;
  int32_t* rows;
  int64_t k, keep;
  float slack;

  __device__ void clear() const {
    for (int64_t i = threadIdx.x % WARP; i < keep; i += WARP) {
      scores[i] = infinity();
      rows[i] = 0;
    }
  }

  // What a score must be below to be among the k nearest.
  __device__ float limit() const {
    const int lane = threadIdx.x % WARP;
    const int64_t kth = k - 1;
    const float near = __shfl_sync(ALL, scores[kth / WARP * WARP + lane], static_cast<int>(kth % WARP)) + slack;
    const float last = __shfl_sync(ALL, scores[keep - WARP + lane], WARP - 1);
    return near < last ? near : last;
  }

  // Takes each thread's score if it is below `limit`, which falls with it; whether any was.
  __device__ bool offer(float score, int32_t row, float& limit) const {
    const unsigned below = __ballot_sync(ALL, score < limit);
    for (unsigned left = below; left != 0; left &= left - 1) {
      const int from = __ffs(static_cast<int>(left)) - 1;
      const float here = __shfl_sync(ALL, score, from);
      const int32_t here_row = __shfl_sync(ALL, row, from);
      if (!(here < limit)) continue;  // it has fallen since
      insert(here, here_row);
      limit = this->limit();
    }
    return below != 0;
  }

 private:
  // Puts a score in its place, behind equal ones, and drops the last; threads move their own elements.
  __device__ void insert(float score, int32_t row) const {
    const int lane = threadIdx.x % WARP;
    for (int64_t place = keep - WARP; place >= 0; place -= WARP) {
      const float old = scores[place + lane], before = place > 0 ? scores[place - WARP + lane] : -infinity();
      const int32_t old_row = rows[place + lane], before_row = place > 0 ? rows[place - WARP + lane] : 0;
      const float last_before = __shfl_sync(ALL, before, WARP - 1);
      const int32_t last_row = __shfl_sync(ALL, before_row, WARP - 1);
      float moved = __shfl_up_sync(ALL, old, 1);
      int32_t moved_row = __shfl_up_sync(ALL, old_row, 1);
      moved = lane == 0 ? last_before : moved;
      moved_row = lane == 0 ? last_row : moved_row;
      if (!(old <= score)) {
        scores[place + lane] = moved <= score ? score : moved;
        rows[place + lane] = moved <= score ? row : moved_row;
      }
      if (last_before <= score) return;
    }
  }
};

// Kept by the warp's first thread.
struct NearestOfWarp : Nearest {
  __device__ void add(double distance, int64_t row) {
    if (threadIdx.x % WARP == 0) Nearest::add(distance, row);
  }
};

}  // namespace adtool::cuda
