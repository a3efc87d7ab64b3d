// What cosine_distance shares with cosine_map and with its own vector body.
#pragma once

#include "element.h"
#include "planes.h"

namespace adtool {

constexpr int64_t PIXEL_BLOCK = 256;  // pixels of one work item

// 1 - cos of teacher and student at every pixel, into `out`: (images * pixels) of the compute type.
void cosine_distances(Element element, const void* teacher, const void* student, void* out, const Planes& planes);

}  // namespace adtool
