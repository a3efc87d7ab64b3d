// Noise of every sample, written as it is drawn. noise.h comes first: it says how numbers are rounded.
#include "noise.h"

namespace adtool::ADTOOL_BODY {

void fill_with_noise(Element element, void* out, Samples samples, Draws draws, int64_t begin, int64_t end) {
  with_storage(element, [=](auto storage) {
    using S = decltype(storage);
    using T = Compute<S>;
    for_samples<T>(samples, draws, begin, end, [=](int64_t n, const auto& walk) {
      S* const z = static_cast<S*>(out) + n * samples.elements();
      walk(true, [=](int64_t i, Vec<T> noise, int64_t lanes) { store(z + i, noise, lanes); });
    });
  });
}

}  // namespace adtool::ADTOOL_BODY
