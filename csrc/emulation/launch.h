// A kernel launch, and variables in shared memory; behind the macros of csrc/kernels/launch.cuh.
#pragma once

#include <tuple>

#include "emulation/machine.h"

namespace adtool::emulation {

// A kernel that some launch is compiled for; the list of them tells which ones never ran.
struct KnownKernel {
  KnownKernel(const char* signature, const char* source);

  const char *signature, *source;
  bool has_run = false;
  KnownKernel* next;
};

template <auto Kernel>
class Launch {
 public:
  Launch(dim3 grid, dim3 block, std::size_t shared, Place place)
      : setting_{known_.signature, reinterpret_cast<const void*>(Kernel), place, grid, block, shared} {}

  template <class... Arguments>
  void operator()(const Arguments&... arguments) const {
    start(Kernel, arguments...);
  }

 private:
  // Every thread gets its own copy of the parameters.
  template <class... Parameters, class... Arguments>
  void start(void (*)(Parameters...), const Arguments&... arguments) const {
    known_.has_run = true;
    std::tuple<Parameters...> parameters(arguments...);
    run(
        setting_, [](void* all) { std::apply(Kernel, *static_cast<const std::tuple<Parameters...>*>(all)); },
        &parameters);
  }

  static const char* signature() { return __PRETTY_FUNCTION__; }

  static inline KnownKernel known_{signature(), __BASE_FILE__};
  LaunchSetting setting_;
};

// The running block's variable of a declaration, whose type `Declaration` is no other's.
template <class T, class Declaration>
T& shared(Declaration, Place place) {
  static const char key = 0;
  return *static_cast<T*>(shared_memory(&key, sizeof(T), alignof(T), place));
}

}  // namespace adtool::emulation
