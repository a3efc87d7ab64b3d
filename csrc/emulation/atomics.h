// Atomic operations under CUDA's names. Relaxed, as on a device: they order nothing but themselves.
#pragma once

#include <cstring>
#include <type_traits>

namespace adtool::emulation {

// *address = change(*address) in one step; the value before.
template <class T, class Change>
T update(T* address, const Change& change) {
  T before, after;
  __atomic_load(address, &before, __ATOMIC_RELAXED);
  do {
    after = change(before);
  } while (!__atomic_compare_exchange(address, &before, &after, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return before;
}

}  // namespace adtool::emulation

#define ADTOOL_ATOMIC(name, result)                                                       \
  template <class T>                                                                      \
  T name(T* address, std::type_identity_t<T> value) {                                     \
    return adtool::emulation::update(address, [value](T before) -> T { return result; }); \
  }
ADTOOL_ATOMIC(atomicAdd, before + value)
ADTOOL_ATOMIC(atomicSub, before - value)
ADTOOL_ATOMIC(atomicMin, before < value ? before : value)
ADTOOL_ATOMIC(atomicMax, before > value ? before : value)
ADTOOL_ATOMIC(atomicAnd, before& value)
ADTOOL_ATOMIC(atomicOr, before | value)
ADTOOL_ATOMIC(atomicXor, before ^ value)
ADTOOL_ATOMIC(atomicExch, (static_cast<void>(before), value))
#undef ADTOOL_ATOMIC

template <class T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  __atomic_compare_exchange(address, &expected, &value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}

inline void __threadfence_block() {}
inline void __threadfence() {}
