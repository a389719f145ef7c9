// Launches and global memory as in card.hpp, on a real GPU, for sources that nvcc compiles.
#pragma once

#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>

namespace card {

inline void check(cudaError_t error, const char* call) {
    if (error == cudaSuccess) return;
    fprintf(stderr, "%s failed: %s\n", call, cudaGetErrorString(error));
    exit(1);
}

// Runs a kernel and waits until it has finished.
template <class Parameter, class Argument>
void launch(void (*kernel)(Parameter), dim3 grid, dim3 block, size_t shared_bytes, Argument argument) {
    const auto dynamic_shared = cudaFuncAttributeMaxDynamicSharedMemorySize;
    check(cudaFuncSetAttribute(kernel, dynamic_shared, int(shared_bytes)), "cudaFuncSetAttribute");
    kernel<<<grid, block, shared_bytes>>>(argument);
    check(cudaGetLastError(), "a launch");
    check(cudaDeviceSynchronize(), "a kernel");
}

// Allocates global memory that the CPU can access, too.
inline void* alloc_global(size_t bytes) {
    void* memory;
    check(cudaMallocManaged(&memory, bytes), "cudaMallocManaged");
    return memory;
}

inline void free_global(void* memory) { check(cudaFree(memory), "cudaFree"); }

}  // namespace card
