#include "instruction_set.h"
#include "sample_tensors.h"

namespace adtool {

ADTOOL_BODIES(fill_with_noise, void(Element, void*, Samples, Draws, int64_t, int64_t))

namespace {

Tensor philox_normal(const Tensor& input, const Tensor& steps, int64_t seed, const Tensor& ids) {
  const Element element = element_of(input, "like");
  const Tensor like = dense_samples(input, "like");
  const Tensor t = one_per_sample(steps, "t", like), sample_id = one_per_sample(ids, "sample_id", like);
  const Tensor z = torch::stable::empty_like(like);
  const Samples samples = samples_of(like);
  const Draws draws = {static_cast<uint64_t>(seed), words(t), words(sample_id)};
  auto* const fill = fill_with_noise_body();
  for_each_share(samples,
                 [&](int64_t begin, int64_t end) { fill(element, z.mutable_data_ptr(), samples, draws, begin, end); });
  return z;
}

STABLE_TORCH_LIBRARY_IMPL(adtool, CPU, library) {
  library.impl("philox_normal", TORCH_BOX(&philox_normal));
}

}  // namespace
}  // namespace adtool
