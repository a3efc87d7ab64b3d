// Nearest bank rows: how the work is cut so that memory stays within a fixed budget, and how threads share it.
#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <vector>

#include "candidates.h"
#include "instruction_set.h"
#include "row_tensors.h"

namespace adtool {

using SquaresOf = void(const Rows&, int64_t, int64_t, double*);
using Pack = void(const Rows&, int64_t, int64_t, float*);
using Start = void(const Rows&, int64_t, int64_t, double, const Candidates&);
using Scan = void(const Rows&, int64_t, int64_t, const PackedColumns&, float*, const Candidates&);
using Measure = void(const Rows&, int64_t, int64_t, const Rows&, const Candidates&, double*, int64_t*);
ADTOOL_BODIES(nearest_squares, SquaresOf)
ADTOOL_BODIES(nearest_pack, Pack)
ADTOOL_BODIES(nearest_start, Start)
ADTOOL_BODIES(nearest_scan, Scan)
ADTOOL_BODIES(nearest_measure, Measure)

namespace {

constexpr int64_t SPARE = 7;  // candidates beyond k at least, for scores that rounding leaves in doubt
constexpr int64_t BANK_BYTES = int64_t{16} << 20;    // packed bank rows at a time
constexpr int64_t LIST_BYTES = int64_t{8} << 20;     // candidates at a time
constexpr int64_t BLOCK_BYTES = int64_t{256} << 10;  // packed patches of a thread, which stay in its second-level cache
constexpr int64_t PRODUCTS_PER_THREAD = 1 << 22;     // with fewer, another thread costs more than it saves

struct Squares {
  std::vector<float> values;  // |b|^2, infinite where a row is not finite and beyond the end
  double largest = 0;         // |b| of the longest finite row
};

Squares squares_of(const Rows& bank, int64_t threads) {
  std::vector<double> exact(bank.count);
  for_blocks(bank.count, 256, threads,
             [&](int64_t begin, int64_t end, int64_t) { nearest_squares_body()(bank, begin, end, exact.data()); });
  Squares squares;
  squares.values.resize(whole(bank.count, PANEL), std::numeric_limits<float>::infinity());
  for (int64_t i = 0; i < bank.count; ++i) {
    if (!std::isfinite(exact[i])) continue;
    squares.values[i] = static_cast<float>(exact[i]);
    squares.largest = std::max(squares.largest, std::sqrt(exact[i]));
  }
  return squares;
}

template <class T>
void search(const Tensor& like, const Rows& patches, const Rows& bank, int64_t k, T* distance, int64_t* index) {
  const int64_t keep = whole(k + SPARE, KEPT), row_bytes = 4 * (bank.depth + 1);
  const int64_t worth = 1 + patches.count * bank.count * bank.depth / PRODUCTS_PER_THREAD;
  const int64_t threads = std::min<int64_t>(torch::stable::get_num_threads(), worth);
  const int64_t part = rows_within(BANK_BYTES, row_bytes, PANEL, bank.count);
  const int64_t chunk = rows_within(LIST_BYTES, 8 * (keep + 1), STEP, patches.count);
  const int64_t block = rows_within(BLOCK_BYTES, row_bytes, STEP, std::min(patches.count, chunk) / (4 * threads));
  const Squares squares = squares_of(bank, threads);
  const Workspace<float> columns(like, part * bank.depth), packed(like, threads * block * bank.depth);
  const Workspace<float> scores(like, chunk * keep), limit(like, chunk), slack(like, chunk);
  const Workspace<int32_t> rows(like, chunk * keep);
  const Workspace<double> exact(like, threads * block * k);

  for (int64_t first = 0; first < patches.count; first += chunk) {
    for (int64_t bank_first = 0; bank_first < bank.count; bank_first += part) {
      const int64_t bank_end = std::min(bank_first + part, bank.count);
      for_blocks(bank_end - bank_first, PANEL, threads, [&](int64_t begin, int64_t, int64_t) {
        nearest_pack_body()(bank, bank_first + begin, bank_end, columns.data + begin * bank.depth);
      });
      const PackedColumns panels = {columns.data, squares.values.data() + bank_first, bank_first,
                                    bank_end - bank_first};
      for_blocks(std::min(chunk, patches.count - first), block, threads, [&](int64_t b, int64_t e, int64_t worker) {
        const Candidates list = {scores.data + b * keep, limit.data + b, slack.data + b, rows.data + b * keep, k, keep};
        const int64_t begin = first + b, end = first + e;
        if (bank_first == 0) nearest_start_body()(patches, begin, end, squares.largest, list);
        nearest_scan_body()(patches, begin, end, panels, packed.data + worker * block * bank.depth, list);
        if (bank_end < bank.count) return;
        double* const found = exact.data + worker * block * k;
        nearest_measure_body()(patches, begin, end, bank, list, found, index + begin * k);
        for (int64_t i = 0; i < (end - begin) * k; ++i) distance[begin * k + i] = static_cast<T>(std::sqrt(found[i]));
      });
    }
  }
}

std::tuple<Tensor, Tensor> nearest_patch(const Tensor& given_patches, const Tensor& given_bank, int64_t k) {
  STD_TORCH_CHECK(given_patches.dim() == 2 && given_bank.dim() == 2 && given_patches.size(1) == given_bank.size(1),
                  "patches and bank: expected (P, D) and (M, D), got ", shape_of(given_patches), " and ",
                  shape_of(given_bank));
  STD_TORCH_CHECK(given_patches.scalar_type() == given_bank.scalar_type(),
                  "bank: expected the element type of patches");
  STD_TORCH_CHECK(k >= 1 && k <= given_bank.size(0), "k: expected 1 to the ", given_bank.size(0), " rows of bank, got ",
                  k);
  STD_TORCH_CHECK(given_bank.size(0) < INT32_MAX - PANEL, "bank: expected fewer than 2^31 rows, got ",
                  given_bank.size(0));
  const Tensor patches = with_dense_rows(given_patches), bank = with_dense_rows(given_bank);
  const Rows patch_rows = rows_of(patches, "patches"), bank_rows = rows_of(bank, "bank");
  const bool wide = patch_rows.element == Element::float64;
  const auto distance =
      torch::stable::new_empty(patches, {patches.size(0), k}, wide ? ScalarType::Double : ScalarType::Float);
  const auto index = torch::stable::new_empty(patches, {patches.size(0), k}, ScalarType::Long);
  int64_t* const rows = index.mutable_data_ptr<int64_t>();
  if (wide) {
    search(patches, patch_rows, bank_rows, k, distance.mutable_data_ptr<double>(), rows);
  } else {
    search(patches, patch_rows, bank_rows, k, distance.mutable_data_ptr<float>(), rows);
  }
  return {distance, index};
}

STABLE_TORCH_LIBRARY_IMPL(adtool, CPU, library) {
  library.impl("nearest_patch", TORCH_BOX(&nearest_patch));
}

}  // namespace
}  // namespace adtool
