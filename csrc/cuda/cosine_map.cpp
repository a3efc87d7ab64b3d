#include "cuda/cosine_map.h"

#include <string>
#include <vector>

#include "cuda/cosine_distance.h"
#include "cuda/device.h"
#include "scale_tensors.h"

namespace adtool {
namespace {

void check(const char* error) {
  STD_TORCH_CHECK(error == nullptr, "cosine_map: ", error);
}

// The kernel finds its places by products of 32 bits.
void check_axis(int64_t in, int64_t out) {
  STD_TORCH_CHECK(in <= UINT16_MAX && out <= UINT16_MAX, "size: expected at most ", UINT16_MAX,
                  " pixels along either axis, got ", std::max(in, out));
}

Tensor distances_of(Element element, const Tensor& teacher_features, const Tensor& student_features, void* stream) {
  const Tensor teacher = dense(teacher_features), student = laid_out_like(student_features, teacher);
  const Tensor distances =
      torch::stable::new_empty(teacher, {teacher.size(0), 1, teacher.size(2), teacher.size(3)}, compute_dtype(element));
  check(cuda::launch_cosine_distance_forward(element, teacher.const_data_ptr(), student.const_data_ptr(),
                                             distances.mutable_data_ptr(), planes_of(teacher), stream));
  return distances;
}

Tensor cosine_map(const std::vector<Tensor>& teacher, const std::vector<Tensor>& student,
                  const std::vector<int64_t>& size, const std::string& reduce) {
  const Element element = element_of_scales(teacher, student);
  check_map_size(size);
  const Reduction reduction = reduction_of(reduce);
  const auto scales = static_cast<int64_t>(teacher.size());
  for (int64_t i = 0; i < scales; ++i) {
    check_device(teacher[i], "teacher", teacher[0]);
    check_device(student[i], "student", teacher[0]);
    check_axis(teacher[i].size(2), size[0]);
    check_axis(teacher[i].size(3), size[1]);
  }
  const Device device(teacher[0]);
  void* const stream = device.stream();
  const int64_t images = teacher[0].size(0);
  const Tensor map = torch::stable::new_empty(teacher[0], {images, 1, size[0], size[1]}, compute_dtype(element));
  const cuda::MapTarget target = {map.mutable_data_ptr(),         images,    static_cast<uint32_t>(size[0]),
                                  static_cast<uint32_t>(size[1]), reduction, scales};
  for (int64_t done = 0; done < scales; done += cuda::SCALES_AT_ONCE) {
    std::vector<Tensor> alive;  // until the launch is behind them in the stream
    cuda::DistanceMaps maps = {};
    for (int64_t i = done; i < std::min(done + cuda::SCALES_AT_ONCE, scales); ++i, ++maps.count) {
      alive.push_back(distances_of(element, teacher[i], student[i], stream));
      maps.distances[maps.count] = alive.back().const_data_ptr();
      maps.height[maps.count] = static_cast<uint32_t>(teacher[i].size(2));
      maps.width[maps.count] = static_cast<uint32_t>(teacher[i].size(3));
    }
    check(cuda::launch_cosine_map(element, maps, target, done, stream));
  }
  return map;
}

ADTOOL_CUDA_OPERATORS(library) {
  library.impl("cosine_map", TORCH_BOX(&cosine_map));
}

}  // namespace
}  // namespace adtool
