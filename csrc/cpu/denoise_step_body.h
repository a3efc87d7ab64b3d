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
};

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
      const T* const row = static_cast<const T*>(schedule) + 5 * draws.t[n];
      const Step<T> step = {row[0], row[1], row[2], row[3], row[4], static_cast<T>(clip)};
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

}  // namespace adtool::ADTOOL_BODY
