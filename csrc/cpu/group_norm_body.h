// Moments of a piece of an image, and norming, modulating and SiLU of one; names as in adtool/ops/group_norm.py. A
// number of a channel is one T along a plane and a vector of them where channels lie innermost.
#include "groups.h"
#include "vector.h"

namespace adtool::ADTOOL_BODY {
namespace {

// v sigmoid(v); below -126 ln 2 the sigmoid is 2^-126.
template <class T>
ADTOOL_INLINE Vec<T> silu(Vec<T> v) {
  const Vec<T> power = v * T(-LOG2E), least = power > T(126) ? broadcast<T>(126) : power;
  return v / (T(1) + exp2_of_negative<T>(least));
}

template <bool Silu, class T, class Number>
ADTOOL_INLINE Vec<T> normed(Vec<T> x, Number mean, Number factor, Number offset) {
  const Vec<T> v = (x - mean) * factor + offset;
  if constexpr (Silu) {
    return silu<T>(v);
  } else {
    return v;
  }
}

// The pixels first .. first + count of one image.
template <class S>
struct Piece {
  using T = Compute<S>;
  static constexpr int L = LANES<T>;
  int64_t image, first, count;

  Piece(const Groups& groups, int64_t item)
      : image(item / groups.pieces()), first(item % groups.pieces() * groups.piece()) {
    const int64_t left = groups.planes.pixels - first;
    count = left < groups.piece() ? left : groups.piece();
  }
  int64_t at(const Planes& planes, int64_t c) const {
    const int64_t all = image * planes.channels * planes.pixels;
    return all + (planes.channels_last ? first * planes.channels + c : c * planes.pixels + first);
  }
};

// sum[u] of f(p, u) over `rows` rows p, in four parts that do not wait for each other.
template <class V, int U, class Function>
ADTOOL_INLINE void sum_piece(int64_t rows, V (&sum)[U], const Function& f) {
  V part[4][U] = {};
  int64_t p = 0;
  for (; p + 4 <= rows; p += 4) {
    for (int r = 0; r < 4; ++r) {
      for (int u = 0; u < U; ++u) part[r][u] += f(p + r, u);
    }
  }
  for (; p < rows; ++p) {
    for (int u = 0; u < U; ++u) part[0][u] += f(p, u);
  }
  for (int u = 0; u < U; ++u) sum[u] = (part[0][u] + part[1][u]) + (part[2][u] + part[3][u]);
}

// U vectors of channels, all lanes of them in use or `width` of the only one.
template <class S, int U, bool Full>
struct Columns {
  using T = Compute<S>;
  static constexpr int L = LANES<T>;
  int64_t width;

  template <class Storage>
  ADTOOL_INLINE Vec<T> at(const Storage* from, int u) const {
    return Full ? load(from + u * L) : load(from, width);
  }
  template <class Storage>
  ADTOOL_INLINE void put(Storage* to, int u, Vec<T> value) const {
    Full ? store(to + u * L, value) : store(to, value, width);
  }
};

// Calls function(columns, c) for the columns from channel c on, until all are done.
template <class S, class Function>
ADTOOL_INLINE void for_columns(int64_t channels, const Function& function) {
  constexpr int64_t L = LANES<Compute<S>>;
  int64_t c = 0;
  for (; c + 4 * L <= channels; c += 4 * L) function(Columns<S, 4, true>{}, c);
  for (; c + 2 * L <= channels; c += 2 * L) function(Columns<S, 2, true>{}, c);
  for (; c + L <= channels; c += L) function(Columns<S, 1, true>{}, c);
  if (c < channels) function(Columns<S, 1, false>{channels - c}, c);
}

// Mean and sum of squares about it of each channel: (2, C).
template <class S>
ADTOOL_INLINE void moments(const S* x, const Groups& groups, const Piece<S>& piece, Compute<S>* out) {
  using T = Compute<S>;
  constexpr int L = LANES<T>;
  const int64_t channels = groups.planes.channels, count = piece.count;
  if (!groups.planes.channels_last) {
    for (int64_t c = 0; c < channels; ++c) {
      const S* const from = x + piece.at(groups.planes, c);
      const T mean = sum_lanes<T>(sum_over<Vec<T>, L>(count, [=](int64_t i, int64_t n) { return load(from + i, n); })) /
                     static_cast<T>(count);
      const Vec<T> squares = sum_over<Vec<T>, L>(count, [=](int64_t i, int64_t n) {
        const Vec<T> d = load(from + i, n) - mean;
        return first_lanes<T>(d * d, n);
      });
      out[c] = mean, out[channels + c] = sum_lanes<T>(squares);
    }
    return;
  }
  for_columns<S>(channels, [&]<int U, bool Full>(Columns<S, U, Full> columns, int64_t c) {
    const S* const from = x + piece.at(groups.planes, c);
    Vec<T> mean[U], squares[U];
    sum_piece<Vec<T>, U>(count, mean, [=](int64_t p, int u) { return columns.at(from + p * channels, u); });
    for (int u = 0; u < U; ++u) mean[u] /= static_cast<T>(count);
    sum_piece<Vec<T>, U>(count, squares, [&](int64_t p, int u) {
      const Vec<T> d = columns.at(from + p * channels, u) - mean[u];
      return d * d;
    });
    for (int u = 0; u < U; ++u) columns.put(out + c, u, mean[u]), columns.put(out + channels + c, u, squares[u]);
  });
}

// `numbers` are (3, C): means, factors and offsets.
template <bool Silu, class S>
ADTOOL_INLINE void apply(const S* x, S* y, const Groups& groups, const Piece<S>& piece, const Compute<S>* numbers) {
  using T = Compute<S>;
  constexpr int L = LANES<T>;
  const int64_t channels = groups.planes.channels;
  const T *const mean = numbers, *const factor = numbers + channels, *const offset = numbers + 2 * channels;
  if (!groups.planes.channels_last) {
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t begin = piece.at(groups.planes, c);
      for (int64_t i = 0; i < piece.count; i += L) {
        const int64_t n = piece.count - i < L ? piece.count - i : L;
        store(y + begin + i, normed<Silu, T>(load(x + begin + i, n), mean[c], factor[c], offset[c]), n);
      }
    }
    return;
  }
  for_columns<S>(channels, [&]<int U, bool Full>(Columns<S, U, Full> columns, int64_t c) {
    const int64_t begin = piece.at(groups.planes, c);
    Vec<T> m[U], f[U], o[U];
    for (int u = 0; u < U; ++u) {
      m[u] = columns.at(mean + c, u), f[u] = columns.at(factor + c, u), o[u] = columns.at(offset + c, u);
    }
    for (int64_t at = begin; at < begin + piece.count * channels; at += channels) {
      for (int u = 0; u < U; ++u) columns.put(y + at, u, normed<Silu, T>(columns.at(x + at, u), m[u], f[u], o[u]));
    }
  });
}

}  // namespace

void group_moments(Element element, const void* x, void* moments_out, Groups groups, int64_t begin, int64_t end) {
  with_storage(element, [=](auto storage) {
    using S = decltype(storage);
    auto* const out = static_cast<Compute<S>*>(moments_out);
    for (int64_t item = begin; item < end; ++item) {
      moments(static_cast<const S*>(x), groups, Piece<S>(groups, item), out + item * 2 * groups.planes.channels);
    }
  });
}

void group_apply(Element element, const void* x, void* y, const void* numbers, Groups groups, bool silu, int64_t begin,
                 int64_t end) {
  with_storage(element, [=](auto storage) {
    using S = decltype(storage);
    const auto* const from = static_cast<const S*>(x);
    auto* const to = static_cast<S*>(y);
    for (int64_t item = begin; item < end; ++item) {
      const Piece<S> piece(groups, item);
      const auto* const of_image = static_cast<const Compute<S>*>(numbers) + piece.image * 3 * groups.planes.channels;
      silu ? apply<true>(from, to, groups, piece, of_image) : apply<false>(from, to, groups, piece, of_image);
    }
  });
}

}  // namespace adtool::ADTOOL_BODY
