// Inner products of patches with a packed bank, a register tile at a time, and what they say of the nearest rows; the
// tile never reaches memory. Then the exact distances of the few candidates.
#include "cpu/nearest_patch.h"
#include "row_distance.h"

namespace adtool::ADTOOL_BODY {
namespace {

constexpr int VECTORS = 2;
constexpr int COLUMNS = VECTORS * LANES<float>;  // bank rows of a tile
constexpr int TILE = BYTES == 64 ? 14 : 6;       // patches of a tile: what the registers hold
constexpr float INFINITE = __builtin_inff();
static_assert(PANEL % COLUMNS == 0 && STEP % TILE == 0);

// Rows begin .. begin + width as (depth, width), times `scale`; rows from `end` on are zero.
template <class S>
void pack(const Rows& rows, int64_t begin, int64_t end, int width, float scale, float* packed) {
  constexpr int64_t L = LANES<Compute<S>>;
  for (int64_t r = 0; r < width; ++r) {
    for (int64_t d = 0; d < rows.depth; d += L) {
      const int64_t n = rows.depth - d < L ? rows.depth - d : L;
      Compute<S> value[L] = {};
      if (begin + r < end) store(value, load(row_of<S>(rows, begin + r) + d, n));
      for (int64_t i = 0; i < n; ++i) packed[(d + i) * width + r] = scale * static_cast<float>(value[i]);
    }
  }
}

ADTOOL_INLINE unsigned lanes_below(Vec<float> score, float limit) {
#if ADTOOL_VECTOR_BYTES == 64
  return __builtin_ia32_cmpps512_mask(score, broadcast(limit), 1, -1, 4);
#elif ADTOOL_VECTOR_BYTES == 32
  return __builtin_ia32_movmskps256(bits<Vec<float>>(score < limit));
#elif defined(__SSE2__)
  return __builtin_ia32_movmskps(bits<Vec<float>>(score < limit));
#else
  unsigned below = 0;
  for (int lane = 0; lane < LANES<float>; ++lane) below |= unsigned{score[lane] < limit} << lane;
  return below;
#endif
}

void insert(const Candidates& candidates, int64_t patch, float score, int32_t row) {
  float* const scores = candidates.scores + patch * candidates.keep;
  int32_t* const rows = candidates.rows + patch * candidates.keep;
  int64_t place = candidates.keep - 1;
  for (; place > 0 && scores[place - 1] > score; --place) {
    scores[place] = scores[place - 1];
    rows[place] = rows[place - 1];
  }
  scores[place] = score;
  rows[place] = row;
  const float near = scores[candidates.k - 1] + candidates.slack[patch], last = scores[candidates.keep - 1];
  candidates.limit[patch] = near < last ? near : last;
}

// TILE packed patches against COLUMNS packed bank rows.
void meet(const float* patches, const float* columns, const float* squares, int64_t depth, int32_t first_row,
          const Candidates& candidates, int64_t patch, int64_t count) {
  Vec<float> product[TILE][VECTORS] = {};
  for (int64_t d = 0; d < depth; ++d, patches += TILE, columns += COLUMNS) {
#pragma GCC unroll 16
    for (int r = 0; r < TILE; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < VECTORS; ++v) product[r][v] += patches[r] * load(columns + v * LANES<float>);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < TILE; ++r) {
    if (r >= count) return;
    float scores[COLUMNS];
    uint64_t below = 0;
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; ++v) {
      const Vec<float> score = product[r][v] + load(squares + v * LANES<float>);
      store(scores + v * LANES<float>, score);
      below |= uint64_t{lanes_below(score, candidates.limit[patch + r])} << (v * LANES<float>);
    }
    for (; below != 0; below &= below - 1) {
      const int column = __builtin_ctzll(below);
      if (scores[column] >= candidates.limit[patch + r]) continue;  // it has fallen since
      insert(candidates, patch + r, scores[column], first_row + column);
    }
  }
}

// Nearer first, then the lower row; NaN after everything.
ADTOOL_INLINE bool before(double a, int64_t i, double b, int64_t j) {
  return a < b || (a == b && i < j) || (b != b && (a == a || i < j));
}

// The k nearest found so far, in order.
struct Nearest {
  double* squares;
  int64_t* rows;
  int64_t k, count = 0;

  void add(double square, int64_t row) {
    if (count == k && !before(square, row, squares[k - 1], rows[k - 1])) return;
    int64_t place = count < k ? count++ : k - 1;
    for (; place > 0 && before(square, row, squares[place - 1], rows[place - 1]); --place) {
      squares[place] = squares[place - 1];
      rows[place] = rows[place - 1];
    }
    squares[place] = square;
    rows[place] = row;
  }
};

template <class S>
void measure(const Rows& patches, int64_t patch, const Rows& bank, const Candidates& candidates, int64_t slot,
             Nearest nearest) {
  const float* scores = candidates.scores + slot * candidates.keep;
  const int32_t* rows = candidates.rows + slot * candidates.keep;
  const float kth = scores[candidates.k - 1], slack = candidates.slack[slot];
  const S* const x = row_of<S>(patches, patch);
  if (scores[candidates.keep - 1] - kth > slack) {
    for (int64_t i = 0; i < candidates.keep && scores[i] <= kth + slack; ++i) {
      nearest.add(squared_distance<double>(x, row_of<S>(bank, rows[i]), bank.depth), rows[i]);
    }
  } else {  // more near-ties than candidates kept, or values that are not finite: look at every row
    for (int64_t row = 0; row < bank.count; ++row) {
      nearest.add(squared_distance<double>(x, row_of<S>(bank, row), bank.depth), row);
    }
  }
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
      pack<decltype(storage)>(bank, begin + i, end, COLUMNS, 1, columns + i * bank.depth);
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
      // twice the rounding of 2 <x, b> in depth + 8 steps of 2^-24 each, and of |b|^2; underflow apart
      const double rounding = 0x1p-22 * largest * ((patches.depth + 8) * norm + 2 * largest);
      candidates.slack[slot] = static_cast<float>(rounding + 0x1p-120 * patches.depth);
      candidates.limit[slot] = INFINITE;
    }
  });
}

// Patches begin .. end meet the packed rows; `packed` has room for them in multiples of STEP.
void nearest_scan(const Rows& patches, int64_t begin, int64_t end, const PackedBank& bank, float* packed,
                  const Candidates& candidates) {
  with_storage(patches.element, [&](auto storage) {
    for (int64_t i = begin; i < end; i += TILE) {
      pack<decltype(storage)>(patches, i, end, TILE, -2, packed + (i - begin) * patches.depth);
    }
  });
  for (int64_t j = 0; j < bank.count; j += COLUMNS) {
    for (int64_t i = 0; i < end - begin; i += TILE) {
      meet(packed + i * patches.depth, bank.columns + j * patches.depth, bank.squares + j, patches.depth,
           static_cast<int32_t>(bank.first + j), candidates, i, end - begin - i);
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
