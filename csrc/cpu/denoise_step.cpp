#include "instruction_set.h"
#include "sample_tensors.h"

namespace adtool {

ADTOOL_BODIES(denoise_samples,
              void(Element, const void*, const void*, void*, Samples, Draws, const void*, double, int64_t, int64_t))

namespace {

Tensor denoise_step(const Tensor& input, const Tensor& predicted, const Tensor& steps, const Tensor& table,
                    int64_t seed, const Tensor& ids, double clip) {
  STD_TORCH_CHECK(clip > 0, "clip: expected a bound above 0, or infinity for none, got ", clip);
  const Element element = element_of(input, "x");
  const Tensor x = dense_samples(input, "x"), eps = samples_like(predicted, "eps", x, "x");
  const Tensor t = one_per_sample(steps, "t", x), sample_id = one_per_sample(ids, "sample_id", x);
  const Tensor schedule = rows_of_schedule(table, 5, element);
  check_steps(t, schedule);
  const Tensor y = torch::stable::empty_like(x);
  const Samples samples = samples_of(x);
  const Draws draws = {static_cast<uint64_t>(seed), words(t), words(sample_id)};
  auto* const denoise = denoise_samples_body();
  for_each_share(samples, [&](int64_t begin, int64_t end) {
    denoise(element, x.const_data_ptr(), eps.const_data_ptr(), y.mutable_data_ptr(), samples, draws,
            schedule.const_data_ptr(), clip, begin, end);
  });
  return y;
}

STABLE_TORCH_LIBRARY_IMPL(adtool, CPU, library) {
  library.impl("denoise_step", TORCH_BOX(&denoise_step));
}

}  // namespace
}  // namespace adtool
