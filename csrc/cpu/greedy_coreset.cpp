// k-centre greedy picks. Which patches are looked at depends on the blocks alone, not on the threads that share them.
#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "cpu/greedy_coreset.h"
#include "instruction_set.h"
#include "row_tensors.h"

namespace adtool {

using Farthest = int64_t(const Cover&, int64_t, int64_t, int64_t, Far&);
ADTOOL_BODIES(coreset_farthest, Farthest)

namespace {

constexpr int64_t BLOCK = 1 << 14;          // patches that a thread takes at a time
constexpr int64_t WORTH_SHARING = 1 << 23;  // elements to read, about 1 ms; below that threads cost more than they save

template <class T>
void pick(const Rows& patches, T* distance, int32_t* seen, int64_t* picks, int64_t begin, int64_t end) {
  const int64_t threads = torch::stable::get_num_threads(), blocks = (patches.count + BLOCK - 1) / BLOCK;
  const Cover cover = {patches, picks, distance, seen};
  std::vector<Far> farthest(blocks);                 // of each block
  std::vector<int64_t> work(blocks, WORTH_SHARING);  // elements each block read for the last pick
  for (int64_t i = 0; i < begin; ++i) distance[picks[i]] = -1;
  for (int64_t count = begin; count < end; ++count) {
    const bool share = std::accumulate(work.begin(), work.end(), patches.count / 8) >= WORTH_SHARING;
    for_blocks(patches.count, BLOCK, share ? threads : 1, [&](int64_t first, int64_t stop, int64_t) {
      const int64_t block = first / BLOCK;
      farthest[block] = {0, patches.count};
      work[block] = patches.depth * coreset_farthest_body()(cover, first, stop, count, farthest[block]);
    });
    const Far& far = *std::max_element(farthest.begin(), farthest.end(), [](const Far& one, const Far& other) {
      return one.distance < other.distance || (one.distance == other.distance && one.row > other.row);
    });
    STD_TORCH_CHECK(far.row < patches.count, "distance: every patch counts as picked");
    picks[count] = far.row;
    distance[far.row] = -1;
  }
}

// `count` picks after `picked`; `distance` and `seen` are as in Cover, and updated.
Tensor greedy_coreset_step(const Tensor& given, const Tensor& picked, Tensor distance, Tensor seen, int64_t count) {
  STD_TORCH_CHECK(given.dim() == 2 && given.size(0) > 0, "patches: expected (P, D) with P > 0, got ", shape_of(given));
  const int64_t begin = picked.numel(), end = begin + count, rows = given.size(0);
  STD_TORCH_CHECK(
      picked.dim() == 1 && begin > 0 && count >= 0 && end <= rows && picked.scalar_type() == ScalarType::Long,
      "picked: expected 1 to ", rows, " - ", count, " int64 indices, got ", shape_of(picked));
  const Tensor patches = with_dense_rows(given), before = torch::stable::contiguous(picked);
  const Rows patch_rows = rows_of(patches, "patches");
  const bool wide = patch_rows.element == Element::float64;
  STD_TORCH_CHECK(distance.dim() == 1 && distance.size(0) == rows && distance.is_contiguous() &&
                      distance.scalar_type() == (wide ? ScalarType::Double : ScalarType::Float),
                  "distance: expected ", rows, " squared distances, got ", shape_of(distance));
  STD_TORCH_CHECK(
      seen.dim() == 1 && seen.size(0) == rows && seen.is_contiguous() && seen.scalar_type() == ScalarType::Int,
      "seen: expected ", rows, " int32 counts of picks, got ", shape_of(seen));
  const Tensor picks = torch::stable::new_empty(before, {end});
  int64_t* const index = picks.mutable_data_ptr<int64_t>();
  int32_t* const counts = seen.mutable_data_ptr<int32_t>();
  std::copy_n(before.const_data_ptr<int64_t>(), begin, index);
  for (int64_t i = 0; i < begin; ++i) {
    STD_TORCH_CHECK(index[i] >= 0 && index[i] < rows, "picked: expected rows of patches, got ", index[i]);
  }
  for (int64_t i = 0; i < rows; ++i) STD_TORCH_CHECK(counts[i] >= 0, "seen: expected counts, got ", counts[i]);
  if (wide) {
    pick(patch_rows, distance.mutable_data_ptr<double>(), counts, index, begin, end);
  } else {
    pick(patch_rows, distance.mutable_data_ptr<float>(), counts, index, begin, end);
  }
  return picks;
}

Tensor greedy_coreset(const Tensor& patches, int64_t first, int64_t n) {
  STD_TORCH_CHECK(patches.dim() == 2, "patches: expected (P, D), got ", shape_of(patches));
  STD_TORCH_CHECK(n >= 1, "n: expected at least 1, got ", n);
  const bool wide = element_of(patches, "patches") == Element::float64;
  Tensor distance = torch::stable::new_empty(patches, {patches.size(0)}, wide ? ScalarType::Double : ScalarType::Float);
  Tensor seen = torch::stable::new_zeros(patches, {patches.size(0)}, ScalarType::Int);
  Tensor picked = torch::stable::new_empty(patches, {1}, ScalarType::Long);
  torch::stable::fill_(distance, std::numeric_limits<double>::infinity());
  picked.mutable_data_ptr<int64_t>()[0] = first;
  return greedy_coreset_step(patches, picked, distance, seen, n - 1);
}

STABLE_TORCH_LIBRARY_IMPL(adtool, CPU, library) {
  library.impl("greedy_coreset_step", TORCH_BOX(&greedy_coreset_step));
  library.impl("greedy_coreset", TORCH_BOX(&greedy_coreset));
}

}  // namespace
}  // namespace adtool
