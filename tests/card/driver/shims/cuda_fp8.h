// For candle's kernels: they only have to compile for 8-bit floats, which abort when used.
#pragma once
#include "cuda_bf16.h"
struct __nv_fp8_e4m3 {
    uint8_t __x;
    __nv_fp8_e4m3() = default;
    explicit __nv_fp8_e4m3(float) { card::fail("8-bit floats are not emulated"); }
};
enum { __NV_E4M3 };
inline __half __nv_cvt_fp8_to_halfraw(uint8_t, int) { card::fail("8-bit floats are not emulated"); }
