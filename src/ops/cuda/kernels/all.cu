// Includes every kernel, so that the program loads one module.

#include "attention.cu"
#include "gemm.cu"
#include "maps.cu"
#include "norm.cu"
