// Runs of marked pixels and the 8-connected components they form.
#pragma once

#include <cstdint>
#include <cstring>
#include <numeric>
#include <vector>

namespace adtool::metrics {

// Pixels [begin, end) of one row; `begin` and `end` count from the first pixel of the image.
struct Run {
  int64_t begin, end;
};

// The marked pixels of a row-major (height, width) mask of 0 and 1, in order; no run crosses a row's end.
inline std::vector<Run> find_runs(const uint8_t* mask, int64_t height, int64_t width) {
  std::vector<Run> runs;
  const uint8_t* const last = mask + height * width;
  for (const uint8_t* at = mask; (at = static_cast<const uint8_t*>(std::memchr(at, 1, last - at)));) {
    const int64_t begin = at - mask, row_end = (begin / width + 1) * width;
    const void* stop = std::memchr(at, 0, row_end - begin);
    const int64_t end = stop ? static_cast<const uint8_t*>(stop) - mask : row_end;
    runs.push_back({begin, end});
    if ((at = mask + end) == last) break;
  }
  return runs;
}

// Disjoint sets of run indices; the root of a set is its smallest index.
class DisjointSets {
 public:
  explicit DisjointSets(size_t count) : parent_(count) { std::iota(parent_.begin(), parent_.end(), 0); }

  uint32_t root(uint32_t i) {
    while (parent_[i] != i) i = parent_[i] = parent_[parent_[i]];
    return i;
  }

  void unite(uint32_t i, uint32_t j) {
    i = root(i), j = root(j);
    i < j ? parent_[j] = i : parent_[i] = j;
  }

 private:
  std::vector<uint32_t> parent_;
};

// The component of every run, numbered from 0 in order of first appearance; corners touching count as connected.
inline std::vector<uint32_t> label_runs(const std::vector<Run>& runs, int64_t width) {
  DisjointSets sets(runs.size());
  for (size_t i = 0, above = 0; i < runs.size(); ++i) {
    const int64_t row = runs[i].begin / width;
    // In coordinates of the row above, a run touches those that end no earlier than it begins and begin no later than
    // it ends.
    const int64_t begin = runs[i].begin - width, end = runs[i].end - width;
    while (above < i && (runs[above].begin / width < row - 1 || runs[above].end < begin)) ++above;
    for (size_t j = above; j < i && runs[j].begin / width == row - 1 && runs[j].begin <= end; ++j) sets.unite(i, j);
  }
  std::vector<uint32_t> labels(runs.size());
  uint32_t count = 0;
  for (size_t i = 0; i < runs.size(); ++i) {
    const uint32_t root = sets.root(i);
    labels[i] = root == i ? count++ : labels[root];
  }
  return labels;
}

}  // namespace adtool::metrics
