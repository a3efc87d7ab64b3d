// Bilinear resizing of every scale's distance map and their reduction, a row of the result at a time.
#include "cpu/cosine_map.h"
#include "vector.h"

namespace adtool::ADTOOL_BODY {
namespace {

// The two source rows around output row `y`, blended; one element more than the map is wide, a copy of its last.
template <class T>
ADTOOL_INLINE void blend_rows(const ScaleMap& map, int64_t image, int64_t y, int64_t height, T* row) {
  const double position = source_position(y, map.height, height);
  const int64_t top = static_cast<int64_t>(position), bottom = top + (top + 1 < map.height);
  const T weight = static_cast<T>(position - static_cast<double>(top));
  const T* const from = static_cast<const T*>(map.distances) + image * map.height * map.width;
  const T *a = from + top * map.width, *b = from + bottom * map.width;
  for (int64_t x = 0; x < map.width; ++x) row[x] = (1 - weight) * a[x] + weight * b[x];
  row[map.width] = row[map.width - 1];
}

template <class T, class Combine>
ADTOOL_INLINE void stretch_row(const ScaleMap& map, const T* row, int64_t width, T* out, const Combine& combine) {
  const int32_t* const column = map.column;
  const double* const weights = map.weight;
#pragma omp simd
  for (int64_t x = 0; x < width; ++x) {
    const T weight = static_cast<T>(weights[x]);
    out[x] = combine(out[x], (1 - weight) * row[column[x]] + weight * row[column[x] + 1]);
  }
}

template <class T>
void reduce_row(const ScaleMap* maps, int64_t scales, Reduction reduction, int64_t image, int64_t y, int64_t height,
                int64_t width, T* row, T* out) {
  const bool product = reduction == Reduction::mul;
  for (int64_t x = 0; x < width; ++x) out[x] = product ? T(1) : T(0);
  for (int64_t i = 0; i < scales; ++i) {
    blend_rows(maps[i], image, y, height, row);
    if (product) {
      stretch_row(maps[i], row, width, out, [](T total, T value) { return total * value; });
    } else {
      stretch_row(maps[i], row, width, out, [](T total, T value) { return total + value; });
    }
  }
  if (reduction == Reduction::mean) {
    for (int64_t x = 0; x < width; ++x) out[x] /= static_cast<T>(scales);
  }
}

}  // namespace

// Rows [begin, end) of (images * height, width); `scratch` holds a row of the widest map and one element more.
void cosine_map_rows(bool in_double, const ScaleMap* maps, int64_t scales, Reduction reduction, void* out,
                     int64_t height, int64_t width, double* scratch, int64_t begin, int64_t end) {
  const auto rows = [=](auto zero) {
    using T = decltype(zero);
    for (int64_t item = begin; item < end; ++item) {
      reduce_row<T>(maps, scales, reduction, item / height, item % height, height, width, reinterpret_cast<T*>(scratch),
                    static_cast<T*>(out) + item * width);
    }
  };
  in_double ? rows(double{}) : rows(float{});
}

}  // namespace adtool::ADTOOL_BODY
