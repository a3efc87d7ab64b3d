#include "emulation/order.h"

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <utility>

#include "emulation/machine.h"

namespace adtool::emulation {
namespace {

enum class Order { unknown, forward, reverse, random };

Order order = Order::unknown;
std::uint64_t random_state = 0;

std::uint64_t next_random() {  // SplitMix64
  std::uint64_t z = random_state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

// "random:7" -> 7
bool read_seed(const std::string& name, std::uint64_t& seed) {
  const std::string start = "random:";
  if (name.rfind(start, 0) != 0) return false;
  char* rest = nullptr;
  seed = std::strtoull(name.c_str() + start.size(), &rest, 10);
  return name.size() > start.size() && *rest == '\0';
}

}  // namespace

Sequence::Sequence(std::uint64_t count) : numbers_(new std::uint64_t[count]), count_(count) {
  for (std::uint64_t i = 0; i < count; ++i) numbers_[i] = order == Order::reverse ? count - 1 - i : i;
  renew();
}

void Sequence::renew() {
  if (order != Order::random) return;
  for (std::uint64_t i = count_; i > 1; --i) std::swap(numbers_[i - 1], numbers_[next_random() % i]);
}

void require_order() {
  if (order != Order::unknown) return;
  const char* const wish = std::getenv("ADTOOL_EMULATION_ORDER");
  const std::string name = wish == nullptr ? "forward" : wish;
  if (!adtool_emulation_order(name.c_str())) {
    throw std::runtime_error("ADTOOL_EMULATION_ORDER=" + name + ": expected forward, reverse or random:<seed>");
  }
}

}  // namespace adtool::emulation

bool adtool_emulation_order(const char* name) {
  using namespace adtool::emulation;
  const std::string wish = name;
  std::uint64_t seed = 0;
  const Order chosen = wish == "forward"       ? Order::forward
                       : wish == "reverse"     ? Order::reverse
                       : read_seed(wish, seed) ? Order::random
                                               : Order::unknown;
  if (chosen == Order::unknown) return false;
  order = chosen;
  random_state = seed;
  return true;
}
