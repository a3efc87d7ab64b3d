// The tensors of the diffusion operators: samples (N, ...), and for each sample a step t and a number of its own.
#pragma once

#include "samples.h"
#include "tensors.h"

namespace adtool {

// `tensor` itself if a sample's elements lie without gaps in an order that the kernels know, else a contiguous copy.
inline Tensor dense_samples(const Tensor& tensor, const char* argument) {
  STD_TORCH_CHECK(tensor.dim() >= 1, argument, ": expected (N, ...), got no axes");
  return tensor.dim() == 4 ? dense(tensor) : torch::stable::contiguous(tensor);
}

inline Tensor samples_like(const Tensor& tensor, const char* argument, const Tensor& like, const char* like_argument) {
  STD_TORCH_CHECK(same_shape(tensor, like), argument, ": expected the shape of ", like_argument, " ", shape_of(like),
                  ", got ", shape_of(tensor));
  STD_TORCH_CHECK(tensor.scalar_type() == like.scalar_type(), argument, ": expected the element type of ",
                  like_argument);
  return like.is_contiguous() ? torch::stable::contiguous(tensor) : laid_out_like(tensor, like);
}

inline Samples samples_of(const Tensor& dense) {
  const int64_t count = dense.size(0);
  if (!dense.is_contiguous()) return {count, dense.size(1), dense.size(2) * dense.size(3), true};
  int64_t elements = 1;
  for (int64_t d = 1; d < dense.dim(); ++d) elements *= dense.size(d);
  STD_TORCH_CHECK(elements <= int64_t{1} << 34, "samples: expected at most 2^34 elements each, got ", elements);
  return {count, 1, elements, false};
}

// t or sample_id: int64 (N,), without gaps.
inline Tensor one_per_sample(const Tensor& tensor, const char* argument, const Tensor& samples) {
  STD_TORCH_CHECK(tensor.scalar_type() == ScalarType::Long, argument, ": expected int64");
  STD_TORCH_CHECK(tensor.dim() == 1 && tensor.size(0) == samples.size(0), argument, ": expected (", samples.size(0),
                  ",), one for each sample, got ", shape_of(tensor));
  return torch::stable::contiguous(tensor);
}

// (T + 1, columns) of the type that is computed with.
inline Tensor rows_of_schedule(const Tensor& schedule, int64_t columns, Element element) {
  STD_TORCH_CHECK(schedule.dim() == 2 && schedule.size(1) == columns, "schedule: expected (T + 1, ", columns, "), got ",
                  shape_of(schedule));
  STD_TORCH_CHECK(schedule.scalar_type() == compute_dtype(element),
                  "schedule: expected float64 for float64 samples, float32 for all others");
  STD_TORCH_CHECK(schedule.size(0) > 0, "schedule: expected a row for each step from 0 on, got none");
  return torch::stable::contiguous(schedule);
}

inline const int64_t* words(const Tensor& tensor) {
  return static_cast<const int64_t*>(tensor.const_data_ptr());
}

// The steps t of all samples are rows of the schedule; for tensors of the CPU.
inline void check_steps(const Tensor& t, const Tensor& schedule) {
  const int64_t* const steps = words(t);
  for (int64_t n = 0; n < t.size(0); ++n) {
    STD_TORCH_CHECK(steps[n] >= 0 && steps[n] < schedule.size(0), "t: expected steps from 0 to ", schedule.size(0) - 1,
                    ", the last row of the schedule, got ", steps[n]);
  }
}

// Runs `function(begin, end)` over the work items of all samples in parallel.
template <class Function>
void for_each_share(const Samples& samples, const Function& function) {
  const int64_t items = samples.items_per_sample();
  const int64_t grain = grain_for(items == 0 ? 0 : samples.elements() / items);
  torch::stable::parallel_for(0, samples.count * items, grain, function);
}

}  // namespace adtool
