// What the sanitizers are told about fibers and shared memory. The files of this folder are compiled without
// instrumentation, with ADTOOL_ASAN or ADTOOL_TSAN where the kernels they run have it, so that a sanitizer sees what a
// kernel does and never how its threads take turns.
#pragma once

#include <cstddef>

#ifdef ADTOOL_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef ADTOOL_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace adtool::emulation {

// AddressSanitizer: memory that a kernel may not touch, or may touch again.
inline void forbid([[maybe_unused]] const void* memory, [[maybe_unused]] std::size_t bytes) {
#ifdef ADTOOL_ASAN
  __asan_poison_memory_region(memory, bytes);
#endif
}
inline void allow([[maybe_unused]] const void* memory, [[maybe_unused]] std::size_t bytes) {
#ifdef ADTOOL_ASAN
  __asan_unpoison_memory_region(memory, bytes);
#endif
}

// ThreadSanitizer: what happened before `release(x)` is seen after `acquire(x)`; nothing else orders two fibers.
inline void release([[maybe_unused]] void* place) {
#ifdef ADTOOL_TSAN
  __tsan_release(place);
#endif
}
inline void acquire([[maybe_unused]] void* place) {
#ifdef ADTOOL_TSAN
  __tsan_acquire(place);
#endif
}

}  // namespace adtool::emulation
