// The order in which threads and blocks take turns.
#pragma once

#include <cstdint>
#include <memory>

namespace adtool::emulation {

// 0 .. count in the chosen order.
class Sequence {
 public:
  explicit Sequence(std::uint64_t count);

  // Another random order, if it is random.
  void renew();
  const std::uint64_t* begin() const { return numbers_.get(); }
  const std::uint64_t* end() const { return numbers_.get() + count_; }

 private:
  std::unique_ptr<std::uint64_t[]> numbers_;
  std::uint64_t count_;
};

// Takes the order that the environment names, unless one was chosen before.
void require_order();

}  // namespace adtool::emulation
