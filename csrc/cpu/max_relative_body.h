// Max-relative aggregation, NODE_CHANNELS channels of an image at a time. They are brought into scratch memory in the
// type that is computed with, one node after another, whatever their type and layout; there neighbours are near.
#include "cpu/max_relative.h"
#include "lanes.h"
#include "order_keys.h"
#include "vector.h"

namespace adtool::ADTOOL_BODY {
namespace {

template <class V>
ADTOOL_INLINE void keep(void* to, V value) {
  __builtin_memcpy(to, &value, sizeof(value));
}

// One work item: a block of channels of an image.
template <class S>
struct Block {
  using T = Compute<S>;
  static constexpr int L = LANES<T>, WIDTH = NODE_CHANNELS;
  static constexpr int64_t AHEAD = 64;  // nodes from which on memory is fetched early
  static_assert(WIDTH % L == 0);
  S* data;
  int64_t channels;  // of the block
  int64_t node_stride, channel_stride;

  ADTOOL_INLINE Block(const NodeFeatures& x, int64_t item)
      : data(static_cast<S*>(x.data) + item / x.blocks() * x.image_stride +
             item % x.blocks() * WIDTH * x.channel_stride),
        channels(x.channels - item % x.blocks() * WIDTH),
        node_stride(x.node_stride),
        channel_stride(x.channel_stride) {
    if (channels > WIDTH) channels = WIDTH;
  }

  ADTOOL_INLINE int64_t lanes(int64_t c) const { return channels - c < L ? channels - c : L; }

  // `count` <= L nodes as rows of WIDTH numbers, or what `as` makes of them; channels beyond the last are anything.
  template <class To, class As>
  ADTOOL_INLINE void read(int64_t node, int64_t count, To* rows, const As& as) const {
    const S* const from = data + node * node_stride;
    for (int64_t c = 0; c < channels; c += L) {
      if (channel_stride == 1) {
        for (int64_t i = 0; i < count; ++i) {
          __builtin_prefetch(from + (i + AHEAD) * node_stride + c);
          keep(rows + i * WIDTH + c, as(load(from + i * node_stride + c, lanes(c))));
        }
        continue;
      }
      Vec<T> square[L] = {};
      for (int64_t r = 0; r < lanes(c); ++r) {
        __builtin_prefetch(from + (c + r) * channel_stride + AHEAD);
        square[r] = load(from + (c + r) * channel_stride, count);
      }
      transpose<T>(square);
      for (int64_t i = 0; i < count; ++i) keep(rows + i * WIDTH + c, as(square[i]));
    }
  }

  void write(int64_t node, int64_t count, const T* rows) const {
    S* const to = data + node * node_stride;
    for (int64_t c = 0; c < channels; c += L) {
      if (channel_stride == 1) {
        for (int64_t i = 0; i < count; ++i) {
          __builtin_prefetch(to + (i + AHEAD) * node_stride + c, 1);
          store(to + i * node_stride + c, load(rows + i * WIDTH + c), lanes(c));
        }
        continue;
      }
      Vec<T> square[L];
      for (int64_t i = 0; i < L; ++i) square[i] = load(rows + (i < count ? i : 0) * WIDTH + c);
      transpose<T>(square);
      for (int64_t r = 0; r < lanes(c); ++r) {
        __builtin_prefetch(to + (c + r) * channel_stride + AHEAD, 1);
        store(to + (c + r) * channel_stride, square[r], count);
      }
    }
  }

  // Calls `function(node, count)` for L nodes at a time.
  template <class Function>
  ADTOOL_INLINE static void for_nodes(int64_t nodes, const Function& function) {
    for (int64_t node = 0; node < nodes; node += L) function(node, nodes - node < L ? nodes - node : L);
  }

  void read_keys(int64_t nodes, Key<T>* rows) const {
    for_nodes(nodes, [&](int64_t node, int64_t count) {
      read(node, count, rows + node * WIDTH, [](Vec<T> x) { return key_of<T>(x); });
    });
  }
};

constexpr int64_t VECTORS = 4;  // at a time

template <class T>
constexpr int64_t AT_ONCE = VECTORS < NODE_CHANNELS / LANES<T> ? VECTORS : NODE_CHANNELS / LANES<T>;

// y of one node; `x` holds the keys of all.
template <class T>
ADTOOL_INLINE void aggregate(const Key<T>* x, const int64_t* near, int64_t k, int64_t node, T* y) {
  constexpr int64_t L = LANES<T>, U = AT_ONCE<T>;
  for (int64_t c = 0; c < NODE_CHANNELS; c += U * L) {
    const auto at = [=](int64_t n, int u) { return fetch<IntVec<T>>(x + n * NODE_CHANNELS + c + u * L); };
    IntVec<T> best[U];
    for (int u = 0; u < U; ++u) best[u] = at(near[0], u);
    for (int64_t j = 1; j < k; ++j) {
      for (int u = 0; u < U; ++u) {
        const IntVec<T> key = at(near[j], u);
        best[u] = key > best[u] ? key : best[u];
      }
    }
    for (int u = 0; u < U; ++u) store(y + c + u * L, number_of<T>(best[u]) - number_of<T>(at(node, u)));
  }
}

// Adds the gradient of one node's y to dx: to the first neighbour with the maximum, and off the node itself.
template <class T>
ADTOOL_INLINE void route(const Key<T>* x, const int64_t* near, int64_t k, int64_t node, const T* grad, T* dx) {
  constexpr int64_t L = LANES<T>, U = AT_ONCE<T>;
  for (int64_t c = 0; c < NODE_CHANNELS; c += U * L) {
    const auto at = [=](int64_t n, int u) { return fetch<IntVec<T>>(x + n * NODE_CHANNELS + c + u * L); };
    Vec<T> g[U];
    IntVec<T> best[U], first[U];
    for (int u = 0; u < U; ++u) {
      g[u] = load(grad + c + u * L);
      best[u] = at(near[0], u);
      first[u] = IntVec<T>{};
      T* const own = dx + node * NODE_CHANNELS + c + u * L;
      store(own, load(own) - g[u]);
    }
    for (int64_t j = 1; j < k; ++j) {
      const IntVec<T> place = IntVec<T>{} + static_cast<Key<T>>(j);
      for (int u = 0; u < U; ++u) {
        const IntVec<T> key = at(near[j], u);
        first[u] = key > best[u] ? place : first[u];
        best[u] = key > best[u] ? key : best[u];
      }
    }
    for (int64_t j = 0; j < k; ++j) {
      for (int u = 0; u < U; ++u) {
        T* const place = dx + near[j] * NODE_CHANNELS + c + u * L;
        store(place, load(place) + (first[u] == static_cast<Key<T>>(j) ? g[u] : Vec<T>{}));
      }
    }
  }
}

}  // namespace

void max_relative_forward(const Graph& graph, const NodeFeatures& x, const NodeFeatures& y, void* scratch,
                          int64_t item) {
  with_storage(x.element, [&](auto storage) {
    using From = Block<decltype(storage)>;
    using T = typename From::T;
    const int64_t image = item / x.blocks();
    const From source(x, item), result(y, item);
    auto* const keys = static_cast<Key<T>*>(scratch);
    T* const out = reinterpret_cast<T*>(keys + graph.nodes * NODE_CHANNELS);
    source.read_keys(graph.nodes, keys);
    From::for_nodes(graph.nodes, [&](int64_t node, int64_t count) {
      for (int64_t i = 0; i < count; ++i) {
        aggregate(keys, graph.neighbors(image, node + i), graph.k, node + i, out + i * NODE_CHANNELS);
      }
      result.write(node, count, out);
    });
  });
}

void max_relative_backward(const Graph& graph, const NodeFeatures& grad, const NodeFeatures& x, const NodeFeatures& dx,
                           void* scratch, int64_t item) {
  with_storage(x.element, [&](auto storage) {
    using From = Block<decltype(storage)>;
    using T = typename From::T;
    const int64_t image = item / x.blocks(), size = graph.nodes * NODE_CHANNELS;
    const From source(x, item), upstream(grad, item), result(dx, item);
    auto* const keys = static_cast<Key<T>*>(scratch);
    T *const sums = reinterpret_cast<T*>(keys + size), *const g = sums + size;
    source.read_keys(graph.nodes, keys);
    for (int64_t i = 0; i < size; ++i) sums[i] = 0;
    From::for_nodes(graph.nodes, [&](int64_t node, int64_t count) {
      upstream.read(node, count, g, [](Vec<T> value) { return value; });
      for (int64_t i = 0; i < count; ++i) {
        route(keys, graph.neighbors(image, node + i), graph.k, node + i, g + i * NODE_CHANNELS, sums);
      }
    });
    From::for_nodes(graph.nodes,
                    [&](int64_t node, int64_t count) { result.write(node, count, sums + node * NODE_CHANNELS); });
  });
}

}  // namespace adtool::ADTOOL_BODY
