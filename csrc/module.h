#pragma once

namespace adtool {

// What CUDA kernels were compiled for, as TORCH_CUDA_ARCH_LIST has it, or nothing; setup.py writes the definition.
extern const char* const cuda_architectures;

}  // namespace adtool
