#include <tuple>

#include "instruction_set.h"
#include "sample_tensors.h"

namespace adtool {

ADTOOL_BODIES(denoise_samples,
              void(Element, const void*, const void*, void*, Samples, Draws, const void*, double, int64_t, int64_t))
ADTOOL_BODIES(denoise_samples_backward, void(Element, const void*, const void*, const void*, void*, void*, Samples,
                                             Draws, const void*, double, int64_t, int64_t))

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

std::tuple<Tensor, Tensor> denoise_step_backward(const Tensor& output_grad, const Tensor& input,
                                                 const Tensor& predicted, const Tensor& steps, const Tensor& table,
                                                 double clip) {
  STD_TORCH_CHECK(clip > 0, "clip: expected a bound above 0, or infinity for none, got ", clip);
  const Element element = element_of(input, "x");
  const Tensor x = dense_samples(input, "x"), eps = samples_like(predicted, "eps", x, "x");
  const Tensor grad = samples_like(output_grad, "grad", x, "x"), t = one_per_sample(steps, "t", x);
  const Tensor schedule = rows_of_schedule(table, 5, element);
  check_steps(t, schedule);
  const Tensor dx = torch::stable::empty_like(x), deps = torch::stable::empty_like(x);
  const Samples samples = samples_of(x);
  const Draws draws = {0, words(t), words(t)};  // no noise is drawn
  auto* const backward = denoise_samples_backward_body();
  for_each_share(samples, [&](int64_t begin, int64_t end) {
    backward(element, grad.const_data_ptr(), x.const_data_ptr(), eps.const_data_ptr(), dx.mutable_data_ptr(),
             deps.mutable_data_ptr(), samples, draws, schedule.const_data_ptr(), clip, begin, end);
  });
  return {dx, deps};
}

STABLE_TORCH_LIBRARY_IMPL(adtool, CPU, library) {
  library.impl("denoise_step", TORCH_BOX(&denoise_step));
  library.impl("denoise_step_backward", TORCH_BOX(&denoise_step_backward));
}

}  // namespace
}  // namespace adtool
