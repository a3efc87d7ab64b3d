// Forward noising; formula and names in adtool/ops/q_sample.py. noise.h comes first: it says how numbers are rounded.
#include "noise.h"

namespace adtool::ADTOOL_BODY {

void noise_samples(Element element, const void* from, void* to, Samples samples, Draws draws, const void* schedule,
                   int64_t begin, int64_t end) {
  with_storage(element, [=](auto storage) {
    using S = decltype(storage);
    using T = Compute<S>;
    for_samples<T>(samples, draws, begin, end, [=](int64_t n, const auto& walk) {
      const int64_t offset = n * samples.elements();
      const S* const x = static_cast<const S*>(from) + offset;
      S* const y = static_cast<S*>(to) + offset;
      const T* const row = static_cast<const T*>(schedule) + 2 * draws.t[n];
      const T a = row[0], s = row[1];
      walk(s != 0, [=](int64_t i, Vec<T> z, int64_t lanes) { store(y + i, a * load(x + i, lanes) + s * z, lanes); });
    });
  });
}

}  // namespace adtool::ADTOOL_BODY
