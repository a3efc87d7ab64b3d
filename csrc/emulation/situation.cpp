// What the threads of a block are doing, in words, for the errors.
#include "emulation/crew.h"

namespace adtool::emulation {
namespace {

std::string doing(const Thread& thread) {
  const std::string intrinsic = thread.intrinsic == nullptr ? "" : thread.intrinsic;
  switch (thread.state) {
    case State::at_barrier:
      return "waiting in " + intrinsic + " at " + text(thread.place);
    case State::at_warp:
      return "waiting in " + intrinsic + " with mask " + hexadecimal(thread.mask) + " at " + text(thread.place);
    case State::returned:
      return "returned";
    case State::ready:
      break;
  }
  return "on the way";
}

}  // namespace

std::string text(Place place) {
  return std::string(place.file) + ":" + std::to_string(place.line);
}

std::string text(uint3 index) {
  return "(" + std::to_string(index.x) + ", " + std::to_string(index.y) + ", " + std::to_string(index.z) + ")";
}

std::string hexadecimal(unsigned mask) {
  std::string digits = "0x";
  for (int shift = 28; shift >= 0; shift -= 4) digits += "0123456789abcdef"[mask >> shift & 15];
  return digits;
}

std::string situation() {
  std::string all;
  for (unsigned first = 0, last = 0; first < crew->size; first = last + 1) {
    const std::string what = doing(*crew->threads[first]);
    for (last = first; last + 1 < crew->size && doing(*crew->threads[last + 1]) == what;) ++last;
    all += all.empty() ? "" : "; ";
    all += (first == last ? "thread " : "threads ") + std::to_string(first);
    all += (first == last ? "" : "-" + std::to_string(last)) + " " + what;
  }
  return all;
}

}  // namespace adtool::emulation
