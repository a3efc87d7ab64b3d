// Barriers, shuffles and votes, under CUDA's names. Stricter than a device where that would hide a mistake: every lane
// of the mask must be there, and a source beyond the width is an error, though CUDA defines what it would give.
#pragma once

#include <cstring>
#include <type_traits>

#include "emulation/machine.h"

#define ADTOOL_HERE ::adtool::emulation::Place place = ::adtool::emulation::here()

inline void __syncthreads(ADTOOL_HERE) {
  adtool::emulation::block_barrier("__syncthreads", false, place);
}
inline int __syncthreads_count(int predicate, ADTOOL_HERE) {
  return adtool::emulation::block_barrier("__syncthreads_count", predicate != 0, place);
}
inline int __syncthreads_or(int predicate, ADTOOL_HERE) {
  return adtool::emulation::block_barrier("__syncthreads_or", predicate != 0, place) != 0;
}
inline int __syncthreads_and(int predicate, ADTOOL_HERE) {
  return adtool::emulation::block_barrier("__syncthreads_and", predicate == 0, place) == 0;
}
inline void __syncwarp(unsigned mask = 0xffffffffu, ADTOOL_HERE) {
  adtool::emulation::warp_barrier(mask, place);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, ADTOOL_HERE) {
  return adtool::emulation::vote("__ballot_sync", mask, predicate != 0, place);
}
inline int __any_sync(unsigned mask, int predicate, ADTOOL_HERE) {
  return adtool::emulation::vote("__any_sync", mask, predicate != 0, place) != 0;
}
inline int __all_sync(unsigned mask, int predicate, ADTOOL_HERE) {
  return adtool::emulation::vote("__all_sync", mask, predicate == 0, place) == 0;
}

namespace adtool::emulation {

template <class T>
T shuffle(const char* intrinsic, unsigned mask, T value, int source, Place place) {
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = exchange(intrinsic, mask, bits, source, place);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

// First lane of the caller's group of `width` lanes, after a check of what the group is asked for.
inline int first_of_group(int distance, int width, Place place) {
  if (width < 1 || width > WARP || (width & (width - 1)) != 0)
    fail("a shuffle's width is no power of two up to 32", place);
  if (distance < 0 || distance >= width) fail("a shuffle reaches beyond its width", place);
  return lane() / width * width;
}

}  // namespace adtool::emulation

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, ADTOOL_HERE) {
  const int first = adtool::emulation::first_of_group(source, width, place);
  return adtool::emulation::shuffle("__shfl_sync", mask, value, first + source, place);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, ADTOOL_HERE) {
  const int first = adtool::emulation::first_of_group(static_cast<int>(delta), width, place);
  const int self = adtool::emulation::lane(), source = self - static_cast<int>(delta);
  return adtool::emulation::shuffle("__shfl_up_sync", mask, value, source < first ? self : source, place);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, ADTOOL_HERE) {
  const int first = adtool::emulation::first_of_group(static_cast<int>(delta), width, place);
  const int self = adtool::emulation::lane(), source = self + static_cast<int>(delta);
  return adtool::emulation::shuffle("__shfl_down_sync", mask, value, source >= first + width ? self : source, place);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32, ADTOOL_HERE) {
  adtool::emulation::first_of_group(lane_mask, width, place);
  return adtool::emulation::shuffle("__shfl_xor_sync", mask, value, adtool::emulation::lane() ^ lane_mask, place);
}

#undef ADTOOL_HERE
