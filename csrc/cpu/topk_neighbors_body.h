// Cosines of queries with packed keys, less those of positions, as in csrc/row_product.h; the score is the negative.
#include "cpu/topk_neighbors.h"
#include "row_product.h"

namespace adtool::ADTOOL_BODY {
namespace {

constexpr double ROUND = 0x1.8p12;  // adding it and taking it off leaves multiples of 2^-40

ADTOOL_INLINE double reciprocal_length(double square) {
  return square == 0 ? 0 : 1 / __builtin_sqrt(square);
}

// Of `count` neighbouring rows, at most U vectors of them, whose columns lie side by side.
template <int U, class S>
ADTOOL_INLINE void measure_columns(const S* row, const Rows& rows, int64_t count, double* reciprocals) {
  constexpr int64_t L = LANES<double>;
  Vec<double> squares[U] = {};
  for (int64_t d = 0; d < rows.depth; ++d) {
    for (int u = 0; u < U; ++u) {
      const Vec<double> value = load_as<double>(row + d * rows.depth_stride + u * L, U > 1 ? L : count);
      squares[u] += value * value;
    }
  }
  for (int64_t i = 0; i < count; ++i) reciprocals[i] = reciprocal_length(squares[i / L][i % L]);
}

template <class S>
void measure(const UnitRows& unit, int64_t begin, int64_t end) {
  constexpr int64_t L = LANES<double>;
  constexpr int U = 4;
  const Rows& rows = unit.rows;
  int64_t i = begin;
  if (rows.depth_stride == 1) {
    for (; i < end; ++i)
      unit.reciprocals[i] = reciprocal_length(squared_length<double>(row_of<S>(rows, i), rows.depth));
  }
  for (; i + U * L <= end; i += U * L) measure_columns<U>(row_of<S>(rows, i), rows, U * L, unit.reciprocals + i);
  for (; i < end; i += L) {
    measure_columns<1>(row_of<S>(rows, i), rows, end - i < L ? end - i : L, unit.reciprocals + i);
  }
}

void measure(const UnitRows& unit, int64_t begin, int64_t end) {
  with_storage(unit.rows.element, [&](auto storage) { measure<decltype(storage)>(unit, begin, end); });
}

template <class S>
ADTOOL_INLINE double element(S stored) {
  if constexpr (sizeof(S) < sizeof(float)) {
    return load_as<double>(&stored, 1)[0];
  } else {
    return stored;
  }
}

// In float64: to about 1e-15, and the same for equal rows.
template <class S>
double cosine(const UnitRows& a, int64_t i, const UnitRows& b, int64_t j) {
  const S *const x = row_of<S>(a.rows, i), *const y = row_of<S>(b.rows, j);
  const double p = a.reciprocals[i], q = b.reciprocals[j];
  if (a.rows.depth_stride == 1 && b.rows.depth_stride == 1) {
    constexpr int64_t L = LANES<double>;
    return sum_lanes<double>(sum_over<Vec<double>, L>(a.rows.depth, [=](int64_t d, int64_t n) {
      return (load_as<double>(x + d, n) * p) * (load_as<double>(y + d, n) * q);
    }));
  }
  double sum[4] = {};
  for (int64_t d = 0; d < a.rows.depth; ++d) {
    sum[d % 4] += (element(x[d * a.rows.depth_stride]) * p) * (element(y[d * b.rows.depth_stride]) * q);
  }
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

double cosine(const UnitRows& a, int64_t i, const UnitRows& b, int64_t j) {
  double result = 0;
  with_storage(a.rows.element, [&](auto storage) { result = cosine<decltype(storage)>(a, i, b, j); });
  return result;
}

// The k nearest in order: index (k). exact(i), the exact score of row i out of `count`, settles what rounding leaves in
// doubt: the order of near-ties or, where there are more of them than were kept or too few numbers, that of all rows.
template <class Exact>
void settle(const Candidates& candidates, int64_t slot, int64_t count, double* distances, int64_t* index,
            const Exact& exact) {
  const int64_t k = candidates.k;
  const float* const scores = candidates.scores + slot * candidates.keep;
  const int32_t* const rows = candidates.rows + slot * candidates.keep;
  for (int64_t i = 0, end; i < k; i = end) {
    for (end = i + 1; end < candidates.keep && scores[end] - scores[end - 1] <= candidates.slack[slot];) ++end;
    if (end == candidates.keep || !(scores[k - 1] < INFINITE)) {
      Nearest nearest{distances, index, k};
      for (int64_t row = 0; row < count; ++row) nearest.add(exact(row), row);
      return;
    }
    Nearest nearest{distances, index + i, k - i < end - i ? k - i : end - i};
    for (int64_t j = i; j < end; ++j) nearest.add(end - i > 1 ? exact(rows[j]) : 0, rows[j]);
  }
}

template <int WIDTH>
void pack_unit(const UnitRows& unit, int64_t begin, int64_t end, double sign, float* packed) {
  with_storage(unit.rows.element, [&](auto storage) {
    pack<WIDTH, decltype(storage)>(
        unit.rows, begin, end, [&](int64_t r) { return sign * unit.reciprocals[begin + r]; }, packed);
  });
}

}  // namespace

// The rows begin .. begin + PANEL, fewer before `end`, as unit vectors in (depth, COLUMNS) panels, and their lengths.
void neighbors_pack(const UnitRows& keys, int64_t begin, int64_t end, float* columns) {
  measure(keys, begin, begin + PANEL < end ? begin + PANEL : end);
  for (int64_t i = 0; i < PANEL; i += COLUMNS) {
    pack_unit<COLUMNS>(keys, begin + i, end, 1, columns + i * keys.rows.depth);
  }
}

// Cosines of the rows begin .. end with packed columns, to `similar` (row, column).
void neighbors_similar(const UnitRows& rows, int64_t begin, int64_t end, const PackedColumns& columns, float* packed,
                       float* similar, int64_t similar_stride) {
  const int64_t depth = rows.rows.depth;
  measure(rows, begin, end);
  for (int64_t i = begin; i < end; i += TILE) pack_unit<TILE>(rows, i, end, 1, packed + (i - begin) * depth);
  for (int64_t j = 0; j < columns.count; j += COLUMNS) {
    for (int64_t i = 0; i < end - begin; i += TILE) {
      Vec<float> product[TILE][VECTORS];
      multiply(packed + i * depth, columns.columns + j * depth, depth, product);
#pragma GCC unroll 16
      for (int r = 0; r < TILE; ++r) {
        if (i + r >= end - begin) break;
        for (int v = 0; v < VECTORS; ++v) {
          store(similar + (i + r) * similar_stride + j + v * LANES<float>, product[r][v]);
        }
      }
    }
  }
}

// Starts the candidates of `count` rows.
void neighbors_start(int64_t count, float slack, const Candidates& candidates) {
  for (int64_t i = 0; i < count * candidates.keep; ++i) candidates.scores[i] = INFINITE;
  for (int64_t i = 0; i < count; ++i) {
    candidates.limit[i] = INFINITE;
    candidates.slack[i] = slack;
  }
}

// The queries begin .. end meet the packed keys; `packed` has room for them in multiples of STEP.
void neighbors_scan(const UnitRows& queries, int64_t begin, int64_t end, const PackedKeys& keys, float* packed,
                    const Candidates& candidates) {
  const int64_t depth = queries.rows.depth;
  const PackedColumns& columns = keys.columns;
  measure(queries, begin, end);
  for (int64_t i = begin; i < end; i += TILE) pack_unit<TILE>(queries, i, end, -1, packed + (i - begin) * depth);
  for (int64_t j = 0; j < columns.count; j += COLUMNS) {
    for (int64_t i = 0; i < end - begin; i += TILE) {
      const float* const offsets = columns.offsets + j;
      const float* const similar = keys.similar == nullptr ? nullptr : keys.similar + i * keys.similar_stride + j;
      const auto score = [=](int r, int v, Vec<float> product) {
        const Vec<float> value = product + load(offsets + v * LANES<float>);
        return similar == nullptr ? value : value + load(similar + r * keys.similar_stride + v * LANES<float>);
      };
      meet(packed + i * depth, columns.columns + j * depth, depth, columns.first + j, candidates, i, end - begin - i,
           score);
    }
  }
}

// index (end - begin, k): the nearest keys in order. Positions may have no data; `distances` has room for k.
void neighbors_settle(const UnitRows& queries, int64_t begin, int64_t end, const UnitRows& keys,
                      const UnitRows& positions, const Candidates& candidates, double* distances, int64_t* index) {
  for (int64_t i = begin; i < end; ++i, index += candidates.k) {
    settle(candidates, i - begin, keys.rows.count, distances, index, [&](int64_t j) {
      const double near = positions.rows.data == nullptr ? 0 : cosine(positions, i, positions, j);
      return near - cosine(queries, i, keys, j) + ROUND - ROUND;
    });
  }
}

}  // namespace adtool::ADTOOL_BODY
