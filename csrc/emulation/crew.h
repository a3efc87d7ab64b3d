// The threads of a block as the scheduler sees them. Only this folder's sources include it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "emulation/fiber.h"
#include "emulation/machine.h"

namespace adtool::emulation {

constexpr unsigned MAX_THREADS = 1024;            // of a block
constexpr std::size_t GAP = 1 << 10;              // bytes that nobody may touch, around each shared variable
constexpr std::size_t ARENA = 3 * SHARED_OPT_IN;  // bytes: shared variables and gaps

constexpr unsigned MAX_VARIABLES = 64;  // in shared memory

enum class State { ready, at_barrier, at_warp, returned };

struct Thread {
  Fiber fiber;
  State state = State::returned;
  unsigned number = 0;  // in the block
  uint3 index = {};
  // What it waits in, what it gave there and what it gets.
  const char* intrinsic = nullptr;
  Place place = {};
  unsigned mask = 0;
  int source = 0;
  std::uint64_t given = 0, result = 0;
};

// Where threads meet. Two places take turns: a thread may arrive for the next meeting before another one has left this.
struct Joint {
  char places[2];
  unsigned meetings;

  void* place() { return &places[meetings % 2]; }
  void* next_place() { return &places[(meetings + 1) % 2]; }
};

struct SharedVariable {
  const void* key;
  unsigned char* memory;
};

struct Crew {
  std::vector<std::unique_ptr<Thread>> threads;  // as many as any block has had
  unsigned size = 0;                             // of the running block
  SharedVariable variables[MAX_VARIABLES] = {};
  unsigned variable_count = 0;
  unsigned char* dynamic = nullptr;
  std::size_t arena_used = 0, declared = 0, limit = 0;  // bytes: with gaps, of variables alone, of these at most
  Joint barrier = {}, warp_barriers[MAX_THREADS] = {};  // of a warp: at the lowest lane of the mask
  Joint turn = {};  // from one block of this crew to its next: acquired at `place`, released at `next_place`
  alignas(128) unsigned char arena[ARENA] = {};

  // Before each block.
  void renew_shared_memory(std::size_t dynamic_bytes);
};

extern Crew* crew;             // that has the running block
extern Thread* running;        // null in the scheduler
extern std::int64_t launches;  // so far

// What the threads of the block are doing: "threads 0-15 waiting in ...; threads 16-31 returned".
std::string situation();
std::string text(Place place);
std::string text(uint3 index);
std::string hexadecimal(unsigned mask);

// Ends the launch with an error about a place in a kernel.
[[noreturn]] void fail(const std::string& message, Place place);

}  // namespace adtool::emulation
