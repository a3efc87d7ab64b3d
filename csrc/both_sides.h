// Functions written once, for CPU vectors or numbers and for GPU threads; always inlined, so that copies built for two
// instruction sets are never merged. No torch, no standard library.
#pragma once

#ifdef __CUDACC__
#define ADTOOL_BOTH __device__ __forceinline__
#else
#define ADTOOL_BOTH inline __attribute__((always_inline))
#endif
