// CUDA's small vectors.
#pragma once

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned width = 1, unsigned height = 1, unsigned depth = 1) : x(width), y(height), z(depth) {}
};

#define ADTOOL_VECTORS(type, name)                                   \
  struct alignas(2 * sizeof(type)) name##2 {                         \
    type x, y;                                                       \
  };                                                                 \
  struct alignas(sizeof(type) < 8 ? 4 * sizeof(type) : 16) name##4 { \
    type x, y, z, w;                                                 \
  };                                                                 \
  inline name##2 make_##name##2(type x, type y) {                    \
    return {x, y};                                                   \
  }                                                                  \
  inline name##4 make_##name##4(type x, type y, type z, type w) {    \
    return {x, y, z, w};                                             \
  }
ADTOOL_VECTORS(int, int)
ADTOOL_VECTORS(unsigned, uint)
ADTOOL_VECTORS(float, float)
ADTOOL_VECTORS(double, double)
#undef ADTOOL_VECTORS
