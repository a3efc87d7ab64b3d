// A stack of its own for each emulated thread, entered and left by the scheduler.
#pragma once

#include <cstddef>
#include <memory>

namespace adtool::emulation {

class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // The next `enter` begins `entry`, which ends with `leave(true)` and never returns.
  void start(void (*entry)());
  // Forgets a run that was stopped half-way.
  void abandon();
  // From the scheduler into the fiber; returns when the fiber leaves.
  void enter();
  // From the fiber to the scheduler; `for_good` when it will be started anew.
  void leave(bool for_good);
  // Whether the address is on its stack.
  bool holds(const void* address) const;

 private:
  struct Context;
  static void begin();

  std::unique_ptr<Context> own_, scheduler_;
  void (*entry_)() = nullptr;
};

}  // namespace adtool::emulation
