#include "emulation/machine.h"

#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

#include "emulation/crew.h"
#include "emulation/cuda_runtime.h"
#include "emulation/order.h"
#include "emulation/sanitizers.h"

namespace adtool::emulation {

Coordinates coordinates;
Crew* crew = nullptr;
Thread* running = nullptr;
std::int64_t launches = 0;

namespace {

constexpr unsigned MAX_GRID_X = 0x7fffffff, MAX_GRID_YZ = 0xffff, MAX_BLOCK_Z = 64;
#ifdef ADTOOL_TSAN
constexpr unsigned CREWS = 2;  // blocks take turns; what two of them do is unordered, as on a device
#else
constexpr unsigned CREWS = 1;
#endif

Crew crews[CREWS];
std::mutex one_launch;
const LaunchSetting* setting = nullptr;
void (*body)(void*) = nullptr;
void* arguments = nullptr;
std::string error;
cudaError_t last_error = cudaSuccess;
std::map<const void*, std::size_t> opted_in;  // kernel: bytes of dynamic shared memory it asked for
unsigned live = 0;                            // threads of the block that have not returned
char launch_begun;
KnownKernel* known_kernels = nullptr;

std::uint64_t size_of(dim3 extent) {
  return static_cast<std::uint64_t>(extent.x) * extent.y * extent.z;
}

uint3 index_of(std::uint64_t number, dim3 extent) {
  const std::uint64_t row = number / extent.x;
  return {static_cast<unsigned>(number % extent.x), static_cast<unsigned>(row % extent.y),
          static_cast<unsigned>(row / extent.y)};
}

cudaError_t check(const LaunchSetting& launch) {
  const auto asked = opted_in.find(launch.address);
  const dim3 grid = launch.grid, block = launch.block;
  if (size_of(block) == 0 || size_of(block) > MAX_THREADS || block.z > MAX_BLOCK_Z || size_of(grid) == 0 ||
      grid.x > MAX_GRID_X || grid.y > MAX_GRID_YZ || grid.z > MAX_GRID_YZ) {
    return cudaErrorInvalidConfiguration;
  }
  return launch.shared > (asked == opted_in.end() ? SHARED : asked->second) ? cudaErrorInvalidValue : cudaSuccess;
}

void thread_begins() {
  acquire(&launch_begun);
  acquire(crew->turn.place());
  body(arguments);
  release(crew->turn.next_place());
  running->state = State::returned;
  --live;
  running->fiber.leave(true);
}

void resume(Thread& thread) {
  running = &thread;
  coordinates.thread = thread.index;
  thread.fiber.enter();
  running = nullptr;
}

// The end of "... [with auto Kernel = <name>]".
std::string name_of(const std::string& signature) {
  const std::size_t start = signature.find("Kernel = ");
  return start == std::string::npos ? signature : signature.substr(start + 9, signature.size() - start - 10);
}

// The scheduler goes on after everything that threads did.
void acquire_all() {
  for (Crew& each : crews) {
    acquire(each.turn.place());
    acquire(each.turn.next_place());
  }
}

[[noreturn]] void stop() {
  acquire_all();
  for (auto& thread : crew->threads) {
    if (thread->state != State::returned) thread->fiber.abandon();
    thread->state = State::returned;
  }
  throw std::runtime_error("CUDA emulation: " + name_of(setting->kernel) + ", launched at " + text(setting->place) +
                           ", block " + text(coordinates.block) + ": " + error);
}

void run_block(Sequence& sequence) {
  for (std::uint64_t number : sequence) {
    Thread& thread = *crew->threads[number];
    thread.number = static_cast<unsigned>(number);
    thread.index = index_of(number, setting->block);
    thread.state = State::ready;
    thread.fiber.start(&thread_begins);
  }
  crew->size = live = static_cast<unsigned>(size_of(setting->block));
  crew->renew_shared_memory(setting->shared);
  while (live > 0) {
    bool moved = false;
    for (std::uint64_t number : sequence) {
      Thread& thread = *crew->threads[number];
      if (thread.state != State::ready) continue;
      moved = true;
      resume(thread);
      if (!error.empty()) stop();
    }
    if (!moved) {
      error = situation();
      stop();
    }
    sequence.renew();
  }
  ++crew->turn.meetings;
}

void run_grid() {
  const std::uint64_t threads = size_of(setting->block);
  coordinates.grid_size = setting->grid;
  coordinates.block_size = setting->block;
  for (Crew& each : crews) {
    while (each.threads.size() < threads) each.threads.push_back(std::make_unique<Thread>());
  }
  release(&launch_begun);
  Sequence sequence(threads);
  const Sequence blocks(size_of(setting->grid));
  std::uint64_t turn = 0;
  for (std::uint64_t number : blocks) {
    crew = &crews[turn++ % CREWS];
    coordinates.block = index_of(number, setting->grid);
    run_block(sequence);
  }
  acquire_all();
}

}  // namespace

void run(const LaunchSetting& launch, void (*kernel)(void*), void* parameters) {
  const std::lock_guard<std::mutex> guard(one_launch);
  if (const cudaError_t found = check(launch); found != cudaSuccess) {
    last_error = found;  // until it is asked for
    return;
  }
  require_order();
  setting = &launch;
  body = kernel;
  arguments = parameters;
  error.clear();
  ++launches;
  run_grid();
}

const LaunchSetting& current_launch() {
  return *setting;
}

KnownKernel::KnownKernel(const char* signature, const char* source)
    : signature(signature), source(source), next(std::exchange(known_kernels, this)) {}

void fail(const std::string& message, Place place) {
  error = text(place) + ": " + message;
  running->fiber.leave(false);
  __builtin_unreachable();
}

void fail(const char* message, Place place) {
  fail(std::string(message), place);
}

void allow_shared_memory(const void* kernel, std::size_t bytes) {
  opted_in[kernel] = bytes;
}

}  // namespace adtool::emulation

cudaError_t cudaGetLastError() {
  return std::exchange(adtool::emulation::last_error, cudaSuccess);
}

cudaError_t cudaPeekAtLastError() {
  return adtool::emulation::last_error;
}

std::int64_t adtool_emulation_launches() {
  return adtool::emulation::launches;
}

const char* adtool_emulation_idle_kernels(const char* source) {
  static std::string names;
  names.clear();
  for (auto* kernel = adtool::emulation::known_kernels; kernel != nullptr; kernel = kernel->next) {
    const std::string path = kernel->source, end = source;
    const bool ours = path.size() >= end.size() && path.compare(path.size() - end.size(), end.size(), end) == 0;
    if (ours && !kernel->has_run) names += adtool::emulation::name_of(kernel->signature) + "\n";
  }
  return names.c_str();
}
