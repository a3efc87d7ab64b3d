// The scales of one anomaly map and how they become one. No torch: the vector bodies and the kernels see it.
#pragma once

namespace adtool {

enum class Reduction : int { sum, mean, mul };

}  // namespace adtool
