#include "cuda/max_relative.h"

#include <cstdint>

#include "cuda/device.h"
#include "cuda/graph_operators.h"
#include "node_tensors.h"

namespace adtool {
namespace {

// `x` without gaps, nodes innermost if they are in `like`.
Tensor dense_like(const Tensor& x, const Tensor& like) {
  if (!nodes_innermost(like)) return torch::stable::contiguous(x);
  return torch::stable::transpose(torch::stable::contiguous(torch::stable::transpose(x, 1, 2)), 1, 2);
}

cuda::NodeGraph graph_of(const Tensor& index, const Tensor& x) {
  return {index.const_data_ptr<int64_t>(), x.size(0), x.size(1), x.size(2), index.size(2), nodes_innermost(x)};
}

void check(const Tensor& x, const Tensor& index) {
  STD_TORCH_CHECK(x.dim() == 3 && index.dim() == 3 && index.size(0) == x.size(0) && index.size(1) == x.size(1),
                  "x and index: expected (B, N, C) and (B, N, k), got ", shape_of(x), " and ", shape_of(index));
  STD_TORCH_CHECK(index.scalar_type() == ScalarType::Long, "index: expected int64 elements");
  STD_TORCH_CHECK(index.size(2) >= 1, "index: expected at least one neighbour, got ", shape_of(index));
  STD_TORCH_CHECK(index.size(2) <= UINT16_MAX, "index: expected at most 65535 neighbours, got ", shape_of(index));
  STD_TORCH_CHECK(index.size(1) * index.size(2) <= INT32_MAX, "index: expected fewer than 2^31 edges, got ",
                  shape_of(index));
}

}  // namespace

Tensor cuda::max_relative(const Tensor& input, const Tensor& given_index) {
  check(input, given_index);
  const Element element = element_of(input, "x");
  check_device(given_index, "index", input);
  const Device device(input);
  const Tensor x = dense_like(input, input), y = empty_laid_out_like(x);
  const Tensor index = torch::stable::contiguous(given_index);
  const char* error = cuda::launch_max_relative_forward(element, x.const_data_ptr(), y.mutable_data_ptr(),
                                                        graph_of(index, x), device.stream());
  STD_TORCH_CHECK(error == nullptr, "max_relative: ", error);
  return y;
}

namespace {

Tensor max_relative_backward(const Tensor& output_grad, const Tensor& input, const Tensor& given_index) {
  check(input, given_index);
  STD_TORCH_CHECK(same_shape(output_grad, input), "grad: expected the shape of x ", shape_of(input), ", got ",
                  shape_of(output_grad));
  STD_TORCH_CHECK(output_grad.scalar_type() == input.scalar_type(), "grad: expected the element type of x");
  const Element element = element_of(input, "x");
  check_device(output_grad, "grad", input);
  check_device(given_index, "index", input);
  const Device device(input);
  const Tensor x = dense_like(input, input), grad = dense_like(output_grad, x), dx = empty_laid_out_like(x);
  const Tensor index = torch::stable::contiguous(given_index);
  const int64_t images = x.size(0), nodes = x.size(1), edges = images * nodes * index.size(2);
  const Tensor which = torch::stable::new_empty(x, {x.numel()}, ScalarType::Short);
  const Tensor lists = torch::stable::new_empty(x, {images * (2 * nodes + 1) + 2 * edges}, ScalarType::Int);
  auto* const first = lists.mutable_data_ptr<int32_t>();
  int32_t *const cursor = first + images * (nodes + 1), *const unsorted = cursor + images * nodes;
  const cuda::Inverse inverse = {static_cast<uint16_t*>(which.mutable_data_ptr()), first, cursor, unsorted,
                                 unsorted + edges};
  const char* error =
      cuda::launch_max_relative_backward(element, grad.const_data_ptr(), x.const_data_ptr(), dx.mutable_data_ptr(),
                                         graph_of(index, x), inverse, device.stream());
  STD_TORCH_CHECK(error == nullptr, "max_relative_backward: ", error);
  return dx;
}

ADTOOL_CUDA_OPERATORS(library) {
  library.impl("max_relative", TORCH_BOX(&cuda::max_relative));
  library.impl("max_relative_backward", TORCH_BOX(&max_relative_backward));
}

}  // namespace
}  // namespace adtool
