// Which compiled copy of a vector body runs: the best set the processor has, or the lower one that the environment
// variable ADTOOL_CPU_CAPABILITY names.
#pragma once

namespace adtool {

enum class InstructionSet { baseline, avx2, avx512 };

InstructionSet instruction_set();
const char* instruction_set_name();

// ADTOOL_BODIES(f, R(A...)) declares adtool::{baseline,avx2,avx512}::f, which csrc/cpu/<op>_body.h defines, and
// `f##_body()`, which returns the one to call.
#ifdef __x86_64__
#define ADTOOL_BODIES(function, ...)          \
  using function##_type = __VA_ARGS__;        \
  namespace baseline {                        \
  function##_type function;                   \
  }                                           \
  namespace avx2 {                            \
  function##_type function;                   \
  }                                           \
  namespace avx512 {                          \
  function##_type function;                   \
  }                                           \
  inline function##_type* function##_body() { \
    switch (instruction_set()) {              \
      case InstructionSet::avx512:            \
        return &avx512::function;             \
      case InstructionSet::avx2:              \
        return &avx2::function;               \
      default:                                \
        return &baseline::function;           \
    }                                         \
  }
#else
#define ADTOOL_BODIES(function, ...)          \
  using function##_type = __VA_ARGS__;        \
  namespace baseline {                        \
  function##_type function;                   \
  }                                           \
  inline function##_type* function##_body() { \
    return &baseline::function;               \
  }
#endif

}  // namespace adtool
