// Kernels without a mistake that use everything the emulation offers; each result is checked against plain loops.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "program.h"

constexpr int BLOCK = 64, WARP = 32;
constexpr unsigned ALL = 0xffffffffu;

__global__ void count_places(int* counts, int* coordinates) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const unsigned place = block * blockDim.x * blockDim.y * blockDim.z + thread;
  atomicAdd(&counts[place], 1);
  coordinates[place] = threadIdx.z * 10000 + blockIdx.y * 100 + blockIdx.x;
}

// Sums rows of BLOCK numbers, one after another in the same shared memory.
__global__ void sum_rows(const float* in, float* out, int rows) {
  ADTOOL_SHARED(parts, float[BLOCK]);
  for (int row = blockIdx.x; row < rows; row += gridDim.x) {
    parts[threadIdx.x] = in[row * BLOCK + threadIdx.x];
    for (int step = BLOCK / 2; step > 0; step /= 2) {
      __syncthreads();
      if (threadIdx.x < step) parts[threadIdx.x] += parts[threadIdx.x + step];
    }
    if (threadIdx.x == 0) out[row] = parts[0];
    __syncthreads();
  }
}

__global__ void reverse_dynamic(const double* in, double* out) {
  ADTOOL_DYNAMIC_SHARED(row, double);
  row[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = row[blockDim.x - 1 - threadIdx.x];
}

// Neighbours exchange through shared memory, many times.
__global__ void swap_neighbours(int* out) {
  ADTOOL_SHARED(row, int[BLOCK]);
  int value = threadIdx.x;
  for (int round = 0; round < 5; ++round) {
    row[threadIdx.x] = value;
    __syncwarp();
    value = row[threadIdx.x ^ 1];
    __syncwarp();
  }
  out[threadIdx.x] = value;
}

__global__ void half_warps_apart(int* out) {
  const unsigned half = threadIdx.x % WARP < 16 ? 0x0000ffffu : 0xffff0000u;
  int value = threadIdx.x;
  if (threadIdx.x % WARP < 16) {
    for (int step = 8; step > 0; step /= 2) value += __shfl_xor_sync(half, value, step);
  } else {
    value = __shfl_sync(half, value, 3, 16);
  }
  out[threadIdx.x] = value;
}

template <class T>
__global__ void shuffle(T* out) {
  const T value = static_cast<T>(threadIdx.x) + T(0.5);
  T* const mine = out + threadIdx.x * 5;
  mine[0] = __shfl_sync(ALL, value, 5);
  mine[1] = __shfl_up_sync(ALL, value, 3, 8);
  mine[2] = __shfl_down_sync(ALL, value, 3, 8);
  mine[3] = __shfl_xor_sync(ALL, value, 9);
  mine[4] = __shfl_sync(ALL, value, 1, 4);
}

__global__ void vote(unsigned* out) {
  const bool odd = threadIdx.x % 2 == 1;
  unsigned* const mine = out + threadIdx.x * 8;
  mine[0] = __ballot_sync(ALL, odd);
  mine[1] = __any_sync(ALL, threadIdx.x % WARP == 7);
  mine[2] = __all_sync(ALL, threadIdx.x < WARP);
  mine[3] = __syncthreads_count(threadIdx.x < 5);
  mine[4] = __syncthreads_or(threadIdx.x == 5);
  mine[5] = __syncthreads_and(threadIdx.x != 5);
  mine[6] = __any_sync(ALL, 0);
  mine[7] = __syncthreads_and(1) + __syncthreads_or(0);
}

__global__ void count_atomically(float* sum, int* least, unsigned* most, unsigned long long* packed, unsigned* bits) {
  const int number = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  atomicAdd(sum, 1.0f);
  atomicMin(least, -number);
  atomicMax(most, 7u * number);
  atomicMax(packed, static_cast<unsigned long long>(number) << 32 | 5u);
  atomicOr(bits, 1u << number % WARP);
  for (unsigned seen = 0, before; (before = atomicCAS(bits + 1, seen, seen + number)) != seen;) seen = before;
}

__global__ void round_halves(const float* in, unsigned short* out) {
  out[2 * threadIdx.x] = __half_as_ushort(__float2half_rn(in[threadIdx.x]));
  out[2 * threadIdx.x + 1] = __bfloat16_as_ushort(__float2bfloat16_rn(in[threadIdx.x]));
}

// What CUDA rounds alone, with no product and sum in one step.
__global__ void round_alone(float a, double b, int whole, float* out, double* out_64) {
  out[0] = __fsub_rn(__fmul_rn(a, a), __fadd_rn(a, a));
  out[1] = __fadd_rn(__fmul_rn(a, a), -(a + a));
  out[2] = __fmaf_rn(a, a, -(a + a));
  out[3] = __fsqrt_rn(a + a);
  out[4] = __int2float_rn(whole);
  out_64[0] = __dadd_rn(__dmul_rn(b, b), -(b + b));
  out_64[1] = __fma_rn(b, b, -(b + b));
}

// Shared memory as a block finds it.
__global__ void leave_shared_memory(float* out) {
  ADTOOL_SHARED(row, float[BLOCK]);
  out[blockIdx.x * BLOCK + threadIdx.x] = row[threadIdx.x];
  row[threadIdx.x] = 1;
}

__global__ void finish_unevenly(int* out) {
  out[threadIdx.x] = 1;
  if (threadIdx.x % 3 == 0) return;
  for (unsigned i = 0; i < threadIdx.x; ++i) out[threadIdx.x] += 1;
}

namespace {

void places() {
  std::vector<int> counts(3 * 2 * 2 * 24), coordinates(counts.size());
  ADTOOL_LAUNCH(dim3(3, 2, 2), dim3(4, 3, 2), 0, nullptr, count_places)(counts.data(), coordinates.data());
  expect("counts", counts, made<int>(288, [](int) { return 1; }));
  expect("coordinates", coordinates,
         made<int>(288, [](int i) { return i % 24 / 12 * 10000 + i / 24 / 3 % 2 * 100 + i / 24 % 3; }));
}

void barriers() {
  const std::vector<float> in = made(5 * BLOCK, [](int i) { return i % 7; });
  std::vector<float> out(5);
  ADTOOL_LAUNCH(2, BLOCK, 0, nullptr, sum_rows)(in.data(), out.data(), 5);
  expect("sums", out, made(5, [&](int row) {
           float sum = 0;
           for (int i = 0; i < BLOCK; ++i) sum += in[row * BLOCK + i];
           return sum;
         }));
}

void dynamic_memory() {
  const std::vector<double> in = made<double>(BLOCK, [](int i) { return i; });
  std::vector<double> out(BLOCK);
  ADTOOL_LAUNCH(1, BLOCK, BLOCK * sizeof(double), nullptr, reverse_dynamic)(in.data(), out.data());
  expect("reversed", out, made<double>(BLOCK, [](int i) { return BLOCK - 1 - i; }));
  if (cudaFuncSetAttribute(reverse_dynamic, cudaFuncAttributeMaxDynamicSharedMemorySize, 60000) != cudaSuccess) {
    throw std::runtime_error("60000 bytes are refused");
  }
  ADTOOL_LAUNCH(1, BLOCK, 60000, nullptr, reverse_dynamic)(out.data(), out.data());
  expect("reversed again", out, in);
}

void warps() {
  std::vector<int> out(BLOCK);
  ADTOOL_LAUNCH(1, BLOCK, 0, nullptr, swap_neighbours)(out.data());
  expect("swapped", out, made<int>(BLOCK, [](int i) { return i ^ 1; }));
  ADTOOL_LAUNCH(1, BLOCK, 0, nullptr, half_warps_apart)(out.data());
  expect("halves", out, made<int>(BLOCK, [](int i) {
           const int warp = i / WARP * WARP;
           return i % WARP < 16 ? 16 * warp + 120 : warp + 19;
         }));
}

template <class T>
void shuffles() {
  std::vector<T> out(BLOCK * 5);
  ADTOOL_LAUNCH(1, BLOCK, 0, nullptr, shuffle<T>)(out.data());
  expect("shuffled", out, made<T>(BLOCK * 5, [](int k) {
           const int i = k / 5, warp = i / WARP * WARP, group = i / 8 * 8;
           const int from[] = {warp + 5, i - 3 < group ? i : i - 3, i + 3 >= group + 8 ? i : i + 3, i ^ 9,
                               i / 4 * 4 + 1};
           return static_cast<T>(from[k % 5]) + T(0.5);
         }));
}

void votes() {
  std::vector<unsigned> out(BLOCK * 8);
  ADTOOL_LAUNCH(1, BLOCK, 0, nullptr, vote)(out.data());
  expect("votes", out, made<unsigned>(BLOCK * 8, [](int k) {
           const unsigned expected[] = {0xaaaaaaaau, 1, k / 8 < WARP, 5, 1, 0, 0, 1};
           return expected[k % 8];
         }));
}

void atomics() {
  std::vector<float> sum(1);
  std::vector<int> least(1);
  std::vector<unsigned> most(1);
  std::vector<unsigned long long> packed(1);
  std::vector<unsigned> bits(2);
  ADTOOL_LAUNCH(3, BLOCK, 0, nullptr, count_atomically)
  (sum.data(), least.data(), most.data(), packed.data(), bits.data());
  expect("sum", sum, {192});
  expect("least", least, {-191});
  expect("most", most, {7 * 191});
  expect("packed", packed, {191ull << 32 | 5});
  expect("bits", bits, {ALL, 191 * 192 / 2});
}

void halves() {
  const std::vector<float> in = {1, -2, 65519, 65520, 0x1p-24f, 0x1p-25f, 0x1.8p-25f, 1 + 0x1p-11f, 1 + 0x3p-11f};
  std::vector<unsigned short> out(2 * in.size());
  ADTOOL_LAUNCH(1, in.size(), 0, nullptr, round_halves)(in.data(), out.data());
  expect<unsigned short>("halves", out,
                         {0x3c00, 0x3f80, 0xc000, 0xc000, 0x7bff, 0x4780, 0x7c00, 0x4780, 0x0001, 0x3380, 0x0000,
                          0x3300, 0x0001, 0x3340, 0x3c00, 0x3f80, 0x3c02, 0x3f80});
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const float value = __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
    if (value == value && __half_as_ushort(__float2half_rn(value)) != bits) throw std::runtime_error("half round trip");
  }
}

// a^2 - 2 a of a = 1 + 2^-12 is 2^-24 - 1, and 2^-24 is what a square rounded alone loses.
void roundings() {
  std::vector<float> out(5);
  std::vector<double> out_64(2);
  ADTOOL_LAUNCH(1, 1, 0, nullptr, round_alone)(1 + 0x1p-12f, 1 + 0x1p-27, (1 << 24) + 3, out.data(), out_64.data());
  expect("float32", out, {-1, -1, 0x1p-24f - 1, 0x1.6a15360000000p+0f, 0x1.000004p+24f});
  expect("float64", out_64, {-1, 0x1p-54 - 1});
}

void poison() {
  std::vector<float> out(3 * BLOCK);
  ADTOOL_LAUNCH(3, BLOCK, 0, nullptr, leave_shared_memory)(out.data());
  for (float value : out) {
    if (value == value) throw std::runtime_error("shared memory keeps what another block left");
  }
}

void returns() {
  std::vector<int> out(BLOCK);
  ADTOOL_LAUNCH(1, BLOCK, 0, nullptr, finish_unevenly)(out.data());
  expect("counts", out, made<int>(BLOCK, [](int i) { return i % 3 == 0 ? 1 : i + 1; }));
}

// A launch that failed leaves the device as it was.
void recovery() {
  std::vector<int> out(BLOCK);
  ADTOOL_LAUNCH(0, BLOCK, 0, nullptr, finish_unevenly)(out.data());
  returns();  // a launch that succeeds does not forget the error
  if (cudaPeekAtLastError() != cudaErrorInvalidConfiguration || cudaGetLastError() != cudaErrorInvalidConfiguration ||
      cudaGetLastError() != cudaSuccess) {
    throw std::runtime_error("an empty grid is no error, or stays one");
  }
  for (int turn = 0; turn < 3; ++turn) {
    std::vector<unsigned> votes(8 * 16);
    bool failed = false;
    try {
      ADTOOL_LAUNCH(1, 16, 0, nullptr, vote)(votes.data());  // half a warp
    } catch (const std::runtime_error&) {
      failed = true;
    }
    if (!failed) throw std::runtime_error("half a warp votes with the mask of a whole one");
    returns();
    barriers();
  }
}

const Case CASES[] = {
    {"places", places},
    {"barriers", barriers},
    {"dynamic_memory", dynamic_memory},
    {"warps", warps},
    {"shuffles", shuffles<float>},
    {"shuffles_64", shuffles<double>},
    {"votes", votes},
    {"atomics", atomics},
    {"halves", halves},
    {"roundings", roundings},
    {"poison", poison},
    {"returns", returns},
    {"recovery", recovery},
};

}  // namespace

int main(int count, char** arguments) {
  return run_cases(CASES, count, arguments);
}
