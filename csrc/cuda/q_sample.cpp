#include "cuda/q_sample.h"

#include "cuda/device.h"
#include "sample_tensors.h"

namespace adtool {
namespace {

Tensor q_sample(const Tensor& input, const Tensor& steps, const Tensor& table, int64_t seed, const Tensor& ids) {
  const Element element = element_of(input, "x");
  check_device(steps, "t", input);
  check_device(table, "schedule", input);
  check_device(ids, "sample_id", input);
  const Device device(input);
  const Tensor x = dense_samples(input, "x");
  const Tensor t = one_per_sample(steps, "t", x), sample_id = one_per_sample(ids, "sample_id", x);
  const Tensor schedule = rows_of_schedule(table, 2, element);
  const Tensor y = torch::stable::empty_like(x);
  const Draws draws = {static_cast<uint64_t>(seed), words(t), words(sample_id), -1};
  const char* error = cuda::launch_q_sample(element, x.const_data_ptr(), y.mutable_data_ptr(), samples_of(x), draws,
                                            schedule.const_data_ptr(), schedule.size(0), device.stream());
  STD_TORCH_CHECK(error == nullptr, "q_sample: ", error);
  return y;
}

ADTOOL_CUDA_OPERATORS(library) {
  library.impl("q_sample", TORCH_BOX(&q_sample));
}

}  // namespace
}  // namespace adtool
