#include "cuda/cosine_map.h"

#include "kernels/cosine_map.cuh"
#include "kernels/launch.cuh"

namespace adtool::cuda {

const char* launch_cosine_map(Element element, DistanceMaps maps, MapTarget target, int64_t done, void* stream) {
  if (target.images == 0) return nullptr;
  const auto blocks = static_cast<unsigned>(target.images * map_tiles(target));
  if (element == Element::float64) {
    ADTOOL_LAUNCH(blocks, MAP_THREADS, 0, stream, cosine_map<double>)(maps, target, done);
  } else {
    ADTOOL_LAUNCH(blocks, MAP_THREADS, 0, stream, cosine_map<float>)(maps, target, done);
  }
  return launched();
}

}  // namespace adtool::cuda
