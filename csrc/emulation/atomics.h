// Atomic operations under CUDA's names, for the types that every device has them for. Relaxed, as on a device: they
// order nothing but themselves.
#pragma once

#include <type_traits>

namespace adtool::emulation {

template <class T, class... Types>
concept one_of = (std::is_same_v<T, Types> || ...);

template <class T>
concept word = one_of<T, int, unsigned, unsigned long long>;

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

#define ADTOOL_ATOMIC(name, types, result)                                                \
  template <class T>                                                                      \
    requires(types)                                                                       \
  T name(T* address, std::type_identity_t<T> value) {                                     \
    return adtool::emulation::update(address, [value](T before) -> T { return result; }); \
  }
ADTOOL_ATOMIC(atomicAdd, (adtool::emulation::word<T> || std::is_floating_point_v<T>), before + value)
ADTOOL_ATOMIC(atomicSub, (adtool::emulation::one_of<T, int, unsigned>), before - value)
ADTOOL_ATOMIC(atomicMin, (adtool::emulation::word<T> || std::is_same_v<T, long long>), before < value ? before : value)
ADTOOL_ATOMIC(atomicMax, (adtool::emulation::word<T> || std::is_same_v<T, long long>), before > value ? before : value)
ADTOOL_ATOMIC(atomicAnd, (adtool::emulation::word<T>), before& value)
ADTOOL_ATOMIC(atomicOr, (adtool::emulation::word<T>), before | value)
ADTOOL_ATOMIC(atomicXor, (adtool::emulation::word<T>), before ^ value)
ADTOOL_ATOMIC(atomicExch, (adtool::emulation::word<T> || std::is_same_v<T, float>), (static_cast<void>(before), value))
#undef ADTOOL_ATOMIC

template <class T>
  requires(adtool::emulation::word<T>)
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  __atomic_compare_exchange(address, &expected, &value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}

inline void __threadfence_block() {}
inline void __threadfence() {}
