#include "emulation/fiber.h"

#include <sys/mman.h>

#include <new>

#include "emulation/sanitizers.h"

#if defined(__x86_64__) && !defined(ADTOOL_UCONTEXT)
#define ADTOOL_SWITCH_IN_ASSEMBLY
#else
#include <ucontext.h>
#endif

#ifdef ADTOOL_SWITCH_IN_ASSEMBLY
// Saves what a function must preserve on the stack, the stack in *from, and goes on where `to` was saved.
extern "C" void adtool_switch_stack(void** from, void* to);
asm(R"(
  .text
  .hidden adtool_switch_stack
  .globl adtool_switch_stack
  .type adtool_switch_stack, @function
adtool_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size adtool_switch_stack, .-adtool_switch_stack
)");
#endif

namespace adtool::emulation {
namespace {

constexpr std::size_t GUARD = 1 << 12, STACK = 1 << 18;  // bytes; only what is touched takes memory
constexpr std::size_t SAVED_REGISTERS = 6;

Fiber* entering = nullptr;

}  // namespace

struct Fiber::Context {
  char* stack = nullptr;  // lowest address
  std::size_t size = 0;
#ifdef ADTOOL_SWITCH_IN_ASSEMBLY
  void* saved = nullptr;
#else
  ucontext_t saved = {};
#endif
#ifdef ADTOOL_ASAN
  void* fake_stack = nullptr;
#endif
#ifdef ADTOOL_TSAN
  void* thread = nullptr;
#endif

  // Leaves `this` and goes on in `to`.
  void switch_to(Context& to, [[maybe_unused]] bool for_good) {
#ifdef ADTOOL_ASAN
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_stack, to.stack, to.size);
#endif
#ifdef ADTOOL_TSAN
    __tsan_switch_to_fiber(to.thread, __tsan_switch_to_fiber_no_sync);
#endif
#ifdef ADTOOL_SWITCH_IN_ASSEMBLY
    adtool_switch_stack(&saved, to.saved);
#else
    swapcontext(&saved, &to.saved);
#endif
  }

  // First thing after a switch into `this` from `other`.
  void arrived_from([[maybe_unused]] Context& other) {
#ifdef ADTOOL_ASAN
    const void* stack_left = nullptr;
    __sanitizer_finish_switch_fiber(fake_stack, &stack_left, &other.size);
    other.stack = static_cast<char*>(const_cast<void*>(stack_left));
#endif
  }
};

Fiber::Fiber() : own_(new Context), scheduler_(new Context) {
  void* const memory = mmap(nullptr, GUARD + STACK, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  mprotect(memory, GUARD, PROT_NONE);  // a stack that grows too far ends the process, not another thread's memory
  own_->stack = static_cast<char*>(memory) + GUARD;
  own_->size = STACK;
#ifdef ADTOOL_TSAN
  own_->thread = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
#ifdef ADTOOL_TSAN
  __tsan_destroy_fiber(own_->thread);
#endif
  munmap(own_->stack - GUARD, GUARD + STACK);
}

void Fiber::start(void (*entry)()) {
  entry_ = entry;
#ifdef ADTOOL_ASAN
  own_->fake_stack = nullptr;
#endif
#ifdef ADTOOL_SWITCH_IN_ASSEMBLY
  void** top = reinterpret_cast<void**>(own_->stack + STACK);  // a multiple of 16, as a call leaves it
  *--top = nullptr;                                            // where `begin` would return to
  *--top = reinterpret_cast<void*>(&Fiber::begin);
  for (std::size_t i = 0; i < SAVED_REGISTERS; ++i) *--top = nullptr;
  own_->saved = top;
#else
  getcontext(&own_->saved);
  own_->saved.uc_stack.ss_sp = own_->stack;
  own_->saved.uc_stack.ss_size = STACK;
  own_->saved.uc_link = nullptr;
  makecontext(&own_->saved, &Fiber::begin, 0);
#endif
}

void Fiber::abandon() {
  allow(own_->stack, own_->size);
#ifdef ADTOOL_TSAN
  void* const self = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(own_->thread, __tsan_switch_to_fiber_no_sync);
  __tsan_switch_to_fiber(self, 0);  // the caller goes on after what the fiber did
  __tsan_destroy_fiber(own_->thread);
  own_->thread = __tsan_create_fiber(0);
#endif
}

void Fiber::begin() {
  Fiber& self = *entering;
  self.own_->arrived_from(*self.scheduler_);
  self.entry_();
  __builtin_unreachable();
}

void Fiber::enter() {
  entering = this;
#ifdef ADTOOL_TSAN
  scheduler_->thread = __tsan_get_current_fiber();
#endif
  scheduler_->switch_to(*own_, false);
  scheduler_->arrived_from(*own_);
}

void Fiber::leave(bool for_good) {
  own_->switch_to(*scheduler_, for_good);
  own_->arrived_from(*scheduler_);
}

bool Fiber::holds(const void* address) const {
  return own_->stack <= address && address < own_->stack + STACK;
}

}  // namespace adtool::emulation
