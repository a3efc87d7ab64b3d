// A program of small kernels: `program CASE` runs one of CASES and ends with 1 and a line that says what went wrong.
#pragma once

#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/launch.cuh"

struct Case {
  const char* name;
  void (*run)();
};

template <class T>
void expect(const char* what, const std::vector<T>& got, const std::vector<T>& expected) {
  for (size_t i = 0; i < expected.size(); ++i) {
    if (!(got.at(i) == expected[i])) {
      throw std::runtime_error(std::string(what) + ": element " + std::to_string(i) + " is " + std::to_string(got[i]) +
                               ", expected " + std::to_string(expected[i]));
    }
  }
}

// count values function(i).
template <class T = float, class Function>
std::vector<T> made(int count, const Function& function) {
  std::vector<T> values;
  for (int i = 0; i < count; ++i) values.push_back(static_cast<T>(function(i)));
  return values;
}

template <size_t N>
int run_case(const Case (&cases)[N], int count, char** arguments) try {
  for (const Case& each : cases) {
    if (count == 2 && std::strcmp(arguments[1], each.name) == 0) return each.run(), 0;
    if (count == 1) std::puts(each.name);
  }
  return count == 1 ? 0 : 2;
} catch (const std::exception& error) {
  std::puts(error.what());
  return 1;
}
