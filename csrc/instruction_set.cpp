#include "instruction_set.h"

#include <cstdlib>
#include <cstring>

namespace adtool {
namespace {

const char* const NAMES[] = {"baseline", "avx2", "avx512"};

InstructionSet best() {
#ifdef __x86_64__
  if (__builtin_cpu_supports("x86-64-v4")) return InstructionSet::avx512;
  if (__builtin_cpu_supports("x86-64-v3")) return InstructionSet::avx2;
#endif
  return InstructionSet::baseline;
}

InstructionSet choose() {
  const InstructionSet limit = best();
  const char* wish = std::getenv("ADTOOL_CPU_CAPABILITY");
  for (int set = 0; wish != nullptr && set < static_cast<int>(limit); ++set) {
    if (std::strcmp(wish, NAMES[set]) == 0) return static_cast<InstructionSet>(set);
  }
  return limit;
}

}  // namespace

InstructionSet instruction_set() {
  static const InstructionSet chosen = choose();
  return chosen;
}

const char* instruction_set_name() {
  return NAMES[static_cast<int>(instruction_set())];
}

}  // namespace adtool
