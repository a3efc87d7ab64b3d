// The launches of the cosine distance, between csrc/cuda/cosine_distance.cu (no torch, nvcc) and the torch side of
// cosine_distance and of cosine_map. Each returns nullptr or what CUDA found wrong with the launch.
#pragma once

#include "element.h"
#include "planes.h"

namespace adtool::cuda {

// Distances (images * pixels) of the type that is computed with.
const char* launch_cosine_distance_forward(Element element, const void* teacher, const void* student, void* out,
                                           Planes planes, void* stream);
// A gradient that nobody asks for is nullptr.
const char* launch_cosine_distance_backward(Element element, const void* grad, const void* teacher, const void* student,
                                            void* teacher_grad, void* student_grad, Planes planes, void* stream);

}  // namespace adtool::cuda
