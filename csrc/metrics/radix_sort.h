// Stable least-significant-digit radix sort of items with an unsigned integer key.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace adtool::metrics {

inline uint32_t key_of(uint32_t key) {
  return key;
}
inline uint64_t key_of(uint64_t key) {
  return key;
}

// Sorts ascending. `items` and `spare` hold `count` items each, at most 2^32 - 1; the sorted ones end up in `items`.
// Digits that are the same in every key cost nothing but their share of the one counting pass.
template <class Items>
void radix_sort(Items& items, Items& spare, size_t count) {
  using Key = decltype(key_of(items[0]));
  constexpr int kBits = 11;
  constexpr int kDigits = (8 * sizeof(Key) + kBits - 1) / kBits;
  constexpr size_t kValues = size_t{1} << kBits;
  std::array<std::array<uint32_t, kValues>, kDigits> counts{};

  for (size_t i = 0; i < count; ++i) {
    const Key key = key_of(items[i]);
    for (int digit = 0; digit < kDigits; ++digit) ++counts[digit][(key >> (kBits * digit)) & (kValues - 1)];
  }
  for (int digit = 0; digit < kDigits; ++digit) {
    const int shift = kBits * digit;
    auto& start = counts[digit];
    if (count == 0 || start[(key_of(items[0]) >> shift) & (kValues - 1)] == count) continue;
    uint32_t total = 0;
    for (auto& entry : start) total += std::exchange(entry, total);
    for (size_t i = 0; i < count; ++i) spare[start[(key_of(items[i]) >> shift) & (kValues - 1)]++] = items[i];
    items.swap(spare);
  }
}

}  // namespace adtool::metrics
