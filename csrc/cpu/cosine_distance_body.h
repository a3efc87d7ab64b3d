// Cosine distance of two feature vectors at every pixel, and its gradient; formulas in adtool/ops/cosine_distance.py.
// Sums are kept in double: 1 - cos of nearly equal vectors is what remains after sixteen digits cancel, not seven.
#include "cpu/cosine_distance.h"
#include "vector.h"

namespace adtool::ADTOOL_BODY {
namespace {

constexpr int L = LANES<double>;
constexpr int CHANNELS = 4;        // added per pass over the sums
constexpr int CHANNELS_AHEAD = 8;  // fetched early: the processor does not foresee jumps from plane to plane

template <class Number>
struct Sums {  // over the channels of one pixel
  Number tt, ss, ts;
};
using VecSums = Sums<Vec<double>>;

ADTOOL_INLINE void operator+=(VecSums& sum, VecSums term) {
  sum.tt += term.tt;
  sum.ss += term.ss;
  sum.ts += term.ts;
}

ADTOOL_INLINE VecSums products(Vec<double> t, Vec<double> s) {
  return {t * t, s * s, t * s};
}

ADTOOL_INLINE double distance(Sums<double> sum) {
  const double square = sum.tt * sum.ss;
  if (square == 0) return 1;
  const double d = 1 - sum.ts / __builtin_sqrt(square);
  return d < 0 ? 0 : d;
}

struct Gradient {  // d/dt = cross s + own_t t, and the same with t and s exchanged
  double cross, own_t, own_s;
};

ADTOOL_INLINE Gradient gradient(Sums<double> sum, double grad) {
  const double square = sum.tt * sum.ss;
  if (square == 0) return {0, 0, 0};
  const double inverse = 1 / __builtin_sqrt(square), scaled = grad * sum.ts * inverse;
  return {-grad * inverse, scaled / sum.tt, scaled / sum.ss};
}

// The pixels of one work item. Element (c, p) is at c * channel_step + p * pixel_step.
template <class S>
struct Block {
  const S *teacher, *student;
  int64_t channels, pixels, channel_step, pixel_step;

  void sums(Sums<double>* out) const { pixel_step == 1 ? sums_across(out) : sums_within(out); }

  // Channels apart, pixels side by side: a vector of pixels, a few channels at a time.
  void sums_across(Sums<double>* out) const {
    VecSums sum[PIXEL_BLOCK / L] = {};
    int64_t c = 0;
    for (; c + CHANNELS <= channels; c += CHANNELS) add_channels<CHANNELS>(c, sum);
    for (; c < channels; ++c) add_channels<1>(c, sum);
    for (int64_t p = 0; p < pixels; ++p) {
      const VecSums& v = sum[p / L];
      out[p] = {v.tt[p % L], v.ss[p % L], v.ts[p % L]};
    }
  }

  template <int C>
  ADTOOL_INLINE void add_channels(int64_t c, VecSums* sum) const {
    int64_t p = 0;
    for (; p + L <= pixels; p += L) add_vector<C>(c, p, L, sum[p / L]);
    if (p < pixels) add_vector<C>(c, p, pixels - p, sum[p / L]);
  }

  template <int C>
  ADTOOL_INLINE void add_vector(int64_t c, int64_t p, int64_t n, VecSums& sum) const {
    VecSums part = sum;
    for (int i = 0; i < C; ++i) {
      const int64_t at = (c + i) * channel_step + p;
      __builtin_prefetch(teacher + at + CHANNELS_AHEAD * channel_step);
      __builtin_prefetch(student + at + CHANNELS_AHEAD * channel_step);
      part += products(load_as<double>(teacher + at, n), load_as<double>(student + at, n));
    }
    sum = part;
  }

  // Channels side by side: one pixel after another.
  void sums_within(Sums<double>* out) const {
    for (int64_t p = 0; p < pixels; ++p) {
      const S *t = teacher + p * pixel_step, *s = student + p * pixel_step;
      const VecSums sum = sum_over<VecSums, L>(channels, [=](int64_t c, int64_t n) {
        return products(load_as<double>(t + c, n), load_as<double>(s + c, n));
      });
      out[p] = {sum_lanes<double>(sum.tt), sum_lanes<double>(sum.ss), sum_lanes<double>(sum.ts)};
    }
  }

  // own = cross * other + mine * self at every element, written to `out`
  void combine(const S* self, const S* other, const double* mine, const double* cross, S* out) const {
    const bool across = pixel_step == 1;
    const int64_t rows = across ? channels : pixels, columns = across ? pixels : channels;
    const int64_t row_step = across ? channel_step : pixel_step;
    const auto vector = [=](int64_t row, int64_t i, int64_t n) {
      const int64_t at = row * row_step + i;
      const Vec<double> a = across ? load_as<double>(mine + i) : broadcast<double>(mine[row]);
      const Vec<double> b = across ? load_as<double>(cross + i) : broadcast<double>(cross[row]);
      store(out + at, a * load_as<double>(self + at, n) + b * load_as<double>(other + at, n), n);
    };
    for (int64_t row = 0; row < rows; ++row) {
      int64_t i = 0;
      for (; i + L <= columns; i += L) vector(row, i, L);
      if (i < columns) vector(row, i, columns - i);
    }
  }
};

// Calls `function(block, first element, first pixel)` for each work item.
template <class S, class Function>
ADTOOL_INLINE void for_blocks(const void* teacher, const void* student, Planes planes, int64_t begin, int64_t end,
                              const Function& function) {
  const int64_t channel_step = planes.channels_last ? 1 : planes.pixels;
  const int64_t pixel_step = planes.channels_last ? planes.channels : 1;
  const int64_t blocks = (planes.pixels + PIXEL_BLOCK - 1) / PIXEL_BLOCK;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t image = item / blocks, p = item % blocks * PIXEL_BLOCK;
    const int64_t pixels = planes.pixels - p < PIXEL_BLOCK ? planes.pixels - p : PIXEL_BLOCK;
    const int64_t at = image * planes.channels * planes.pixels + p * pixel_step;
    const Block<S> block = {static_cast<const S*>(teacher) + at,
                            static_cast<const S*>(student) + at,
                            planes.channels,
                            pixels,
                            channel_step,
                            pixel_step};
    function(block, at, image * planes.pixels + p);
  }
}

}  // namespace

void cosine_distance_forward(Element element, const void* teacher, const void* student, void* out, Planes planes,
                             int64_t begin, int64_t end) {
  with_storage(element, [=](auto storage) {
    using S = decltype(storage);
    for_blocks<S>(teacher, student, planes, begin, end, [=](const Block<S>& block, int64_t, int64_t pixel) {
      Sums<double> sum[PIXEL_BLOCK];
      block.sums(sum);
      auto* const to = static_cast<Compute<S>*>(out) + pixel;
      for (int64_t p = 0; p < block.pixels; ++p) to[p] = static_cast<Compute<S>>(distance(sum[p]));
    });
  });
}

void cosine_distance_backward(Element element, const void* grad, const void* teacher, const void* student,
                              void* teacher_grad, void* student_grad, Planes planes, int64_t begin, int64_t end) {
  with_storage(element, [=](auto storage) {
    using S = decltype(storage);
    for_blocks<S>(teacher, student, planes, begin, end, [=](const Block<S>& block, int64_t at, int64_t pixel) {
      Sums<double> sum[PIXEL_BLOCK];
      double cross[PIXEL_BLOCK + L] = {}, own_t[PIXEL_BLOCK + L] = {}, own_s[PIXEL_BLOCK + L] = {};
      block.sums(sum);
      for (int64_t p = 0; p < block.pixels; ++p) {
        const Gradient g = gradient(sum[p], static_cast<const Compute<S>*>(grad)[pixel + p]);
        cross[p] = g.cross, own_t[p] = g.own_t, own_s[p] = g.own_s;
      }
      const S *t = block.teacher, *s = block.student;
      if (teacher_grad != nullptr) block.combine(t, s, own_t, cross, static_cast<S*>(teacher_grad) + at);
      if (student_grad != nullptr) block.combine(s, t, own_s, cross, static_cast<S*>(student_grad) + at);
    });
  });
}

}  // namespace adtool::ADTOOL_BODY
