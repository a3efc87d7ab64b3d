// SimAM one plane at a time or, where channels lie innermost, a few vectors of channels at a time.
// The formulas and their names are those of adtool/ops/simam.py. A statistic is one number of type T in a plane and a
// vector of them across channels; the arithmetic is written once for both.
#include "planes.h"
#include "vector.h"

namespace adtool::ADTOOL_BODY {
namespace {

template <class Stat>
struct Energy {  // of one plane
  Stat mean, variance, k;
};

template <class T, class Stat>
ADTOOL_INLINE Energy<Stat> energy(Stat mean, Stat sum_of_squares, int64_t pixels, double lambda) {
  const Stat variance = sum_of_squares / T(pixels > 1 ? pixels - 1 : 1);
  return {mean, variance, T(1) / (T(4) * (variance + T(lambda)))};
}

// 1 / w for w in [1, 1 + e^(-1/2)]: the parabola of least relative error, e = 3e-3, and a step that leaves e^3 of it.
// Division would take as long as all the rest of a gate.
ADTOOL_INLINE Vec<float> reciprocal(Vec<float> w) {
  const Vec<float> r = (0.47087608f * w - 1.84102941f) * w + 2.36687f, e = 1.0f - w * r;
  return r + r * (e + e * e);
}
ADTOOL_INLINE Vec<double> reciprocal(Vec<double> w) {
  return 1.0 / w;
}

// sigmoid(u) for u = k d^2 + 1/2
template <class T, class Stat>
ADTOOL_INLINE Vec<T> gate(Vec<T> d, Stat k) {
  return reciprocal(T(1) + exp2_of_negative<T>(T(-0.5 * LOG2E) - d * d * (k * T(LOG2E))));
}

template <class V>
struct Moments {  // sums of q d and q d^2
  V qd, qdd;
};
template <class V>
ADTOOL_INLINE void operator+=(Moments<V>& sum, Moments<V> term) {
  sum.qd += term.qd;
  sum.qdd += term.qdd;
}

// Of one vector: d = x - mean and s = the gate, whose making is most of the work.
template <class T>
ADTOOL_INLINE Moments<Vec<T>> moments(Vec<T> grad, Vec<T> x, Vec<T> d, Vec<T> s) {
  const Vec<T> qd = grad * x * s * (T(1) - s) * d;
  return {qd, qd * d};
}

template <class T, class Stat>
ADTOOL_INLINE Vec<T> input_grad(Vec<T> grad, Vec<T> x, Vec<T> d, Vec<T> s, Energy<Stat> e, Moments<Stat> sum,
                                int64_t pixels) {
  const Vec<T> qd = grad * x * s * (T(1) - s) * d;
  const Stat variance_term = T(8) * e.k * e.k / T(pixels > 1 ? pixels - 1 : 1) * sum.qdd;
  return grad * s + T(2) * e.k * (qd - sum.qd / T(pixels)) - variance_term * d;
}

// The first gates of an item, kept from the pass that sums the moments for the one that uses the sums.
template <class T>
struct Gates {
  static constexpr int64_t ROOM = 32768 / BYTES;
  Vec<T> first[ROOM];

  ADTOOL_INLINE Vec<T> keep(int64_t i, Vec<T> s) {
    if (i < ROOM) first[i] = s;
    return s;
  }
  template <class Stat>
  ADTOOL_INLINE Vec<T> get(int64_t i, Vec<T> d, Stat k) const {
    return i < ROOM ? first[i] : gate<T>(d, k);
  }
};

// ---- contiguous: a plane of `pixels` neighbouring elements ----

template <class S>
struct Plane {
  using T = Compute<S>;
  static constexpr int L = LANES<T>;
  const S* x;
  int64_t pixels;

  ADTOOL_INLINE Energy<T> statistics(double lambda) const {
    const S* from = x;
    const T mean =
        sum_lanes<T>(sum_over<Vec<T>, L>(pixels, [=](int64_t i, int64_t n) { return load(from + i, n); })) / T(pixels);
    const Vec<T> squares = sum_over<Vec<T>, L>(pixels, [=](int64_t i, int64_t n) {
      const Vec<T> d = load(from + i, n) - mean;
      return first_lanes<T>(d * d, n);
    });
    return energy<T>(mean, sum_lanes<T>(squares), pixels, lambda);
  }

  ADTOOL_INLINE void forward(S* y, Energy<T> e) const {
    for (int64_t i = 0; i < pixels; i += L) {
      const int64_t n = pixels - i < L ? pixels - i : L;
      const Vec<T> value = load(x + i, n);
      store(y + i, value * gate<T>(value - e.mean, e.k), n);
    }
  }

  ADTOOL_INLINE void backward(const S* grad, S* dx, Energy<T> e) const {
    const S* from = x;
    Gates<T> gates;
    const auto lanes = sum_over<Moments<Vec<T>>, L>(pixels, [=, &gates](int64_t i, int64_t n) {
      const Vec<T> value = load(from + i, n), d = value - e.mean;
      return moments<T>(load(grad + i, n), value, d, gates.keep(i / L, gate<T>(d, e.k)));
    });
    const Moments<T> sum = {sum_lanes<T>(lanes.qd), sum_lanes<T>(lanes.qdd)};
    for (int64_t i = 0; i < pixels; i += L) {
      const int64_t n = pixels - i < L ? pixels - i : L;
      const Vec<T> value = load(from + i, n), d = value - e.mean;
      store(dx + i, input_grad<T>(load(grad + i, n), value, d, gates.get(i / L, d, e.k), e, sum, pixels), n);
    }
  }
};

// Calls `function(plane, offset, energy)` for planes [begin, end). The statistics of a few planes are taken before any
// is used: the additions of one wait for each other, those of several do not.
template <class S, class Function>
ADTOOL_INLINE void for_planes(const S* x, Planes planes, int64_t begin, int64_t end, double lambda,
                              const Function& function) {
  constexpr int64_t GROUP = 4;
  for (int64_t first = begin; first < end; first += GROUP) {
    const int64_t count = end - first < GROUP ? end - first : GROUP;
    Energy<Compute<S>> e[GROUP];
    for (int64_t j = 0; j < count; ++j) {
      e[j] = Plane<S>{x + (first + j) * planes.pixels, planes.pixels}.statistics(lambda);
    }
    for (int64_t j = 0; j < count; ++j) {
      const int64_t offset = (first + j) * planes.pixels;
      function(Plane<S>{x + offset, planes.pixels}, offset, e[j]);
    }
  }
}

// ---- channels last: U vectors of channels, the pixels `channels` elements apart ----

template <class S, int U>
struct Columns {
  using T = Compute<S>;
  static constexpr int L = LANES<T>;
  const S* x;
  int64_t pixels, channels;
  int64_t last;  // lanes used when U is 1

  ADTOOL_INLINE int64_t width() const { return U == 1 ? last : L; }
  ADTOOL_INLINE Vec<T> at(const S* from, int64_t p, int u) const { return load(from + p * channels + u * L, width()); }

  struct Statistics {
    Energy<Vec<T>> of[U];
  };
  ADTOOL_INLINE Statistics statistics(double lambda) const {
    Statistics e;
    Vec<T> sum[U];
    sum_rows<Vec<T>, U>(pixels, sum, [=, this](int64_t p, int u) { return at(x, p, u); });
    for (int u = 0; u < U; ++u) e.of[u].mean = sum[u] / T(pixels);
    sum_rows<Vec<T>, U>(pixels, sum, [&](int64_t p, int u) {
      const Vec<T> d = at(x, p, u) - e.of[u].mean;
      return d * d;
    });
    for (int u = 0; u < U; ++u) e.of[u] = energy<T>(e.of[u].mean, sum[u], pixels, lambda);
    return e;
  }

  ADTOOL_INLINE void forward(S* y, const Statistics& e) const {
    for (int64_t p = 0; p < pixels; ++p) {
      for (int u = 0; u < U; ++u) {
        const Vec<T> value = at(x, p, u);
        store(y + p * channels + u * L, value * gate<T>(value - e.of[u].mean, e.of[u].k), width());
      }
    }
  }

  ADTOOL_INLINE void backward(const S* grad, S* dx, const Statistics& e) const {
    Gates<T> gates;
    Moments<Vec<T>> sum[U];
    sum_rows<Moments<Vec<T>>, U>(pixels, sum, [&](int64_t p, int u) {
      const Vec<T> value = at(x, p, u), d = value - e.of[u].mean;
      return moments<T>(at(grad, p, u), value, d, gates.keep(p * U + u, gate<T>(d, e.of[u].k)));
    });
    for (int64_t p = 0; p < pixels; ++p) {
      for (int u = 0; u < U; ++u) {
        const Vec<T> value = at(x, p, u), d = value - e.of[u].mean, s = gates.get(p * U + u, d, e.of[u].k);
        store(dx + p * channels + u * L, input_grad<T>(at(grad, p, u), value, d, s, e.of[u], sum[u], pixels), width());
      }
    }
  }
};

// Calls `function(columns, offset, statistics)` for the channels of one block, four vectors at a time, then one, then
// the rest.
template <class S, class Function>
ADTOOL_INLINE void for_columns(const S* x, Planes planes, int64_t item, double lambda, const Function& function) {
  constexpr int64_t L = LANES<Compute<S>>;
  const int64_t image = item / planes.blocks() * planes.pixels * planes.channels;
  int64_t c = item % planes.blocks() * CHANNEL_BLOCK;
  const int64_t end = c + CHANNEL_BLOCK < planes.channels ? c + CHANNEL_BLOCK : planes.channels;
  for (; c + 4 * L <= end; c += 4 * L) {
    const Columns<S, 4> columns{x + image + c, planes.pixels, planes.channels, L};
    function(columns, image + c, columns.statistics(lambda));
  }
  for (; c < end; c += L) {
    const Columns<S, 1> columns{x + image + c, planes.pixels, planes.channels, end - c < L ? end - c : L};
    function(columns, image + c, columns.statistics(lambda));
  }
}

template <class S, class Function>
ADTOOL_INLINE void for_items(const S* x, Planes planes, int64_t begin, int64_t end, double lambda,
                             const Function& function) {
  if (!planes.channels_last) return for_planes(x, planes, begin, end, lambda, function);
  for (int64_t item = begin; item < end; ++item) for_columns(x, planes, item, lambda, function);
}

}  // namespace

void simam_forward(Element element, const void* x, void* y, Planes planes, double lambda, int64_t begin, int64_t end) {
  with_storage(element, [=](auto storage) {
    using S = decltype(storage);
    for_items(static_cast<const S*>(x), planes, begin, end, lambda,
              [=](auto part, int64_t offset, const auto& e) { part.forward(static_cast<S*>(y) + offset, e); });
  });
}

void simam_backward(Element element, const void* grad, const void* x, void* dx, Planes planes, double lambda,
                    int64_t begin, int64_t end) {
  with_storage(element, [=](auto storage) {
    using S = decltype(storage);
    for_items(static_cast<const S*>(x), planes, begin, end, lambda, [=](auto part, int64_t offset, const auto& e) {
      part.backward(static_cast<const S*>(grad) + offset, static_cast<S*>(dx) + offset, e);
    });
  });
}

}  // namespace adtool::ADTOOL_BODY
