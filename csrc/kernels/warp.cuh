// The threads that run in step, and the mask of all of them.
#pragma once

namespace adtool::cuda {

constexpr int WARP = 32;
constexpr unsigned ALL = 0xffffffffu;

}  // namespace adtool::cuda
