// The farthest patch by lazy evaluation: distances only shrink as picks are added, so a patch whose distance to the
// picks it has seen is below one that is up to date need not look at the picks it has not seen.
#include "cpu/greedy_coreset.h"
#include "row_distance.h"

namespace adtool::ADTOOL_BODY {
namespace {

constexpr int64_t GLANCE = 64;  // patches that are passed over together

template <class T>
bool any_reaches(const T* distance, int64_t count, T limit) {
  int any = 0;
#pragma omp simd reduction(| : any)
  for (int64_t i = 0; i < count; ++i) any |= distance[i] >= limit;
  return any != 0;
}

ADTOOL_INLINE bool beats(double distance, int64_t row, const Far& other) {
  return distance > other.distance || (distance == other.distance && row < other.row);
}

// Shows the patch the picks up to `count`, or until it falls behind `far`; takes the place of `far` if it does not.
// Returns how many it was shown.
template <class S>
int64_t challenge(const Cover& cover, int64_t row, int64_t count, Far& far) {
  using T = Compute<S>;
  T& distance = static_cast<T*>(cover.distance)[row];
  const S* const patch = row_of<S>(cover.patches, row);
  const int64_t before = cover.seen[row];
  int64_t seen = before;
  for (; seen < count && beats(distance, row, far); ++seen) {
    const S* const pick = row_of<S>(cover.patches, cover.picks[seen]);
    const int64_t depth = cover.patches.depth;
    if (squared_distance<T>(patch, pick, depth) > distance * T(1.001)) continue;  // no closer, roughly, is certain
    const T here = static_cast<T>(squared_distance<double>(patch, pick, depth));
    if (here < distance) distance = here;
  }
  cover.seen[row] = static_cast<int32_t>(seen);
  if (seen == count && beats(distance, row, far)) far = {distance, row};
  return seen - before;
}

}  // namespace

// Makes `far` the farthest of itself and the patches begin .. end from the first `count` picks. Returns how many
// distances it took.
int64_t coreset_farthest(const Cover& cover, int64_t begin, int64_t end, int64_t count, Far& far) {
  int64_t distances = 0;
  with_storage(cover.patches.element, [&](auto storage) {
    using S = decltype(storage);
    using T = Compute<S>;
    const T* const distance = static_cast<const T*>(cover.distance);
    for (int64_t start = begin; start < end; start += GLANCE) {
      const int64_t stop = start + GLANCE < end ? start + GLANCE : end;
      if (!any_reaches(distance + start, stop - start, static_cast<T>(far.distance))) continue;
      for (int64_t row = start; row < stop; ++row) {
        if (distance[row] >= far.distance) distances += challenge<S>(cover, row, count, far);
      }
    }
  });
  return distances;
}

}  // namespace adtool::ADTOOL_BODY
