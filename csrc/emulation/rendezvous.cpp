// Where threads wait for each other: barriers, shuffles and votes.
#include <cstdlib>
#include <cstring>
#include <string>

#include "emulation/crew.h"
#include "emulation/sanitizers.h"

namespace adtool::emulation {
namespace {

// Tests ask to go on as if one barrier were missing: ADTOOL_EMULATION_WITHOUT=csrc/kernels/simam.cuh:38
const char* const left_out = std::getenv("ADTOOL_EMULATION_WITHOUT");

bool is_left_out(Place place) {
  return left_out != nullptr && text(place) == left_out;
}

bool same(const char* a, const char* b) {
  return a == b || std::strcmp(a, b) == 0;
}

bool same(const Thread& a, const Thread& b) {
  return a.place.line == b.place.line && same(a.place.file, b.place.file) && same(a.intrinsic, b.intrinsic);
}

// The running thread's own part of what it arrives at.
void arrive(State state, const char* intrinsic, std::uint64_t given, Place place) {
  running->state = state;
  running->intrinsic = intrinsic;
  running->given = given;
  running->place = place;
}

bool everybody_waits_at_the_barrier() {
  for (unsigned i = 0; i < crew->size; ++i) {
    if (crew->threads[i]->state != State::at_barrier) return false;
  }
  return true;
}

void open_barrier() {
  std::uint64_t votes = 0;
  for (unsigned i = 0; i < crew->size; ++i) {
    const Thread& thread = *crew->threads[i];
    if (!same(thread, *running)) fail("different barriers meet: " + situation(), running->place);
    votes += thread.given;
  }
  ++crew->barrier.meetings;
  for (unsigned i = 0; i < crew->size; ++i) {
    crew->threads[i]->state = State::ready;
    crew->threads[i]->result = votes;
  }
}

unsigned first_of_warp() {
  return running->number / WARP * WARP;
}

// Calls function(thread) for every lane of the running thread's mask.
template <class Function>
void for_lanes(const Function& function) {
  for (unsigned i = 0; i < WARP; ++i) {
    if (running->mask >> i & 1) function(*crew->threads[first_of_warp() + i]);
  }
}

[[noreturn]] void refuse(unsigned lane, const std::string& what) {
  fail(std::string(running->intrinsic) + " with mask " + hexadecimal(running->mask) + ": lane " + std::to_string(lane) +
           " " + what,
       running->place);
}

void check_mask() {
  if ((running->mask >> lane() & 1) == 0) refuse(lane(), "calls it and is not in the mask");
  for (unsigned i = crew->size - first_of_warp(); i < WARP; ++i) {
    if (running->mask >> i & 1) refuse(i, "is beyond the block");
  }
  for_lanes([](const Thread& other) {
    if (other.state == State::returned) refuse(other.number % WARP, "has returned");
    if (other.state == State::at_warp && (other.mask != running->mask || !same(other, *running))) {
      refuse(other.number % WARP, "is elsewhere: " + situation());
    }
  });
}

// Waits for the lanes of the mask; the last of them calls `finish` for all.
template <class Finish>
void meet_warp(const char* intrinsic, unsigned mask, std::uint64_t given, Place place, const Finish& finish) {
  arrive(State::at_warp, intrinsic, given, place);
  running->mask = mask;
  check_mask();
  bool complete = true;
  for_lanes([&](const Thread& other) { complete = complete && other.state == State::at_warp; });
  if (!complete) return running->fiber.leave(false);
  finish();
  for_lanes([](Thread& other) { other.state = State::ready; });
}

}  // namespace

int lane() {
  return static_cast<int>(running->number % WARP);
}

int block_barrier(const char* intrinsic, bool predicate, Place place) {
  if (is_left_out(place)) return 0;
  Thread& self = *running;
  void* const meeting = crew->barrier.place();
  release(meeting);
  arrive(State::at_barrier, intrinsic, predicate, place);
  everybody_waits_at_the_barrier() ? open_barrier() : self.fiber.leave(false);
  acquire(meeting);
  return static_cast<int>(self.result);
}

std::uint64_t exchange(const char* intrinsic, unsigned mask, std::uint64_t value, int source, Place place) {
  Thread& self = *running;
  self.source = source;
  meet_warp(intrinsic, mask, value, place, [mask] {
    for_lanes([mask](Thread& reader) {
      if ((mask >> reader.source & 1) == 0) {
        refuse(reader.number % WARP, "reads lane " + std::to_string(reader.source) + ", which is not in the mask");
      }
      reader.result = crew->threads[first_of_warp() + reader.source]->given;
    });
  });
  return self.result;
}

unsigned vote(const char* intrinsic, unsigned mask, bool predicate, Place place) {
  Thread& self = *running;
  meet_warp(intrinsic, mask, predicate, place, [] {
    std::uint64_t votes = 0;
    for_lanes([&](const Thread& other) { votes |= other.given << other.number % WARP; });
    for_lanes([&](Thread& other) { other.result = votes; });
  });
  return static_cast<unsigned>(self.result);
}

void warp_barrier(unsigned mask, Place place) {
  if (is_left_out(place)) return;
  Joint& joint = crew->warp_barriers[first_of_warp() + (mask == 0 ? 0 : __builtin_ctz(mask))];
  void* const meeting = joint.place();
  release(meeting);
  meet_warp("__syncwarp", mask, 0, place, [&joint] { ++joint.meetings; });
  acquire(meeting);
}

}  // namespace adtool::emulation
