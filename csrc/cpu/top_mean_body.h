// The scans of top_mean: elements above a threshold are collected, or given their share of the gradient; the rest is
// passed over 4 vectors at a time.
#include "vector.h"

namespace adtool::ADTOOL_BODY {
namespace {

template <class Mask>
ADTOOL_INLINE bool any(Mask mask) {
  uint64_t words[sizeof(Mask) / 8], found = 0;
  __builtin_memcpy(words, &mask, sizeof(mask));
  for (uint64_t word : words) found |= word;
  return found != 0;
}

template <class T, int N = LANES<T>>
ADTOOL_INLINE T largest_lane(Lanes<T, N> value) {
  if constexpr (N == 1) {
    return value[0];
  } else {
    const auto halves = bits<Pair<Lanes<T, N / 2>>>(value);
    return largest_lane<T, N / 2>(halves.low > halves.high ? halves.low : halves.high);
  }
}

// Appends those of `n` elements that are above the limit, or not a number, to the pool in their order.
template <class S, class T>
ADTOOL_INLINE int64_t append(const S* x, int64_t n, T limit, double* pool, int64_t size) {
  for (int64_t i = 0; i < n; i += LANES<T>) {
    const int64_t lanes = n - i < LANES<T> ? n - i : LANES<T>;
    T value[LANES<T>];
    store(value, load(x + i, lanes));
    for (int64_t lane = 0; lane < lanes; ++lane) {
      pool[size] = value[lane];
      size += !(value[lane] <= limit);
    }
  }
  return size;
}

}  // namespace

// Writes the largest element of each of the blocks that follow each other from x[begin] on; false, and nothing of use,
// where an element is not a number. A block is a multiple of 64 elements long.
bool block_maxima(Element element, const void* data, int64_t begin, int64_t blocks, int64_t length, double* maxima) {
  bool numbers = true;
  with_storage(element, [&](auto storage) {
    using S = decltype(storage);
    using T = Compute<S>;
    constexpr int L = LANES<T>;
    const S* x = static_cast<const S*>(data) + begin;
    IntVec<T> odd = {};
    for (int64_t b = 0; b < blocks; ++b, x += length) {
      Vec<T> highest[2] = {load(x), load(x + L)};
      for (int64_t i = 0; i < length; i += 2 * L) {
        for (int u = 0; u < 2; ++u) {
          const Vec<T> value = load(x + i + u * L);
          odd |= value != value;
          highest[u] = highest[u] > value ? highest[u] : value;
        }
      }
      maxima[b] = largest_lane<T>(highest[0] > highest[1] ? highest[0] : highest[1]);
    }
    numbers = !any(odd);
  });
  return numbers;
}

// Scans x[begin, end) until the pool may not have room for one more step; returns where it stopped.
int64_t collect_above(Element element, const void* data, int64_t begin, int64_t end, double threshold, double* pool,
                      int64_t* size, int64_t capacity) {
  int64_t i = begin;
  with_storage(element, [&](auto storage) {
    using S = decltype(storage);
    using T = Compute<S>;
    constexpr int64_t STEP = 4 * LANES<T>;
    const S* const x = static_cast<const S*>(data);
    const T limit = static_cast<T>(threshold);  // exact: it was an element, or infinite
    int64_t found = *size;
    for (; i < end && found + STEP <= capacity; i += STEP) {
      if (i + STEP > end) {
        found = append(x + i, end - i, limit, pool, found);
        continue;
      }
      IntVec<T> below[4];
      for (int u = 0; u < 4; ++u) below[u] = load(x + i + u * LANES<T>) <= limit;
      if (!any(~(below[0] & below[1] & below[2] & below[3]))) continue;
      for (int u = 0; u < 4; ++u) {
        if (any(~below[u])) found = append(x + i + u * LANES<T>, LANES<T>, limit, pool, found);
      }
    }
    *size = found;
  });
  return i < end ? i : end;
}

// Writes the share to dx where x[begin, end) is above the bar, a NaN above any number, and to the first `ties` places
// where it is the bar, which are counted down; all others keep their zeros.
void share_out(Element element, const void* data, int64_t begin, int64_t end, double bar, int64_t* ties, double share,
               void* gradient) {
  with_storage(element, [&](auto storage) {
    using S = decltype(storage);
    using T = Compute<S>;
    constexpr int64_t STEP = 4 * LANES<T>;
    const S* const x = static_cast<const S*>(data);
    S* const dx = static_cast<S*>(gradient);
    const T limit = static_cast<T>(bar);  // exact: it was an element
    const bool number = limit == limit;
    S part;
    store(&part, broadcast<T>(static_cast<T>(share)), 1);
    for (int64_t i = begin; i < end; i += STEP) {
      const int64_t n = end - i < STEP ? end - i : STEP;
      IntVec<T> below[4] = {};
      for (int u = 0; n == STEP && u < 4; ++u) below[u] = load(x + i + u * LANES<T>) < limit;
      if (!any(~(below[0] & below[1] & below[2] & below[3]))) continue;
      for (int64_t j = 0; j < n; j += LANES<T>) {
        if (!any(~below[j / LANES<T>])) continue;
        const int64_t lanes = n - j < LANES<T> ? n - j : LANES<T>;
        T value[LANES<T>];
        store(value, load(x + i + j, lanes));
        for (int64_t lane = 0; lane < lanes; ++lane) {
          const bool above = number && !(value[lane] <= limit);
          const bool tied = number ? value[lane] == limit : value[lane] != value[lane];
          if (above || (tied && (*ties)-- > 0)) dx[i + j + lane] = part;
        }
      }
    }
  });
}

}  // namespace adtool::ADTOOL_BODY
