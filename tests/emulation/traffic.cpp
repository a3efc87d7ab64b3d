// Counts what emulated kernels load and store. Kernels compiled with -fsanitize=thread call the functions below for
// every access to memory that is not a register's; this file takes the place of the sanitizer. Counted is global memory
// alone: not a thread's stack, and nothing of this library, where shared memory and threadIdx are.
#include <link.h>
#include <pthread.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <map>
#include <sstream>
#include <string>
#include <unordered_map>

#include "emulation/crew.h"

namespace {

using adtool::emulation::running;
using Address = std::uintptr_t;

constexpr Address PAGE = 4096, SECTOR = 32;  // bytes; a sector is what a device moves at least
constexpr Address SECTORS = PAGE / SECTOR, WORD = 64;

struct Page {
  bool counted;
  std::uint64_t touched[2][SECTORS / WORD];  // loaded, stored
};

struct Traffic {
  std::int64_t launches, bytes[2], sectors[2];  // bytes as threads ask for them; sectors, each once a launch
  unsigned threads;
  std::size_t dynamic_shared;
};

std::map<std::string, Traffic> kernels;
std::unordered_map<Address, Page> pages;  // of this launch
struct {
  Address number;
  Page* page;
} recent[1024];
std::int64_t launch = 0;
Traffic* current = nullptr;

struct Range {
  Address begin, end;
  bool holds(Address address) const { return begin <= address && address < end; }
};

Range library() {
  Range range = {};
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* result) {
        const Address own = reinterpret_cast<Address>(&kernels);
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const ElfW(Phdr) & part = info->dlpi_phdr[i];
          const Range found = {info->dlpi_addr + part.p_vaddr, info->dlpi_addr + part.p_vaddr + part.p_memsz};
          if (part.p_type == PT_LOAD && found.holds(own)) *static_cast<Range*>(result) = found;
        }
        return 0;
      },
      &range);
  return range;
}

Range stack_of_host() {
  pthread_attr_t attributes;
  pthread_getattr_np(pthread_self(), &attributes);
  void* lowest = nullptr;
  std::size_t size = 0;
  pthread_attr_getstack(&attributes, &lowest, &size);
  pthread_attr_destroy(&attributes);
  return {reinterpret_cast<Address>(lowest), reinterpret_cast<Address>(lowest) + size};
}

bool is_global(Address address) {
  static const Range own = library(), host = stack_of_host();  // kernels are launched by one thread
  if (own.holds(address) || host.holds(address)) return false;
  for (const auto& thread : adtool::emulation::crew->threads) {
    if (thread->fiber.holds(reinterpret_cast<const void*>(address))) return false;
  }
  return true;
}

void finish_launch() {
  for (const auto& [number, page] : pages) {
    for (int kind = 0; kind < 2; ++kind) {
      for (const std::uint64_t word : page.touched[kind]) current->sectors[kind] += std::popcount(word);
    }
  }
  pages.clear();
  std::memset(recent, 0, sizeof(recent));
}

void begin_launch() {
  finish_launch();
  launch = adtool::emulation::launches;
  const adtool::emulation::LaunchSetting& setting = adtool::emulation::current_launch();
  current = &kernels[setting.kernel];
  current->launches += 1;
  current->threads = setting.block.x * setting.block.y * setting.block.z;
  current->dynamic_shared = setting.shared > current->dynamic_shared ? setting.shared : current->dynamic_shared;
}

Page& page_of(Address address) {
  const Address number = address / PAGE;
  auto& [known, page] = recent[number % std::size(recent)];
  if (page == nullptr || known != number) {
    const auto [place, is_new] = pages.try_emplace(number);
    if (is_new) place->second.counted = is_global(address);
    known = number;
    page = &place->second;
  }
  return *page;
}

template <int KIND>
void touch(const void* memory, std::size_t bytes) {
  if (running == nullptr) return;  // the host's own code
  if (launch != adtool::emulation::launches) begin_launch();
  for (Address at = reinterpret_cast<Address>(memory), end = at + bytes; at < end;) {
    Page& page = page_of(at);
    const Address next = (at / SECTOR + 1) * SECTOR, sector = at % PAGE / SECTOR;
    if (!page.counted) return;
    page.touched[KIND][sector / WORD] |= std::uint64_t{1} << sector % WORD;
    current->bytes[KIND] += static_cast<std::int64_t>((next < end ? next : end) - at);
    at = next;
  }
}

}  // namespace

// What the compiler calls; names and parameters are the sanitizer's.
extern "C" {
void __tsan_init() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_read_range(void* memory, std::size_t bytes) {
  touch<0>(memory, bytes);
}
void __tsan_write_range(void* memory, std::size_t bytes) {
  touch<1>(memory, bytes);
}
#define ACCESS(bytes)                                \
  void __tsan_read##bytes(void* memory) {            \
    touch<0>(memory, bytes);                         \
  }                                                  \
  void __tsan_write##bytes(void* memory) {           \
    touch<1>(memory, bytes);                         \
  }                                                  \
  void __tsan_unaligned_read##bytes(void* memory) {  \
    touch<0>(memory, bytes);                         \
  }                                                  \
  void __tsan_unaligned_write##bytes(void* memory) { \
    touch<1>(memory, bytes);                         \
  }
ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)
#undef ACCESS
// A device does an atomic where the memory is: it is counted as a store.
#define ATOMIC(bits, type)                                                                                         \
  type __tsan_atomic##bits##_load(const volatile type* memory, int) {                                              \
    return *memory;                                                                                                \
  }                                                                                                                \
  int __tsan_atomic##bits##_compare_exchange_strong(volatile type* memory, type* before, type after, int, int) {   \
    touch<1>(const_cast<type*>(memory), sizeof(type));                                                             \
    return __atomic_compare_exchange_n(memory, before, after, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);          \
  }                                                                                                                \
  int __tsan_atomic##bits##_compare_exchange_weak(volatile type* memory, type* before, type after, int a, int b) { \
    return __tsan_atomic##bits##_compare_exchange_strong(memory, before, after, a, b);                             \
  }
ATOMIC(32, std::uint32_t)
ATOMIC(64, std::uint64_t)
#undef ATOMIC

// A line for each kernel since the last call: its name, launches, threads of a block, bytes of dynamic shared memory,
// bytes loaded and stored, sectors loaded and stored; valid until the next call.
__attribute__((visibility("default"))) const char* adtool_emulation_traffic() {
  static std::string text;
  if (current != nullptr) finish_launch();
  std::ostringstream lines;
  for (const auto& [signature, traffic] : kernels) {
    const std::size_t start = signature.find("Kernel = ") + std::strlen("Kernel = ");
    lines << signature.substr(start, signature.size() - start - 1) << '\t' << traffic.launches << '\t'
          << traffic.threads << '\t' << traffic.dynamic_shared << '\t' << traffic.bytes[0] << '\t' << traffic.bytes[1]
          << '\t' << traffic.sectors[0] << '\t' << traffic.sectors[1] << '\n';
  }
  text = lines.str();
  kernels.clear();
  current = nullptr;
  launch = 0;
  return text.c_str();
}
}
