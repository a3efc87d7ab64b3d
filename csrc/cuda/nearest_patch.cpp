#include "cuda/nearest_patch.h"

#include <algorithm>
#include <tuple>

#include "cuda/device.h"
#include "row_tensors.h"

namespace adtool {
namespace {

constexpr int64_t SPARE = 7;  // candidates beyond k at least, for scores in doubt

void check(const char* error) {
  STD_TORCH_CHECK(error == nullptr, "nearest_patch: ", error);
}

void check(const Tensor& patches, const Tensor& bank, int64_t k) {
  STD_TORCH_CHECK(patches.dim() == 2 && bank.dim() == 2 && patches.size(1) == bank.size(1),
                  "patches and bank: expected (P, D) and (M, D), got ", shape_of(patches), " and ", shape_of(bank));
  STD_TORCH_CHECK(patches.scalar_type() == bank.scalar_type(), "bank: expected the element type of patches");
  STD_TORCH_CHECK(k >= 1 && k <= bank.size(0), "k: expected 1 to the ", bank.size(0), " rows of bank, got ", k);
  STD_TORCH_CHECK(bank.size(0) < INT32_MAX - cuda::BANK_ROWS, "bank: expected fewer than 2^31 rows, got ",
                  bank.size(0));
}

std::tuple<Tensor, Tensor> nearest_patch(const Tensor& given_patches, const Tensor& given_bank, int64_t k) {
  check(given_patches, given_bank, k);
  const Element element = element_of(given_patches, "patches");
  check_device(given_bank, "bank", given_patches);
  const Device device(given_patches);
  const Tensor patches = with_dense_rows(given_patches), bank = with_dense_rows(given_bank);
  const int64_t count = patches.size(0);
  const Tensor distance = torch::stable::new_empty(patches, {count, k}, compute_dtype(element));
  const Tensor index = torch::stable::new_empty(patches, {count, k}, ScalarType::Long);
  if (count == 0) return {distance, index};

  const Rows bank_rows = rows_of(bank, "bank");
  const Tensor of_row = torch::stable::new_empty(bank, {bank_rows.count}, ScalarType::Float);
  const Tensor largest = torch::stable::new_zeros(bank, {1}, ScalarType::Int);
  const cuda::BankSquares squares = {of_row.mutable_data_ptr<float>(),
                                     static_cast<unsigned*>(largest.mutable_data_ptr())};
  void* const stream = device.stream();
  check(cuda::launch_bank_squares(bank_rows, squares, stream));

  const int64_t keep = whole(k + SPARE, cuda::KEPT), list_bytes = 8 * keep, exact_bytes = 8 * k + 4;
  const int64_t most = rows_within(WORKSPACE_BYTES, list_bytes + exact_bytes, cuda::PATCHES, count);
  const int64_t wanted = cuda::bank_shares(std::min(most, count), bank_rows.count);
  const int64_t bank_share = whole((bank_rows.count + wanted - 1) / wanted, cuda::BANK_ROWS);
  const int64_t shares = (bank_rows.count + bank_share - 1) / bank_share;
  const int64_t chunk = rows_within(WORKSPACE_BYTES, shares * list_bytes + exact_bytes, cuda::PATCHES, count);
  const Workspace<float> scores(patches, shares * chunk * keep), slack(patches, chunk);
  const Workspace<int32_t> rows(patches, shares * chunk * keep);
  const Workspace<double> exact(patches, chunk * k);
  const cuda::NearestLists lists = {scores.data, rows.data, slack.data, exact.data, k, keep, bank_share, shares};
  for (int64_t first = 0; first < count; first += chunk) {
    const int64_t length = std::min(chunk, count - first);
    const auto part = [=](Tensor of) { return torch::stable::narrow(of, 0, first, length); };
    const Tensor here = part(patches);
    const Rows patch_rows = rows_of(here, "patches");
    check(cuda::launch_search(patch_rows, bank_rows, squares, lists, stream));
    check(cuda::launch_settle(patch_rows, bank_rows, lists, part(distance).mutable_data_ptr(),
                              part(index).mutable_data_ptr<int64_t>(), stream));
  }
  return {distance, index};
}

ADTOOL_CUDA_OPERATORS(library) {
  library.impl("nearest_patch", TORCH_BOX(&nearest_patch));
}

}  // namespace
}  // namespace adtool
