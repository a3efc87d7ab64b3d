#include "instruction_set.h"
#include "sample_tensors.h"

namespace adtool {

ADTOOL_BODIES(noise_samples, void(Element, const void*, void*, Samples, Draws, const void*, int64_t, int64_t))

namespace {

Tensor q_sample(const Tensor& input, const Tensor& steps, const Tensor& table, int64_t seed, const Tensor& ids) {
  const Element element = element_of(input, "x");
  const Tensor x = dense_samples(input, "x");
  const Tensor t = one_per_sample(steps, "t", x), sample_id = one_per_sample(ids, "sample_id", x);
  const Tensor schedule = rows_of_schedule(table, 2, element);
  check_steps(t, schedule);
  const Tensor y = torch::stable::empty_like(x);
  const Samples samples = samples_of(x);
  const Draws draws = {static_cast<uint64_t>(seed), words(t), words(sample_id), -1};
  auto* const noise = noise_samples_body();
  for_each_share(samples, [&](int64_t begin, int64_t end) {
    noise(element, x.const_data_ptr(), y.mutable_data_ptr(), samples, draws, schedule.const_data_ptr(), begin, end);
  });
  return y;
}

STABLE_TORCH_LIBRARY_IMPL(adtool, CPU, library) {
  library.impl("q_sample", TORCH_BOX(&q_sample));
}

}  // namespace
}  // namespace adtool
