// A CUDA device on the host, for tests: one fiber per thread, blocks one after another, warps of 32 lanes. Each thread
// runs until it must wait for others. Whatever would be undefined on a device and can be seen here ends the launch with
// an exception: a barrier or a warp operation that not all of its threads reach, a shuffle from a lane that takes no
// part. This is what kernels reach through intrinsics.h and launch.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "emulation/vector_types.h"

namespace adtool::emulation {

constexpr int WARP = 32;
constexpr std::size_t SHARED = 48 << 10;  // bytes a block may have without asking
constexpr std::size_t SHARED_OPT_IN =
    64 << 10;  // bytes it may ask for: those of sm_75, the least of the wheel's devices

struct Place {  // in a source file
  const char* file;
  int line;
};

// The place of the caller, as a default argument.
constexpr Place here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  return {file, line};
}

struct Coordinates {
  uint3 thread, block;
  dim3 block_size, grid_size;
};
extern Coordinates coordinates;  // of the running thread

struct LaunchSetting {
  const char* kernel;  // a text that ends with "Kernel = <name>]"
  const void* address;
  Place place;
  dim3 grid, block;
  std::size_t shared;  // dynamic, in bytes
};

// Runs body(arguments) for every thread; a setting that no device accepts is left to cudaGetLastError instead.
void run(const LaunchSetting& setting, void (*body)(void*), void* arguments);

// The launch that runs, or ran last.
const LaunchSetting& current_launch();

// Waits for every thread of the block; how many of them gave a predicate other than zero.
int block_barrier(const char* intrinsic, bool predicate, Place place);

// A warp operation of the lanes in `mask`, which all must take part in. `exchange` gives the value of lane `source`,
// and `vote` the lanes whose predicate is not zero.
std::uint64_t exchange(const char* intrinsic, unsigned mask, std::uint64_t value, int source, Place place);
unsigned vote(const char* intrinsic, unsigned mask, bool predicate, Place place);
void warp_barrier(unsigned mask, Place place);

// The lane of the running thread in its warp.
int lane();

// The block's memory of the shared variable `key`, poisoned with NaN; the same for each of its threads.
void* shared_memory(const void* key, std::size_t bytes, std::size_t alignment, Place place);
void* dynamic_shared_memory(Place place);
// The launches of this kernel may have as many bytes of dynamic shared memory.
void allow_shared_memory(const void* kernel, std::size_t bytes);

// Ends the launch with an error.
[[noreturn]] void fail(const char* message, Place place);

}  // namespace adtool::emulation

extern "C" {
// Which thread, and which block, goes first: "forward", "reverse" or "random:<seed>"; false if it is none of them. The
// environment variable ADTOOL_EMULATION_ORDER says it for a process.
__attribute__((visibility("default"))) bool adtool_emulation_order(const char* order);
// Launches so far.
__attribute__((visibility("default"))) std::int64_t adtool_emulation_launches();
// The kernels of sources whose path ends so that have not been launched, one a line; valid until the next call.
__attribute__((visibility("default"))) const char* adtool_emulation_idle_kernels(const char* source);
}
