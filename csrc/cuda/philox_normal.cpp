#include "cuda/philox_normal.h"

#include "cuda/device.h"
#include "sample_tensors.h"

namespace adtool {
namespace {

Tensor philox_normal(const Tensor& input, const Tensor& steps, int64_t seed, const Tensor& ids) {
  const Element element = element_of(input, "like");
  check_device(steps, "t", input);
  check_device(ids, "sample_id", input);
  const Device device(input);
  const Tensor like = dense_samples(input, "like");
  const Tensor t = one_per_sample(steps, "t", like), sample_id = one_per_sample(ids, "sample_id", like);
  const Tensor z = torch::stable::empty_like(like);
  const Draws draws = {static_cast<uint64_t>(seed), words(t), words(sample_id)};
  const char* error =
      cuda::launch_philox_normal(element, z.mutable_data_ptr(), samples_of(like), draws, device.stream());
  STD_TORCH_CHECK(error == nullptr, "philox_normal: ", error);
  return z;
}

ADTOOL_CUDA_OPERATORS(library) {
  library.impl("philox_normal", TORCH_BOX(&philox_normal));
}

}  // namespace
}  // namespace adtool
