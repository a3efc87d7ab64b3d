#include "cuda/denoise_step.h"

#include <tuple>

#include "cuda/device.h"
#include "sample_tensors.h"

namespace adtool {
namespace {

Tensor denoise_step(const Tensor& input, const Tensor& predicted, const Tensor& steps, const Tensor& table,
                    int64_t seed, const Tensor& ids, double clip) {
  STD_TORCH_CHECK(clip > 0, "clip: expected a bound above 0, or infinity for none, got ", clip);
  const Element element = element_of(input, "x");
  check_device(predicted, "eps", input);
  check_device(steps, "t", input);
  check_device(table, "schedule", input);
  check_device(ids, "sample_id", input);
  const Device device(input);
  const Tensor x = dense_samples(input, "x"), eps = samples_like(predicted, "eps", x, "x");
  const Tensor t = one_per_sample(steps, "t", x), sample_id = one_per_sample(ids, "sample_id", x);
  const Tensor schedule = rows_of_schedule(table, 5, element);
  const Tensor y = torch::stable::empty_like(x);
  const Draws draws = {static_cast<uint64_t>(seed), words(t), words(sample_id)};
  const char* error =
      cuda::launch_denoise_step(element, x.const_data_ptr(), eps.const_data_ptr(), y.mutable_data_ptr(), samples_of(x),
                                draws, schedule.const_data_ptr(), schedule.size(0), clip, device.stream());
  STD_TORCH_CHECK(error == nullptr, "denoise_step: ", error);
  return y;
}

std::tuple<Tensor, Tensor> denoise_step_backward(const Tensor& output_grad, const Tensor& input,
                                                 const Tensor& predicted, const Tensor& steps, const Tensor& table,
                                                 double clip) {
  STD_TORCH_CHECK(clip > 0, "clip: expected a bound above 0, or infinity for none, got ", clip);
  const Element element = element_of(input, "x");
  check_device(output_grad, "grad", input);
  check_device(predicted, "eps", input);
  check_device(steps, "t", input);
  check_device(table, "schedule", input);
  const Device device(input);
  const Tensor x = dense_samples(input, "x"), eps = samples_like(predicted, "eps", x, "x");
  const Tensor grad = samples_like(output_grad, "grad", x, "x"), t = one_per_sample(steps, "t", x);
  const Tensor schedule = rows_of_schedule(table, 5, element);
  const Tensor dx = torch::stable::empty_like(x), deps = torch::stable::empty_like(x);
  const char* error =
      cuda::launch_denoise_step_backward(element, grad.const_data_ptr(), x.const_data_ptr(), eps.const_data_ptr(),
                                         dx.mutable_data_ptr(), deps.mutable_data_ptr(), samples_of(x), words(t),
                                         schedule.const_data_ptr(), schedule.size(0), clip, device.stream());
  STD_TORCH_CHECK(error == nullptr, "denoise_step_backward: ", error);
  return {dx, deps};
}

ADTOOL_CUDA_OPERATORS(library) {
  library.impl("denoise_step", TORCH_BOX(&denoise_step));
  library.impl("denoise_step_backward", TORCH_BOX(&denoise_step_backward));
}

}  // namespace
}  // namespace adtool
