#include "cpu/max_relative.h"

#include "graph_operators.h"
#include "instruction_set.h"
#include "node_tensors.h"
#include "row_tensors.h"

namespace adtool {

using Forward = void(const Graph&, const NodeFeatures&, const NodeFeatures&, void*, int64_t);
using Backward = void(const Graph&, const NodeFeatures&, const NodeFeatures&, const NodeFeatures&, void*, int64_t);
ADTOOL_BODIES(max_relative_forward, Forward)
ADTOOL_BODIES(max_relative_backward, Backward)

namespace {

constexpr int64_t NODES_AT_ONCE = 64;  // more than lanes in any vector

NodeFeatures features_of(const Tensor& x, void* data) {
  return {element_of(x, "x"), data, x.size(2), x.stride(0), x.stride(1), x.stride(2)};
}

Graph graph_of(const Tensor& index) {
  return {index.const_data_ptr<int64_t>(), index.size(0), index.size(1), index.size(2)};
}

// The neighbours as the kernels read them; an error unless every one of them is a node.
Tensor checked(const Tensor& index, const Tensor& x) {
  STD_TORCH_CHECK(x.dim() == 3 && index.dim() == 3 && index.size(0) == x.size(0) && index.size(1) == x.size(1),
                  "x and index: expected (B, N, C) and (B, N, k), got ", shape_of(x), " and ", shape_of(index));
  STD_TORCH_CHECK(index.scalar_type() == ScalarType::Long, "index: expected int64 elements");
  STD_TORCH_CHECK(index.size(2) >= 1, "index: expected at least one neighbour, got ", shape_of(index));
  const Tensor dense = torch::stable::contiguous(index);
  const int64_t* const node = dense.const_data_ptr<int64_t>();
  const uint64_t nodes = x.size(1);
  const auto wrong = std::find_if(node, node + dense.numel(), [=](int64_t i) { return uint64_t(i) >= nodes; });
  STD_TORCH_CHECK(wrong == node + dense.numel(), "index: expected nodes from 0 to ", x.size(1) - 1, ", got ", *wrong);
  return dense;
}

// Calls work(item, scratch) for every block of channels of every image.
template <class Work>
void for_each_block(const NodeFeatures& x, const Graph& graph, const Tensor& like, const Work& work) {
  const int64_t items = graph.nodes == 0 ? 0 : graph.images * x.blocks();
  const int64_t worth = items / grain_for(graph.nodes * graph.k * NODE_CHANNELS) + 1;
  const int64_t threads = std::min<int64_t>(torch::stable::get_num_threads(), worth);
  const int64_t bytes = 2 * (graph.nodes + NODES_AT_ONCE) * NODE_CHANNELS * (x.element == Element::float64 ? 8 : 4);
  const Workspace<char> scratch(like, threads * bytes);
  for_blocks(items, 1, threads,
             [&](int64_t item, int64_t, int64_t worker) { work(item, scratch.data + worker * bytes); });
}

}  // namespace

Tensor max_relative(const Tensor& input, const Tensor& given_index) {
  const Tensor index = checked(given_index, input), x = with_dense_axis(input), y = empty_laid_out_like(x);
  const NodeFeatures from = features_of(x, const_cast<void*>(x.const_data_ptr()));
  const NodeFeatures to = features_of(y, y.mutable_data_ptr());
  const Graph graph = graph_of(index);
  auto* const forward = max_relative_forward_body();
  for_each_block(from, graph, x, [&](int64_t item, void* scratch) { forward(graph, from, to, scratch, item); });
  return y;
}

namespace {

Tensor max_relative_backward(const Tensor& output_grad, const Tensor& input, const Tensor& given_index) {
  STD_TORCH_CHECK(same_shape(output_grad, input), "grad: expected the shape of x ", shape_of(input), ", got ",
                  shape_of(output_grad));
  STD_TORCH_CHECK(output_grad.scalar_type() == input.scalar_type(), "grad: expected the element type of x");
  const Tensor index = checked(given_index, input), x = with_dense_axis(input), grad = with_dense_axis(output_grad);
  const Tensor dx = empty_laid_out_like(x);
  const NodeFeatures from = features_of(x, const_cast<void*>(x.const_data_ptr()));
  const NodeFeatures upstream = features_of(grad, const_cast<void*>(grad.const_data_ptr()));
  const NodeFeatures to = features_of(dx, dx.mutable_data_ptr());
  const Graph graph = graph_of(index);
  auto* const backward = max_relative_backward_body();
  for_each_block(from, graph, x,
                 [&](int64_t item, void* scratch) { backward(graph, upstream, from, to, scratch, item); });
  return dx;
}

STABLE_TORCH_LIBRARY_IMPL(adtool, CPU, library) {
  library.impl("max_relative", TORCH_BOX(&max_relative));
  library.impl("max_relative_backward", TORCH_BOX(&max_relative_backward));
}

}  // namespace
}  // namespace adtool
