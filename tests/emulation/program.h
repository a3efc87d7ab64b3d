// A program of small kernels: `program CASE...` runs cases by name and ends with 1 and a line at the first that went
// wrong.
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
void run_case(const Case (&cases)[N], const char* name) {
  for (const Case& each : cases) {
    if (std::strcmp(each.name, name) == 0) return each.run();
  }
  throw std::runtime_error("no such case");
}

template <size_t N>
int run_cases(const Case (&cases)[N], int count, char** arguments) {
  for (int i = 1; i < count; ++i) {
    try {
      run_case(cases, arguments[i]);
    } catch (const std::exception& error) {
      std::printf("%s: %s\n", arguments[i], error.what());
      return 1;
    }
  }
  return 0;
}
