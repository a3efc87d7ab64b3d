#include "cuda/greedy_coreset.h"

#include "kernels/greedy_coreset.cuh"
#include "kernels/launch.cuh"

namespace adtool::cuda {
namespace {

constexpr int64_t AT_LEAST = 300;  // blocks of a pass, where there are patches for them

template <class S, int V>
void launch(const Cover& cover, int64_t begin, int64_t end, void* stream) {
  using T = Compute<S>;
  const auto blocks = static_cast<unsigned>(pass_blocks(cover.patches.count));
  auto* const farthest = static_cast<Farthest<T>*>(cover.farthest);
  const Farthest<T>* before = nullptr;
  for (int64_t known = begin; known < end; ++known) {
    Farthest<T>* const left = farthest + known % 2 * blocks;
    ADTOOL_LAUNCH(blocks, PASS_THREADS, 0, stream, show_picks<S, V, double>)
    (cover, known, static_cast<int32_t>(end - 1), before, left);
    before = left;
  }
  if (before != nullptr) ADTOOL_LAUNCH(1, PASS_THREADS, 0, stream, pick_last<T>)(cover, end - 1, before, blocks);
}

}  // namespace

int64_t pass_blocks(int64_t patches) {
  int device = 0, processors = 1;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  const int64_t fit = int64_t{PASS_BLOCKS} * processors, needed = (patches + PATCH_TEAMS - 1) / PATCH_TEAMS;
  const int64_t most = fit < AT_LEAST ? AT_LEAST : fit;
  return needed < most ? needed : most;
}

const char* launch_picks(const Cover& cover, int64_t begin, int64_t end, void* stream) {
  with_storage(cover.patches.element, [&](auto storage) {
    using S = decltype(storage);
    const Rows& patches = cover.patches;
    if (fits_packs<S>(patches.data, patches.depth) && patches.stride % FULL_PACK<S> == 0) {
      launch<S, FULL_PACK<S>>(cover, begin, end, stream);
    } else {
      launch<S, 1>(cover, begin, end, stream);
    }
  });
  return launched();
}

}  // namespace adtool::cuda
