// Tensors as rows, and blocks of rows shared among threads; for the operators on patches.
#pragma once

#include <algorithm>
#include <atomic>

#include "rows.h"
#include "tensors.h"

namespace adtool {

// The tensor itself where the elements of a row lie side by side.
inline Tensor with_dense_rows(const Tensor& tensor) {
  return tensor.size(1) <= 1 || tensor.stride(1) == 1 ? tensor : torch::stable::contiguous(tensor);
}

inline Rows rows_of(const Tensor& tensor, const char* argument) {
  return {element_of(tensor, argument), tensor.const_data_ptr(), tensor.size(0), tensor.size(1), tensor.stride(0)};
}

// Calls work(begin, end, worker) for blocks of 0 .. count; a thread that is done with one takes the next.
template <class Work>
void for_blocks(int64_t count, int64_t block, int64_t threads, const Work& work) {
  std::atomic<int64_t> next{0};
  const auto take = [&](int64_t worker, int64_t) {
    for (int64_t begin; (begin = next.fetch_add(block)) < count;) work(begin, std::min(begin + block, count), worker);
  };
  torch::stable::parallel_for(0, std::min(threads, (count + block - 1) / block), 1, take);
}

inline int64_t whole(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// As many rows as fit the budget, in multiples of `multiple`: at least that, at most `count` rounded up.
inline int64_t rows_within(int64_t budget, int64_t row_bytes, int64_t multiple, int64_t count) {
  return std::clamp(budget / row_bytes / multiple * multiple, multiple, std::max(whole(count, multiple), multiple));
}

// Memory for `count` elements of T, on the alignment of tensors.
template <class T>
struct Workspace {
  Tensor memory;
  T* data;
  Workspace(const Tensor& like, int64_t count)
      : memory(torch::stable::new_empty(like, {count * static_cast<int64_t>(sizeof(T))}, ScalarType::Byte)),
        data(static_cast<T*>(memory.mutable_data_ptr())) {}
};

}  // namespace adtool
