#include "cuda/max_relative.h"

#include "kernels/launch.cuh"
#include "kernels/max_relative.cuh"

namespace adtool::cuda {
namespace {

// Calls `launch<V>(blocks)` with the elements per access that suit the features.
template <class S, class Launch>
const char* with_packs(const NodeGraph& graph, bool packs, const Launch& launch) {
  constexpr int V = FULL_PACK<S>;
  const int64_t count = graph.images * graph.nodes * graph.channels;
  if (count == 0) return nullptr;
  const int64_t threads = packs ? count / V : count;
  const unsigned blocks = static_cast<unsigned>((threads + NODE_THREADS - 1) / NODE_THREADS);
  packs ? launch.template operator()<V>(blocks) : launch.template operator()<1>(blocks);
  return launched();
}

template <class S>
bool packs(const NodeGraph& graph, const void* first, const void* second) {
  return !graph.nodes_innermost && fits_packs<S>(first, graph.channels) && fits_packs<S>(second, graph.channels);
}

}  // namespace

const char* launch_max_relative_forward(Element element, const void* x, void* y, NodeGraph graph, void* stream) {
  const char* error = nullptr;
  with_storage(element, [&](auto storage) {
    using S = decltype(storage);
    error = with_packs<S>(graph, packs<S>(graph, x, y), [&]<int V>(unsigned blocks) {
      ADTOOL_LAUNCH(blocks, NODE_THREADS, 0, stream, max_relative_forward<S, V>)(static_cast<const S*>(x),
                                                                                 static_cast<S*>(y), graph);
    });
  });
  return error;
}

const char* launch_max_relative_backward(Element element, const void* grad, const void* x, void* dx, NodeGraph graph,
                                         Inverse inverse, void* stream) {
  const char* error = nullptr;
  with_storage(element, [&](auto storage) {
    using S = decltype(storage);
    const bool fit = packs<S>(graph, x, inverse.which) && packs<S>(graph, grad, dx);
    error = with_packs<S>(graph, fit, [&]<int V>(unsigned blocks) {
      ADTOOL_LAUNCH(blocks, NODE_THREADS, 0, stream, max_relative_which<S, V>)(static_cast<const S*>(x), inverse.which,
                                                                               graph);
      ADTOOL_LAUNCH(static_cast<unsigned>(graph.images), INVERT_THREADS, 0, stream, max_relative_invert)(graph,
                                                                                                         inverse);
      ADTOOL_LAUNCH(blocks, NODE_THREADS, 0, stream, max_relative_backward<S, V>)(static_cast<const S*>(grad),
                                                                                  static_cast<S*>(dx), graph, inverse);
    });
  });
  return error;
}

}  // namespace adtool::cuda
