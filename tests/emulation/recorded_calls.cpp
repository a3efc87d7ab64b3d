// Runs recorded operator calls (recording.py) on the emulated kernels: `program FILE ORDER...`. Tensors get memory of
// their exact size, so that AddressSanitizer sees a kernel leave it.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdio>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "emulation/machine.h"

namespace {

using torch::stable::Tensor;
using torch::stable::detail::StableLibrary;

class Recording {
 public:
  explicit Recording(const char* path) : file_(path, std::ios::binary) {}

  template <class T>
  T number() {
    T value;
    read(&value, sizeof(T));
    return value;
  }

  template <class T>
  std::vector<T> numbers() {
    std::vector<T> values(number<int64_t>());
    read(values.data(), values.size() * sizeof(T));
    return values;
  }

  std::string text() {
    const std::vector<char> letters = numbers<char>();
    return {letters.begin(), letters.end()};
  }

  Tensor tensor() {
    const auto dtype = number<int32_t>();
    const auto sizes = numbers<int64_t>(), strides = numbers<int64_t>();
    const auto bytes = numbers<char>();
    AtenTensorHandle handle = nullptr;
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(static_cast<int64_t>(sizes.size()), sizes.data(),
                                                           strides.data(), dtype, aoti_torch_device_type_cpu(), 0,
                                                           &handle));
    Tensor tensor(handle);
    std::copy(bytes.begin(), bytes.end(), static_cast<char*>(tensor.mutable_data_ptr()));
    return tensor;
  }

  StableIValue argument() {
    using torch::stable::detail::from;
    switch (const char kind = number<char>()) {
      case 'T':
        return from(tensor());
      case 'L': {
        std::vector<Tensor> tensors;
        for (auto count = number<int64_t>(); count > 0; --count) tensors.push_back(tensor());
        return from(tensors);
      }
      case 'i':
        return from(number<int64_t>());
      case 'd':
        return from(number<double>());
      case 'b':
        return from(number<char>() != 0);
      case 's':
        return from(text());
      case 'I':
        return from(numbers<int64_t>());
      case 'n':
        return from(std::nullopt);
      case '?': {
        const StableIValue value = argument();
        StableIValue* optional = nullptr;
        STABLE_TORCH_ERROR_CODE_CHECK(torch_new_stable_ivalue(&optional));
        *optional = value;
        return from(optional);
      }
      default:
        throw std::runtime_error(std::string("unknown kind of argument ") + kind);
    }
  }

 private:
  void read(void* to, size_t bytes) {
    if (!file_.read(static_cast<char*>(to), static_cast<std::streamsize>(bytes))) {
      throw std::runtime_error("the recording ends early");
    }
  }

  std::ifstream file_;
};

void define_operators(Recording& recording, StableLibrary& library) {
  for (auto count = recording.number<int64_t>(); count > 0; --count) library.def(recording.text().c_str());
}

// Their results are not looked at: the tests in Python do that.
int64_t run_calls(Recording& recording) {
  const auto calls = recording.number<int64_t>();
  for (int64_t i = 0; i < calls; ++i) {
    const std::string name = "adtool_emulated::" + recording.text();
    std::vector<StableIValue> stack(64);
    const auto arguments = recording.number<int64_t>();
    for (int64_t k = 0; k < arguments; ++k) stack.at(k) = recording.argument();
    STABLE_TORCH_ERROR_CODE_CHECK(torch_call_dispatcher(name.c_str(), "", stack.data(), TORCH_ABI_VERSION));
  }
  return calls;
}

}  // namespace

int main(int count, char** arguments) try {
  StableLibrary library(StableLibrary::Kind::FRAGMENT, "adtool_emulated", nullptr, __FILE__, __LINE__);
  for (int i = 2; i < count; ++i) {
    if (!adtool_emulation_order(arguments[i])) throw std::runtime_error(arguments[i]);
    Recording recording(arguments[1]);
    StableLibrary unused(StableLibrary::Kind::FRAGMENT, "adtool_unused", nullptr, __FILE__, __LINE__);
    define_operators(recording, i == 2 ? library : unused);
    const int64_t calls = run_calls(recording);
    std::printf("%s: %lld calls, %lld launches\n", arguments[i], static_cast<long long>(calls),
                static_cast<long long>(adtool_emulation_launches()));
  }
  return 0;
} catch (const std::exception& error) {
  std::puts(error.what());
  return 1;
}
