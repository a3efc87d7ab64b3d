// Inner products of patches with a packed bank, a register tile at a time, and what they say of the nearest rows; the
// tile never reaches memory. Then the exact distances of the few candidates.
#include "row_product.h"

namespace adtool::ADTOOL_BODY {
namespace {

template <class S>
void measure(const Rows& patches, int64_t patch, const Rows& bank, const Candidates& candidates, int64_t slot,
             Nearest nearest) {
  const S* const x = row_of<S>(patches, patch);
  order(candidates, slot, bank.count, nearest,
        [&](int64_t row) { return squared_distance<double>(x, row_of<S>(bank, row), bank.depth); });
}

}  // namespace

// |b|^2 of the rows begin .. end.
void nearest_squares(const Rows& bank, int64_t begin, int64_t end, double* squares) {
  with_storage(bank.element, [&](auto storage) {
    using S = decltype(storage);
    for (int64_t i = begin; i < end; ++i) squares[i] = squared_length<double>(row_of<S>(bank, i), bank.depth);
  });
}

// The rows begin .. begin + PANEL as (depth, COLUMNS) panels; rows from `end` on are zero.
void nearest_pack(const Rows& bank, int64_t begin, int64_t end, float* columns) {
  with_storage(bank.element, [&](auto storage) {
    for (int64_t i = 0; i < PANEL; i += COLUMNS) {
      pack<COLUMNS, decltype(storage)>(bank, begin + i, end, [](int64_t) { return 1.0; }, columns + i * bank.depth);
    }
  });
}

// Starts the candidates of patches begin .. end, the first of them in slot 0; `largest` is the length of the longest
// row.
void nearest_start(const Rows& patches, int64_t begin, int64_t end, double largest, const Candidates& candidates) {
  with_storage(patches.element, [&](auto storage) {
    using S = decltype(storage);
    for (int64_t slot = 0; slot < end - begin; ++slot) {
      for (int64_t i = 0; i < candidates.keep; ++i) candidates.scores[slot * candidates.keep + i] = INFINITE;
      const double norm = __builtin_sqrt(squared_length<double>(row_of<S>(patches, begin + slot), patches.depth));
      candidates.slack[slot] = slack_of(patches.depth, norm, largest);
      candidates.limit[slot] = INFINITE;
    }
  });
}

// Patches begin .. end meet the packed rows; `packed` has room for them in multiples of STEP.
void nearest_scan(const Rows& patches, int64_t begin, int64_t end, const PackedColumns& bank, float* packed,
                  const Candidates& candidates) {
  with_storage(patches.element, [&](auto storage) {
    for (int64_t i = begin; i < end; i += TILE) {
      pack<TILE, decltype(storage)>(
          patches, i, end, [](int64_t) { return -2.0; }, packed + (i - begin) * patches.depth);
    }
  });
  for (int64_t j = 0; j < bank.count; j += COLUMNS) {
    const auto score = [=](int, int v, Vec<float> product) {
      return product + load(bank.offsets + j + v * LANES<float>);
    };
    for (int64_t i = 0; i < end - begin; i += TILE) {
      meet(packed + i * patches.depth, bank.columns + j * patches.depth, patches.depth, bank.first + j, candidates, i,
           end - begin - i, score);
    }
  }
}

// Squared distances (end - begin, k) and bank rows of the nearest.
void nearest_measure(const Rows& patches, int64_t begin, int64_t end, const Rows& bank, const Candidates& candidates,
                     double* squares, int64_t* rows) {
  with_storage(patches.element, [&](auto storage) {
    for (int64_t i = 0; i < end - begin; ++i) {
      const Nearest nearest{squares + i * candidates.k, rows + i * candidates.k, candidates.k};
      measure<decltype(storage)>(patches, begin + i, bank, candidates, i, nearest);
    }
  });
}

}  // namespace adtool::ADTOOL_BODY
