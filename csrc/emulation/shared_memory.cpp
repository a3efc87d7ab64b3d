// The shared memory of a block: variables with gaps between them, poisoned anew for each block.
#include "emulation/crew.h"
#include "emulation/sanitizers.h"

namespace adtool::emulation {
namespace {

constexpr unsigned char POISON = 0xff;  // bytes of it are a NaN in every floating-point type

// By hand: a sanitizer would take memset for the kernel's own writing.
void poison(unsigned char* memory, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i) static_cast<volatile unsigned char*>(memory)[i] = POISON;
}

unsigned char* take(std::size_t bytes, std::size_t alignment) {
  const std::size_t start = (crew->arena_used + GAP + alignment - 1) / alignment * alignment;
  crew->arena_used = start + bytes;
  unsigned char* const memory = crew->arena + start;
  allow(memory, bytes);
  poison(memory, bytes);
  return memory;
}

}  // namespace

void Crew::renew_shared_memory(std::size_t dynamic_bytes) {
  forbid(arena, ARENA);
  variable_count = 0;
  arena_used = 0;
  declared = dynamic_bytes;
  limit = dynamic_bytes > SHARED ? SHARED_OPT_IN : SHARED;
  dynamic = dynamic_bytes == 0 ? nullptr : take(dynamic_bytes, 16);
}

void* shared_memory(const void* key, std::size_t bytes, std::size_t alignment, Place place) {
  for (unsigned i = 0; i < crew->variable_count; ++i) {
    if (crew->variables[i].key == key) return crew->variables[i].memory;
  }
  crew->declared += bytes;
  if (crew->declared > crew->limit || crew->variable_count == MAX_VARIABLES) {
    fail("the shared memory of a block takes more than " + std::to_string(crew->limit) + " bytes", place);
  }
  unsigned char* const memory = take(bytes, alignment);
  crew->variables[crew->variable_count++] = {key, memory};
  return memory;
}

void* dynamic_shared_memory(Place place) {
  if (crew->dynamic == nullptr) fail("the launch gave no dynamic shared memory", place);
  return crew->dynamic;
}

}  // namespace adtool::emulation
