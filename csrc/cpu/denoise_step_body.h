// One reverse-diffusion step; formula and names in adtool/ops/denoise_step.py. noise.h comes first: it says how numbers
// are rounded.
#include "noise.h"

namespace adtool::ADTOOL_BODY {
namespace {

template <class T>
struct Step {  // a row of the schedule, and the bound of x0
  T a, b, c, d, s, clip;

  template <class V>
  ADTOOL_INLINE V previous(V x, V eps, V z) const {
    V x0 = b * x + c * eps;
    x0 = x0 < -clip ? V{} - clip : x0;
    x0 = x0 > clip ? V{} + clip : x0;
    return a * x0 + d * x + s * z;
  }

  // What reaches x and eps of a gradient g; an x0 that was cut off passes nothing on.
  template <class V>
  ADTOOL_INLINE Pair<V> gradient(V g, V x, V eps) const {
    const V x0 = b * x + c * eps;
    const auto inside = (x0 >= -clip) & (x0 <= clip);
    const V through = inside ? a * g : V{};
    return {through * b + g * d, through * c};
  }
};

template <class T>
ADTOOL_INLINE Step<T> step_of(const void* schedule, int64_t t, double clip) {
  const T* const row = static_cast<const T*>(schedule) + 5 * t;
  return {row[0], row[1], row[2], row[3], row[4], static_cast<T>(clip)};
}

}  // namespace

void denoise_samples(Element element, const void* from, const void* predicted, void* to, Samples samples, Draws draws,
                     const void* schedule, double clip, int64_t begin, int64_t end) {
  with_storage(element, [=](auto storage) {
    using S = decltype(storage);
    using T = Compute<S>;
    for_samples<T>(samples, draws, begin, end, [=](int64_t n, const auto& walk) {
      const int64_t offset = n * samples.elements();
      const S* const x = static_cast<const S*>(from) + offset;
      const S* const eps = static_cast<const S*>(predicted) + offset;
      S* const y = static_cast<S*>(to) + offset;
      const Step<T> step = step_of<T>(schedule, draws.t[n], clip);
      if (draws.t[n] == 0) {
        walk(false, [=](int64_t i, Vec<T>, int64_t lanes) { store(y + i, load(x + i, lanes), lanes); });
      } else {
        walk(step.s != 0, [=](int64_t i, Vec<T> z, int64_t lanes) {
          store(y + i, step.previous(load(x + i, lanes), load(eps + i, lanes), z), lanes);
        });
      }
    });
  });
}

void denoise_samples_backward(Element element, const void* grad, const void* from, const void* predicted,
                              void* from_grad, void* predicted_grad, Samples samples, Draws draws, const void* schedule,
                              double clip, int64_t begin, int64_t end) {
  with_storage(element, [=](auto storage) {
    using S = decltype(storage);
    using T = Compute<S>;
    for_samples<T>(samples, draws, begin, end, [=](int64_t n, const auto& walk) {
      const int64_t offset = n * samples.elements();
      const S* const g = static_cast<const S*>(grad) + offset;
      const S* const x = static_cast<const S*>(from) + offset;
      const S* const eps = static_cast<const S*>(predicted) + offset;
      S *const dx = static_cast<S*>(from_grad) + offset, *const deps = static_cast<S*>(predicted_grad) + offset;
      const Step<T> step = step_of<T>(schedule, draws.t[n], clip);
      const bool still = draws.t[n] == 0;
      walk(false, [=](int64_t i, Vec<T>, int64_t lanes) {
        const Vec<T> given = load(g + i, lanes);
        const Pair<Vec<T>> found =
            still ? Pair<Vec<T>>{given, {}} : step.gradient(given, load(x + i, lanes), load(eps + i, lanes));
        store(dx + i, found.low, lanes);
        store(deps + i, found.high, lanes);
      });
    });
  });
}

}  // namespace adtool::ADTOOL_BODY
