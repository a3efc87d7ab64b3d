// Separable Gaussian blur, a row of the result at a time: the rows above and below it are summed into one, which is
// then summed along itself. No blurred image is kept in between.
#include "cpu/gaussian_blur.h"
#include "vector.h"

namespace adtool::ADTOOL_BODY {
namespace {

// Taps of type T times what `at(k, u)` gives at distances k = -radius..radius, for U vectors.
template <class T, int U, class At>
ADTOOL_INLINE void weigh(const double* taps, int64_t radius, Vec<T> (&sum)[U], const At& at) {
  for (int u = 0; u < U; ++u) sum[u] = static_cast<T>(taps[0]) * at(0, u);
  for (int64_t k = 1; k <= radius; ++k) {
    const T tap = static_cast<T>(taps[k]);
    for (int u = 0; u < U; ++u) sum[u] += tap * (at(-k, u) + at(k, u));
  }
}

// Calls `visit(first column, vectors, columns of the last vector)` for four vectors at a time, then for one.
template <int L, class Four, class One>
ADTOOL_INLINE void for_vectors(int64_t width, const Four& four, const One& one) {
  int64_t x = 0;
  for (; x + 4 * L <= width; x += 4 * L) four(x);
  for (; x < width; x += L) one(x, width - x < L ? width - x : L);
}

template <class S>
struct Plane {
  using T = Compute<S>;
  static constexpr int L = LANES<T>;
  const S* from;
  S* to;
  Blur blur;
  T* line;  // width + 2 radius

  template <int U>
  ADTOOL_INLINE void vertical(int64_t y, int64_t x, int64_t n) const {
    Vec<T> sum[U];
    const int64_t* const row = blur.row + y + blur.radius;
    weigh<T, U>(blur.taps, blur.radius, sum,
                [=, this](int64_t k, int u) { return load(from + row[k] * blur.width + x + u * L, n); });
    for (int u = 0; u < U; ++u) store(line + blur.radius + x + u * L, sum[u], n);
  }

  template <int U>
  ADTOOL_INLINE void horizontal(int64_t y, int64_t x, int64_t n) const {
    Vec<T> sum[U];
    const T* const centre = line + blur.radius + x;
    weigh<T, U>(blur.taps, blur.radius, sum, [=](int64_t k, int u) { return load(centre + u * L + k, n); });
    for (int u = 0; u < U; ++u) store(to + y * blur.width + x + u * L, sum[u], n);
  }

  void one_row(int64_t y) const {
    for_vectors<L>(
        blur.width, [=, this](int64_t x) { vertical<4>(y, x, L); },
        [=, this](int64_t x, int64_t n) { vertical<1>(y, x, n); });
    T* const inner = line + blur.radius;
    for (int64_t i = 0; i < blur.radius; ++i) {
      line[i] = inner[blur.column[i]];
      inner[blur.width + i] = inner[blur.column[blur.radius + blur.width + i]];
    }
    for_vectors<L>(
        blur.width, [=, this](int64_t x) { horizontal<4>(y, x, L); },
        [=, this](int64_t x, int64_t n) { horizontal<1>(y, x, n); });
  }
};

}  // namespace

// Blocks [begin, end) of BLUR_ROWS rows; `line` has room for width + 2 radius doubles.
void blur_rows(Element element, const void* maps, void* out, Blur blur, double* line, int64_t begin, int64_t end) {
  with_storage(element, [=](auto storage) {
    using S = decltype(storage);
    const int64_t blocks = (blur.height + BLUR_ROWS - 1) / BLUR_ROWS;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item / blocks * blur.height * blur.width, y = item % blocks * BLUR_ROWS;
      const int64_t last = y + BLUR_ROWS < blur.height ? y + BLUR_ROWS : blur.height;
      const Plane<S> plane = {static_cast<const S*>(maps) + first, static_cast<S*>(out) + first, blur,
                              reinterpret_cast<Compute<S>*>(line)};
      for (int64_t row = y; row < last; ++row) plane.one_row(row);
    }
  });
}

}  // namespace adtool::ADTOOL_BODY
