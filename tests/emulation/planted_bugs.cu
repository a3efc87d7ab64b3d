// Kernels with one mistake each, and what a careful reader would have written beside it.
#include "program.h"

constexpr int BLOCK = 64, WARP = 32;
constexpr unsigned ALL = 0xffffffffu;

// out[i] = in[BLOCK - 1 - i]
__global__ void missing_barrier(const float* in, float* out) {
  ADTOOL_SHARED(row, float[BLOCK]);
  row[threadIdx.x] = in[threadIdx.x];
  // __syncthreads();
  out[threadIdx.x] = row[BLOCK - 1 - threadIdx.x];
}

// Each round sums one row; out[round] is stored by one thread.
__global__ void write_after_read(const float* in, float* out) {
  ADTOOL_SHARED(sum, float[1]);
  for (int round = 0; round < 4; ++round) {
    if (threadIdx.x == round) sum[0] = in[round];
    __syncthreads();
    if (threadIdx.x == 3 - round) out[round] = sum[0];
    // __syncthreads();
  }
}

// out[i] = in[i] + in[i + 1], the last one alone
__global__ void read_past_the_end(const float* in, float* out) {
  ADTOOL_SHARED(row, float[BLOCK]);
  row[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  const float* const numbers = row;
  const float next = numbers[threadIdx.x + 1];  // threadIdx.x + 1 < BLOCK ? ... : 0
  out[threadIdx.x] = row[threadIdx.x] + (threadIdx.x + 1 < BLOCK ? next : 0);
}

__global__ void index_past_the_end(const float* in, float* out) {
  ADTOOL_SHARED(row, float[BLOCK]);
  row[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = row[threadIdx.x + 1];  // (threadIdx.x + 1) % BLOCK
}

__global__ void write_past_the_dynamic_end(float* out) {
  ADTOOL_DYNAMIC_SHARED(row, float);
  row[threadIdx.x + 1] = 1;  // threadIdx.x
  out[threadIdx.x] = 1;
}

__global__ void write_past_the_tensor(float* out) {
  out[threadIdx.x + blockIdx.x * blockDim.x] = 1;  // if it is < the length
}

struct alignas(16) Pack {
  float element[4];
};

__global__ void unaligned_pack(const float* in, float* out) {
  *reinterpret_cast<Pack*>(out) = *reinterpret_cast<const Pack*>(in);
}

// The lower half of each warp sums itself.
__global__ void source_outside_the_mask(float* out) {
  float value = threadIdx.x;
  if (threadIdx.x % WARP < 16) value += __shfl_xor_sync(0x0000ffffu, value, 16);  // 8
  out[threadIdx.x] = value;
}

__global__ void half_a_warp(float* out) {
  float value = threadIdx.x;
  if (threadIdx.x % WARP < 16) value += __shfl_xor_sync(ALL, value, 8);  // 0x0000ffffu
  out[threadIdx.x] = value;
}

__global__ void caller_outside_the_mask(float* out) {
  out[threadIdx.x] = __ballot_sync(0x0000ffffu, 1) != 0;  // ALL
}

__global__ void beyond_the_width(float* out) {
  out[threadIdx.x] = __shfl_down_sync(ALL, static_cast<float>(threadIdx.x), 8, 8);  // delta < width
}

__global__ void different_shuffles(float* out) {
  float value = threadIdx.x;
  if (threadIdx.x % 2 == 0) {
    value += __shfl_xor_sync(ALL, value, 2);
  } else {
    value -= __shfl_xor_sync(ALL, value, 2);
  }
  out[threadIdx.x] = value;
}

__global__ void shuffle_after_return(float* out) {
  if (threadIdx.x >= 40) return;
  out[threadIdx.x] = __shfl_down_sync(ALL, 1.0f, 1);
}

__global__ void divergent_barrier(float* out) {
  ADTOOL_SHARED(row, float[BLOCK]);
  if (threadIdx.x < WARP) {
    row[threadIdx.x] = 1;
    __syncthreads();
  } else {
    row[threadIdx.x] = 2;
    __syncthreads();
  }
  out[threadIdx.x] = row[BLOCK - 1 - threadIdx.x];
}

__global__ void barrier_after_return(float* out) {
  if (threadIdx.x >= 40) return;  // a thread without work has to wait too
  __syncthreads();
  out[threadIdx.x] = 1;
}

// Neighbours exchange through shared memory.
__global__ void missing_warp_barrier(const float* in, float* out) {
  ADTOOL_SHARED(row, float[BLOCK]);
  row[threadIdx.x] = in[threadIdx.x];
  __shfl_sync(ALL, 0, 0);  // __syncwarp(): a shuffle orders no memory
  out[threadIdx.x] = row[threadIdx.x ^ 1];
}

__global__ void blocks_add_to_one_sum(float* out) {
  if (threadIdx.x == blockIdx.x) out[0] += 1;  // atomicAdd(out, 1.0f)
}

__global__ void nothing(float*) {}

// Not wrong: it tells in which order threads and blocks take turns.
__global__ void print_order(int) {
  std::printf("%d.%d ", blockIdx.x, threadIdx.x);
}

__global__ void much_shared_memory(float* out) {
  ADTOOL_SHARED(row, float[20000]);
  row[threadIdx.x] = 1;
  out[threadIdx.x] = row[threadIdx.x];
}

namespace {

const std::vector<float> NUMBERS = made(BLOCK, [](int i) { return i + 1; });
std::vector<float> out(BLOCK);

void launched(const cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}

#define WRITES(kernel) {#kernel, [] { ADTOOL_LAUNCH(1, BLOCK, 0, nullptr, kernel)(out.data()); }}

const Case CASES[] = {
    {"missing_barrier",
     [] {
       ADTOOL_LAUNCH(1, BLOCK, 0, nullptr, missing_barrier)(NUMBERS.data(), out.data());
       expect("reversed", out, made(BLOCK, [](int i) { return BLOCK - i; }));
     }},
    {"write_after_read", [] { ADTOOL_LAUNCH(1, BLOCK, 0, nullptr, write_after_read)(NUMBERS.data(), out.data()); }},
    {"read_past_the_end", [] { ADTOOL_LAUNCH(1, BLOCK, 0, nullptr, read_past_the_end)(NUMBERS.data(), out.data()); }},
    {"index_past_the_end", [] { ADTOOL_LAUNCH(1, BLOCK, 0, nullptr, index_past_the_end)(NUMBERS.data(), out.data()); }},
    {"write_past_the_dynamic_end",
     [] { ADTOOL_LAUNCH(1, BLOCK, BLOCK * 4, nullptr, write_past_the_dynamic_end)(out.data()); }},
    {"write_past_the_tensor", [] { ADTOOL_LAUNCH(2, 48, 0, nullptr, write_past_the_tensor)(out.data()); }},
    {"unaligned_pack", [] { ADTOOL_LAUNCH(1, 1, 0, nullptr, unaligned_pack)(NUMBERS.data() + 1, out.data()); }},
    WRITES(source_outside_the_mask),
    WRITES(half_a_warp),
    WRITES(caller_outside_the_mask),
    WRITES(beyond_the_width),
    WRITES(different_shuffles),
    WRITES(shuffle_after_return),
    WRITES(divergent_barrier),
    WRITES(barrier_after_return),
    WRITES(much_shared_memory),
    {"missing_warp_barrier",
     [] { ADTOOL_LAUNCH(1, BLOCK, 0, nullptr, missing_warp_barrier)(NUMBERS.data(), out.data()); }},
    {"blocks_add_to_one_sum", [] { ADTOOL_LAUNCH(4, BLOCK, 0, nullptr, blocks_add_to_one_sum)(out.data()); }},
    {"print_order", [] { ADTOOL_LAUNCH(3, 5, 0, nullptr, print_order)(0); }},
    {"too_many_threads",
     [] {
       ADTOOL_LAUNCH(1, 2048, 0, nullptr, nothing)(out.data());
       launched(cudaGetLastError());
     }},
    {"too_much_dynamic_memory",
     [] {
       ADTOOL_LAUNCH(1, BLOCK, 60000, nullptr, nothing)(out.data());
       launched(cudaGetLastError());
     }},
};

}  // namespace

int main(int count, char** arguments) {
  return run_cases(CASES, count, arguments);
}
