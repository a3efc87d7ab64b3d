// The launches of the neighbour search, between csrc/cuda/topk_neighbors.cpp (torch, g++) and
// csrc/cuda/topk_neighbors.cu (no torch, nvcc). Each returns nullptr or what CUDA found wrong with the launch.
#pragma once

#include "element.h"

namespace adtool::cuda {

constexpr int64_t KEPT = 32;  // candidates are kept in multiples of this: one for each thread of a warp

// The reciprocal of a row's length, 0 for a row of zeros; as it is, and as a product of two that fit float32.
struct RowScale {
  double exact;
  float coarse, fine;
};

// (matrices, rows, depth) numbers by their strides, and the rows' lengths.
struct RowSet {
  const void* data;
  RowScale* scales;
  int64_t matrices, rows, depth, matrix_stride, row_stride, depth_stride;
};

// For each row of each graph the `keep` smallest scores so far, ascending, and whose they are, with `slack` as the
// difference that rounding may hide; `distances` (graphs, nodes, k) is where they are put in order.
struct NeighborLists {
  float* scores;
  int32_t* rows;
  double* distances;
  int64_t *index, k, keep;
  float slack;
};

const char* launch_row_scales(Element element, RowSet rows, void* stream);
// Cosines of the rows begin .. end with all rows, to `similar` (row, column); float64 positions.
const char* launch_similar(RowSet positions, int64_t begin, int64_t end, float* similar, void* stream);
// The candidates of the queries begin .. end; `similar`, or nullptr, holds the similarities of their positions.
const char* launch_search(Element element, RowSet queries, RowSet keys, int64_t begin, int64_t end,
                          const float* similar, NeighborLists lists, void* stream);
// The index of all queries; positions may have no data.
const char* launch_settle(Element element, RowSet queries, RowSet keys, RowSet positions, NeighborLists lists,
                          void* stream);

}  // namespace adtool::cuda
