// Unsigned integers that sort as the floating-point numbers they stand for.
#pragma once

#include <cstdint>
#include <cstring>

namespace adtool::metrics {

template <class Score>
struct KeyOf;
template <>
struct KeyOf<float> {
  using Key = uint32_t;
};
template <>
struct KeyOf<double> {
  using Key = uint64_t;
};

// Negative numbers have all bits flipped, others only the sign bit; -0 becomes +0, which it equals.
template <class Score, class Key = typename KeyOf<Score>::Key>
inline Key to_key(Score score) {
  constexpr Key sign = Key{1} << (8 * sizeof(Key) - 1);
  Key bits;
  std::memcpy(&bits, &score, sizeof bits);
  bits = bits == sign ? 0 : bits;
  return bits & sign ? ~bits : bits | sign;
}

template <class Score, class Key = typename KeyOf<Score>::Key>
inline Score to_score(Key key) {
  constexpr Key sign = Key{1} << (8 * sizeof(Key) - 1);
  const Key bits = key & sign ? key & ~sign : ~key;
  Score score;
  std::memcpy(&score, &bits, sizeof score);
  return score;
}

}  // namespace adtool::metrics
