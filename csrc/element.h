// How tensor elements are stored. Shared by the torch side (csrc/cpu/<op>.cpp) and the vector bodies, so it knows
// neither torch nor the standard library.
#pragma once

#include <stdint.h>

namespace adtool {

enum class Element : int { float32, float64, float16, bfloat16 };

struct Float16 {
  uint16_t bits;
};

struct BFloat16 {
  uint16_t bits;
};

// What is computed with: float64 stays float64, everything else accumulates in float32.
template <class Storage>
struct compute_type {
  using type = float;
};
template <>
struct compute_type<double> {
  using type = double;
};
template <class Storage>
using Compute = typename compute_type<Storage>::type;

// Calls `function(Storage{})` with the C++ type of `element`.
template <class Function>
inline void with_storage(Element element, const Function& function) {
  switch (element) {
    case Element::float32:
      return function(float{});
    case Element::float64:
      return function(double{});
    case Element::float16:
      return function(Float16{});
    case Element::bfloat16:
      return function(BFloat16{});
  }
}

}  // namespace adtool
