// The launches of the search for the nearest bank rows, between csrc/cuda/nearest_patch.cpp (torch, g++) and
// csrc/cuda/nearest_patch.cu (no torch, nvcc). Each returns nullptr or what CUDA found wrong with the launch.
#pragma once

#include "rows.h"

namespace adtool::cuda {

constexpr int64_t KEPT = 32;        // candidates are kept in multiples of this: one for each thread of a warp
constexpr int64_t PATCHES = 128;    // of a block
constexpr int64_t BANK_ROWS = 128;  // that meet them at a time

// |b|^2 of the bank's rows, infinite where one is not finite, and the bits of the largest of the others.
struct BankSquares {
  float* of_row;
  unsigned* largest;
};

// For each patch and each share of the bank, `bank_share` rows in multiples of BANK_ROWS, the `keep` smallest scores so
// far, ascending, and whose they are: (shares, patches, keep). Scores that differ by no more than `slack` (patches) are
// in doubt. `exact` (patches, k) is where the distances are put in order.
struct NearestLists {
  float* scores;
  int32_t* rows;
  float* slack;
  double* exact;
  int64_t k, keep, bank_share, shares;
};

// How many shares of the bank keep the device busy.
int64_t bank_shares(int64_t patches, int64_t bank);
const char* launch_bank_squares(Rows bank, BankSquares squares, void* stream);
// Empty lists, then the candidates of all patches.
const char* launch_search(Rows patches, Rows bank, BankSquares squares, NearestLists lists, void* stream);
// Distances (patches, k), of float64 patches in float64, and bank rows of the nearest.
const char* launch_settle(Rows patches, Rows bank, NearestLists lists, void* distance, int64_t* index, void* stream);

}  // namespace adtool::cuda
