#include "cuda/greedy_coreset.h"

#include <limits>

#include "cuda/device.h"
#include "row_tensors.h"

namespace adtool {
namespace {

void check_patches(const Tensor& patches) {
  STD_TORCH_CHECK(patches.dim() == 2 && patches.size(0) > 0, "patches: expected (P, D) with P > 0, got ",
                  shape_of(patches));
  STD_TORCH_CHECK(patches.size(0) < INT32_MAX, "patches: expected fewer than 2^31 rows, got ", patches.size(0));
}

// Makes picks of the elements begin .. of `picks`, whose first `begin` are known.
void pick(const Tensor& patches, Tensor& picks, int64_t begin, Tensor& distance, Tensor& seen, const Device& device) {
  const Rows rows = rows_of(patches, "patches");
  const Workspace<char> farthest(patches, 2 * cuda::pass_blocks(rows.count) * cuda::FARTHEST_BYTES);
  const cuda::Cover cover = {rows, picks.mutable_data_ptr<int64_t>(), distance.mutable_data_ptr(),
                             seen.mutable_data_ptr<int32_t>(), farthest.data};
  const char* error = cuda::launch_picks(cover, begin, picks.numel(), device.stream());
  STD_TORCH_CHECK(error == nullptr, "greedy_coreset: ", error);
}

// `count` picks after `picked`; `distance` and `seen` are as in Cover, and updated. What they and `picked` hold is not
// looked at here, since that would wait for the device: a pick that is no row is passed over.
Tensor greedy_coreset_step(const Tensor& given, const Tensor& picked, Tensor distance, Tensor seen, int64_t count) {
  check_patches(given);
  const int64_t begin = picked.numel(), rows = given.size(0);
  STD_TORCH_CHECK(
      picked.dim() == 1 && begin > 0 && count >= 0 && begin + count <= rows && picked.scalar_type() == ScalarType::Long,
      "picked: expected 1 to ", rows, " - ", count, " int64 indices, got ", shape_of(picked));
  STD_TORCH_CHECK(distance.dim() == 1 && distance.size(0) == rows && distance.is_contiguous() &&
                      distance.scalar_type() == compute_dtype(element_of(given, "patches")),
                  "distance: expected ", rows, " squared distances, got ", shape_of(distance));
  STD_TORCH_CHECK(
      seen.dim() == 1 && seen.size(0) == rows && seen.is_contiguous() && seen.scalar_type() == ScalarType::Int,
      "seen: expected ", rows, " int32 counts of picks, got ", shape_of(seen));
  check_device(picked, "picked", given);
  check_device(distance, "distance", given);
  check_device(seen, "seen", given);
  const Device device(given);
  Tensor picks = torch::stable::new_empty(picked, {begin + count});
  Tensor known = torch::stable::narrow(picks, 0, 0, begin);
  torch::stable::copy_(known, picked);
  pick(with_dense_rows(given), picks, begin, distance, seen, device);
  return picks;
}

Tensor greedy_coreset(const Tensor& patches, int64_t first, int64_t n) {
  check_patches(patches);
  const int64_t rows = patches.size(0);
  STD_TORCH_CHECK(first >= 0 && first < rows, "first: expected a row of patches ", shape_of(patches), ", got ", first);
  STD_TORCH_CHECK(n >= 1 && n <= rows, "n: expected 1 to ", rows, ", the rows of patches, got ", n);
  const Device device(patches);
  Tensor distance = torch::stable::new_empty(patches, {rows}, compute_dtype(element_of(patches, "patches")));
  Tensor seen = torch::stable::new_zeros(patches, {rows}, ScalarType::Int);
  Tensor picks = torch::stable::new_empty(patches, {n}, ScalarType::Long);
  Tensor known = torch::stable::narrow(picks, 0, 0, 1);
  torch::stable::fill_(distance, std::numeric_limits<double>::infinity());
  torch::stable::fill_(known, static_cast<double>(first));
  pick(with_dense_rows(patches), picks, 1, distance, seen, device);
  return picks;
}

ADTOOL_CUDA_OPERATORS(library) {
  library.impl("greedy_coreset_step", TORCH_BOX(&greedy_coreset_step));
  library.impl("greedy_coreset", TORCH_BOX(&greedy_coreset));
}

}  // namespace
}  // namespace adtool
