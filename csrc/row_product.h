// Inner products of rows with packed columns, a register tile at a time, and the smallest scores of each row; the tile
// never reaches memory. For vector bodies.
#pragma once

#include "candidates.h"
#include "lanes.h"
#include "nearest.h"
#include "order_keys.h"
#include "row_distance.h"

namespace adtool::ADTOOL_BODY {

constexpr int VECTORS = 2;
constexpr int COLUMNS = VECTORS * LANES<float>;  // of a tile
constexpr int TILE = BYTES == 64 ? 14 : 6;       // rows of a tile: what the registers hold
constexpr float INFINITE = __builtin_inff();
static_assert(PANEL % COLUMNS == 0 && STEP % TILE == 0 && KEPT % LANES<float> == 0);

// The first N lanes, in as few pieces as their halves make.
template <int N, int L = LANES<float>>
ADTOOL_INLINE void store_first(float* to, Lanes<float, L> value) {
  if constexpr (N >= L) {
    write<L>(to, value);
  } else if constexpr (N > 0 && L > 1) {
    const auto halves = bits<Pair<Lanes<float, L / 2>>>(value);
    store_first<N, L / 2>(to, halves.low);
    store_first<N - L / 2, L / 2>(to + L / 2, halves.high);
  }
}

// Rows begin .. begin + WIDTH as (depth, WIDTH), row begin + r times scale(r); rows from `end` on are zero.
template <int WIDTH, class S, class Scale>
void pack_slowly(const Rows& rows, int64_t begin, int64_t end, const Scale& scale, float* packed) {
  for (int64_t r = 0; r < WIDTH; ++r) {
    const S* const row = row_of<S>(rows, begin + r);
    for (int64_t d = 0; d < rows.depth; ++d) {
      const double value = begin + r < end ? load_as<double>(row + d * rows.depth_stride, 1)[0] * scale(r) : 0;
      packed[d * WIDTH + r] = static_cast<float>(value);
    }
  }
}

template <int WIDTH, class S, class Scale>
void pack_in_vectors(const Rows& rows, int64_t begin, int64_t end, const Scale& scale, float* packed) {
  constexpr int64_t L = LANES<float>;
  constexpr int REST = WIDTH % L;
  for (int64_t first = 0; first < WIDTH; first += L) {
    const int64_t left = end - begin - first, wanted = left < L ? left : L;
    float* const to = packed + first;
    const auto put = [=](int64_t d, Vec<float> value) {
      if (first + L <= WIDTH) {
        store(to + d * WIDTH, value);
      } else {
        store_first<REST>(to + d * WIDTH, value);
      }
    };
    if (wanted <= 0) {
      for (int64_t d = 0; d < rows.depth; ++d) put(d, Vec<float>{});
    } else if (rows.depth_stride == 1) {
      for (int64_t d = 0; d < rows.depth; d += L) {
        const int64_t n = rows.depth - d < L ? rows.depth - d : L;
        Vec<float> square[L] = {};
        for (int64_t r = 0; r < (WIDTH - first < wanted ? WIDTH - first : wanted); ++r) {
          square[r] = load(row_of<S>(rows, begin + first + r) + d, n) * static_cast<float>(scale(first + r));
        }
        transpose<float>(square);
        for (int64_t i = 0; i < n; ++i) put(d + i, square[i]);
      }
    } else {
      float factors[L] = {};
      for (int64_t r = 0; r < (WIDTH - first < wanted ? WIDTH - first : wanted); ++r) {
        factors[r] = static_cast<float>(scale(first + r));
      }
      const Vec<float> factor = load(factors);
      const S* const from = row_of<S>(rows, begin + first);
      for (int64_t d = 0; d < rows.depth; ++d) put(d, load(from + d * rows.depth_stride, wanted) * factor);
    }
  }
}

// In float64 where the numbers, or the factors that the rows are multiplied with, may be too large or small for
// float32.
template <int WIDTH, class S, class Scale>
void pack(const Rows& rows, int64_t begin, int64_t end, const Scale& scale, float* packed) {
  bool ordinary = sizeof(Compute<S>) == sizeof(float) && (rows.depth_stride == 1 || rows.stride == 1);
  for (int64_t r = 0; r < WIDTH && begin + r < end; ++r) {
    const double size = __builtin_fabs(scale(r));
    ordinary = ordinary && (size == 0 || !(size < 1e-30 || size > 1e30));
  }
  if constexpr (sizeof(Compute<S>) == sizeof(float)) {
    if (ordinary) return pack_in_vectors<WIDTH, S>(rows, begin, end, scale, packed);
  }
  pack_slowly<WIDTH, S>(rows, begin, end, scale, packed);
}

// TILE packed rows times COLUMNS packed columns.
ADTOOL_INLINE void multiply(const float* rows, const float* columns, int64_t depth,
                            Vec<float> (&product)[TILE][VECTORS]) {
#pragma GCC unroll 16
  for (int r = 0; r < TILE; ++r) {
    for (int v = 0; v < VECTORS; ++v) product[r][v] = Vec<float>{};
  }
  for (int64_t d = 0; d < depth; ++d, rows += TILE, columns += COLUMNS) {
#pragma GCC unroll 16
    for (int r = 0; r < TILE; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < VECTORS; ++v) product[r][v] += rows[r] * load(columns + v * LANES<float>);
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

// The lanes moved up by one, `first` before them.
template <class V, class T, int... I>
ADTOOL_INLINE V after(T first, V lanes, Sequence<I...>) {
  return __builtin_shufflevector(V{} + first, lanes, (int{sizeof...(I)} - 1 + I)...);
}

struct Scored {  // scores by their keys, and whose they are
  IntVec<float> key, column;
};

// Lanes i and i ^ J in order: ascending where the bit K of i is 0, else descending.
template <int J, int K, int... I>
ADTOOL_INLINE Scored exchange(Scored list, Sequence<I...>) {
  const Scored other = {__builtin_shufflevector(list.key, list.key, (I ^ J)...),
                        __builtin_shufflevector(list.column, list.column, (I ^ J)...)};
  const IntVec<float> ascending = {(((I & J) == 0) == ((I & K) == 0) ? -1 : 0)...};
  const IntVec<float> lower = other.key < list.key ? other.key : list.key;
  const IntVec<float> upper = other.key > list.key ? other.key : list.key;
  const IntVec<float> key = ascending ? lower : upper;
  return {key, key == list.key ? list.column : other.column};
}

// Batcher's bitonic network: lanes J, J / 2, .. apart, ascending and descending in turns of K lanes.
template <int J, int K>
ADTOOL_INLINE Scored merged(Scored list) {
  if constexpr (J == 0) {
    return list;
  } else {
    return merged<J / 2, K>(exchange<J, K>(list, typename sequence_to<LANES<float>>::type{}));
  }
}
template <int K = 2>
ADTOOL_INLINE Scored sorted(Scored list) {
  if constexpr (K > LANES<float>) {
    return list;
  } else {
    return sorted<2 * K>(merged<K / 2, K>(list));
  }
}
template <class V, int... I>
ADTOOL_INLINE V reversed(V lanes, Sequence<I...>) {
  return __builtin_shufflevector(lanes, lanes, (int{sizeof...(I)} - 1 - I)...);
}

ADTOOL_INLINE void update_limit(const Candidates& candidates, int64_t row) {
  const float* const scores = candidates.scores + row * candidates.keep;
  const float near = scores[candidates.k - 1] + candidates.slack[row], last = scores[candidates.keep - 1];
  candidates.limit[row] = near < last ? near : last;
}

// Puts a vector of scores in their places, and drops as many at the end.
__attribute__((noinline)) inline void insert_all(const Candidates& candidates, int64_t row, const float* scores,
                                                 int32_t first_column) {
  constexpr int L = LANES<float>;
  const typename sequence_to<L>::type lanes;
  IntVec<float> column;
  for (int i = 0; i < L; ++i) column[i] = i;
  const Vec<float> score = load(scores);
  const Vec<float> wanted = score < candidates.limit[row] ? score : broadcast(INFINITE);
  Scored in = sorted(Scored{key_of<float>(wanted), column + first_column});
  for (int64_t place = row * candidates.keep; place < (row + 1) * candidates.keep; place += L) {
    in = {reversed(in.key, lanes), reversed(in.column, lanes)};
    const IntVec<float> key = key_of<float>(load(candidates.scores + place));
    const IntVec<float> old = fetch<IntVec<float>>(candidates.rows + place);
    const IntVec<float> lower = in.key < key ? in.key : key, upper = in.key > key ? in.key : key;
    const Scored list = merged<L / 2, L>({lower, in.key < key ? in.column : old});
    store(candidates.scores + place, number_of<float>(list.key));
    __builtin_memcpy(candidates.rows + place, &list.column, sizeof(list.column));
    if (place + L < (row + 1) * candidates.keep) in = merged<L / 2, L>({upper, in.key < key ? old : in.column});
  }
  update_limit(candidates, row);
}

// Puts a score in its place and drops the last.
__attribute__((noinline)) inline void insert(const Candidates& candidates, int64_t row, float score, int32_t column) {
  constexpr int64_t L = LANES<float>;
  const typename sequence_to<L>::type lanes;
  float* const scores = candidates.scores + row * candidates.keep;
  int32_t* const columns = candidates.rows + row * candidates.keep;
  for (int64_t place = candidates.keep - L;; place -= L) {
    const Vec<float> old = load(scores + place);
    const IntVec<float> old_column = fetch<IntVec<float>>(columns + place);
    const Vec<float> moved = after(place > 0 ? scores[place - 1] : -INFINITE, old, lanes);
    const IntVec<float> moved_column = after(place > 0 ? columns[place - 1] : 0, old_column, lanes);
    store(scores + place, old <= score ? old : moved <= score ? broadcast(score) : moved);
    const IntVec<float> now = old <= score ? old_column : moved <= score ? IntVec<float>{} + column : moved_column;
    __builtin_memcpy(columns + place, &now, sizeof(now));
    if (place == 0 || scores[place - 1] <= score) break;
  }
  update_limit(candidates, row);
}

// Shows the packed rows of one tile, `count` of them from `row` on, to COLUMNS packed columns from `column` on.
// score(r, v, product) makes scores of the products of vector v with the r-th row.
template <class Score>
ADTOOL_INLINE void meet(const float* rows, const float* columns, int64_t depth, int64_t column,
                        const Candidates& candidates, int64_t row, int64_t count, const Score& score) {
  constexpr int L = LANES<float>, MANY = 3;  // scores that are sorted together sooner than one by one
  alignas(BYTES) float scores[TILE][COLUMNS];
  unsigned below[TILE][VECTORS] = {};  // which score below the limit
  {
    Vec<float> product[TILE][VECTORS];
    multiply(rows, columns, depth, product);
#pragma GCC unroll 16
    for (int r = 0; r < TILE; ++r) {
      if (r >= count) break;
#pragma GCC unroll 2
      for (int v = 0; v < VECTORS; ++v) {
        const Vec<float> value = score(r, v, product[r][v]);
        store(scores[r] + v * L, value);
        below[r][v] = lanes_below(value, candidates.limit[row + r]);
      }
    }
  }
  for (int i = 0; i < TILE * VECTORS; ++i) {
    const int r = i / VECTORS, v = i % VECTORS;
    unsigned these = below[r][v];
    if (these == 0) continue;
    const int32_t first = static_cast<int32_t>(column + v * L);
    if (__builtin_popcount(these) >= MANY) {
      insert_all(candidates, row + r, scores[r] + v * L, first);
      continue;
    }
    for (; these != 0; these &= these - 1) {
      const int lane = __builtin_ctz(these);
      insert(candidates, row + r, scores[r][v * L + lane], first + lane);
    }
  }
}

// Offers `exact(i)`, the exact distance of row i out of `count`, of every candidate that may be among the k nearest.
// Where rounding leaves more of them than were kept, or values are not finite, of every row.
template <class Exact>
void order(const Candidates& candidates, int64_t slot, int64_t count, Nearest nearest, const Exact& exact) {
  const float* scores = candidates.scores + slot * candidates.keep;
  const int32_t* rows = candidates.rows + slot * candidates.keep;
  const float kth = scores[candidates.k - 1], slack = candidates.slack[slot];
  if (scores[candidates.keep - 1] - kth > slack) {
    for (int64_t i = 0; i < candidates.keep && scores[i] <= kth + slack; ++i) nearest.add(exact(rows[i]), rows[i]);
  } else {
    for (int64_t row = 0; row < count; ++row) nearest.add(exact(row), row);
  }
}

}  // namespace adtool::ADTOOL_BODY
