// Max-relative aggregation on the GPU; formulas in adtool/ops/max_relative.py. A thread has one node and, where
// channels lie innermost, a pack of channels. Gradients are pulled: the edges are turned around first, so that every
// sum is taken in the order of the nodes it comes from. An index that is no node counts as a NaN without gradient.
#pragma once

#include "cuda/max_relative.h"
#include "kernels/launch.cuh"
#include "kernels/storage.cuh"

namespace adtool::cuda {

constexpr int NODE_THREADS = 256;
constexpr int INVERT_THREADS = 512;

// What a thread works at: V channels of a node.
template <int V>
struct NodePlace {
  int64_t image, node, channel;
  bool inside;

  __device__ explicit NodePlace(const NodeGraph& graph) {
    const int64_t id = static_cast<int64_t>(blockIdx.x) * NODE_THREADS + threadIdx.x;
    const int64_t packs = graph.channels / V, fast = graph.nodes_innermost ? graph.nodes : packs;
    const int64_t slow = graph.nodes_innermost ? packs : graph.nodes;
    const int64_t first = id % fast, second = id / fast % slow;
    image = id / fast / slow;
    inside = image < graph.images;
    node = graph.nodes_innermost ? first : second;
    channel = (graph.nodes_innermost ? second : first) * V;
  }

  __device__ int64_t offset(const NodeGraph& graph, int64_t other) const {
    const int64_t within = graph.nodes_innermost ? channel * graph.nodes + other : other * graph.channels + channel;
    return image * graph.nodes * graph.channels + within;
  }
  __device__ const int64_t* neighbors(const NodeGraph& graph) const {
    return graph.index + (image * graph.nodes + node) * graph.k;
  }
};

template <class S, int V>
struct Largest {
  Compute<S> value[V];
  int place[V];  // of the first of equals among the neighbours

  __device__ Largest(const S* x, const NodeGraph& graph, const NodePlace<V>& at) {
    using T = Compute<S>;
    const int64_t* const near = at.neighbors(graph);
    for (int64_t j = 0; j < graph.k; ++j) {
      const int64_t other = near[j];
      const bool is_node = other >= 0 && other < graph.nodes;
      const auto pack = *reinterpret_cast<const Pack<S, V>*>(x + at.offset(graph, is_node ? other : at.node));
      for (int v = 0; v < V; ++v) {
        const T here = is_node ? T(widen(pack.element[v])) : T(__uint_as_float(0x7fc00000u));
        if (j == 0 || ((here > value[v] || here != here) && value[v] == value[v])) {
          value[v] = here;
          place[v] = static_cast<int>(j);
        }
      }
    }
  }
};

template <class S, int V>
__global__ void __launch_bounds__(NODE_THREADS) max_relative_forward(const S* x, S* y, NodeGraph graph) {
  const NodePlace<V> at(graph);
  if (!at.inside) return;
  const Largest<S, V> largest(x, graph, at);
  const int64_t own = at.offset(graph, at.node);
  const auto pack = *reinterpret_cast<const Pack<S, V>*>(x + own);
  Pack<S, V> out;
  for (int v = 0; v < V; ++v) narrow(largest.value[v] - widen(pack.element[v]), out.element[v]);
  *reinterpret_cast<Pack<S, V>*>(y + own) = out;
}

template <class S, int V>
__global__ void __launch_bounds__(NODE_THREADS) max_relative_which(const S* x, uint16_t* which, NodeGraph graph) {
  const NodePlace<V> at(graph);
  if (!at.inside) return;
  const Largest<S, V> largest(x, graph, at);
  Pack<uint16_t, V> out;
  for (int v = 0; v < V; ++v) out.element[v] = static_cast<uint16_t>(largest.place[v]);
  *reinterpret_cast<Pack<uint16_t, V>*>(which + at.offset(graph, at.node)) = out;
}

// One block turns the edges of one image around: counted, set down in any order, then each in its place.
__global__ void __launch_bounds__(INVERT_THREADS) max_relative_invert(NodeGraph graph, Inverse inverse) {
  ADTOOL_SHARED(sums, int32_t[INVERT_THREADS]);
  const int64_t count = graph.nodes * graph.k;
  const int64_t* const target = graph.index + blockIdx.x * count;
  int32_t* const first = inverse.first + blockIdx.x * (graph.nodes + 1);
  int32_t* const cursor = inverse.cursor + blockIdx.x * graph.nodes;
  int32_t *const unsorted = inverse.unsorted + blockIdx.x * count, *const edges = inverse.edges + blockIdx.x * count;
  const int rank = threadIdx.x;

  for (int64_t i = rank; i < graph.nodes; i += INVERT_THREADS) cursor[i] = 0;
  __syncthreads();
  for (int64_t e = rank; e < count; e += INVERT_THREADS) {
    if (target[e] >= 0 && target[e] < graph.nodes) atomicAdd(cursor + target[e], 1);
  }
  __syncthreads();

  const int64_t share = (graph.nodes + INVERT_THREADS - 1) / INVERT_THREADS;  // of nodes for each thread
  const int64_t begin = rank * share, end = begin + share < graph.nodes ? begin + share : graph.nodes;
  int32_t sum = 0;
  for (int64_t i = begin; i < end; ++i) sum += cursor[i];
  sums[rank] = sum;
  for (int step = 1; step < INVERT_THREADS; step *= 2) {
    __syncthreads();
    const int32_t before = rank >= step ? sums[rank - step] : 0;
    __syncthreads();
    sums[rank] += before;
  }
  sum = sums[rank] - sum;
  for (int64_t i = begin; i < end; ++i) {
    const int32_t here = cursor[i];
    first[i] = cursor[i] = sum;
    sum += here;
  }
  if (rank == INVERT_THREADS - 1) first[graph.nodes] = sums[rank];
  __syncthreads();

  for (int64_t e = rank; e < count; e += INVERT_THREADS) {
    if (target[e] >= 0 && target[e] < graph.nodes) {
      unsorted[atomicAdd(cursor + target[e], 1)] = static_cast<int32_t>(e);
    }
  }
  __syncthreads();
  for (int64_t e = rank; e < count; e += INVERT_THREADS) {
    const int64_t node = target[e];
    if (node < 0 || node >= graph.nodes) continue;
    int32_t place = first[node];
    for (int32_t i = first[node]; i < first[node + 1]; ++i) place += unsorted[i] < e;
    edges[place] = static_cast<int32_t>(e);
  }
}

template <class S, int V>
__global__ void __launch_bounds__(NODE_THREADS)
    max_relative_backward(const S* grad, S* dx, NodeGraph graph, Inverse inverse) {
  using T = Compute<S>;
  const NodePlace<V> at(graph);
  if (!at.inside) return;
  const int64_t own = at.offset(graph, at.node);
  const auto pack = *reinterpret_cast<const Pack<S, V>*>(grad + own);
  T sum[V];
  for (int v = 0; v < V; ++v) sum[v] = -T(widen(pack.element[v]));
  const int32_t* const first = inverse.first + at.image * (graph.nodes + 1) + at.node;
  const int32_t* const edges = inverse.edges + at.image * graph.nodes * graph.k;
  for (int32_t i = first[0]; i < first[1]; ++i) {
    const int32_t node = edges[i] / static_cast<int32_t>(graph.k);
    const int32_t place = edges[i] - node * static_cast<int32_t>(graph.k);
    const int64_t from = at.offset(graph, node);
    const auto which = *reinterpret_cast<const Pack<uint16_t, V>*>(inverse.which + from);
    bool any = false;
    for (int v = 0; v < V; ++v) any = any || which.element[v] == place;
    if (!any) continue;
    const auto upstream = *reinterpret_cast<const Pack<S, V>*>(grad + from);
    for (int v = 0; v < V; ++v) sum[v] += which.element[v] == place ? T(widen(upstream.element[v])) : T(0);
  }
  Pack<S, V> out;
  for (int v = 0; v < V; ++v) narrow(sum[v], out.element[v]);
  *reinterpret_cast<Pack<S, V>*>(dx + own) = out;
}

}  // namespace adtool::cuda
