// For candle's kernels: bfloat16.
#pragma once
#include "cuda_fp16.h"
struct __nv_bfloat16 {
    uint16_t x;
    __nv_bfloat16() = default;
    __nv_bfloat16(float value) {
        const uint32_t bits = __float_as_uint(value);
        x = isnan(value) ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;  // to nearest, ties to even
    }
    __nv_bfloat16(double value) : __nv_bfloat16(float(value)) {}
    __nv_bfloat16(__half value) : __nv_bfloat16(float(value)) {}
    template <class T, class = std::enable_if_t<std::is_integral<T>::value>>
    __nv_bfloat16(T value) : __nv_bfloat16(float(value)) {}
    operator float() const { return __uint_as_float(uint32_t(x) << 16); }
};
inline float __bfloat162float(__nv_bfloat16 x) { return x; }
inline __nv_bfloat16 __float2bfloat16(float x) { return x; }
inline __nv_bfloat16 __float2bfloat16_rn(float x) { return x; }
CARD_OPERATORS(__nv_bfloat16)
CARD_FUNCTIONS(__nv_bfloat16)
struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};
inline __nv_bfloat162 __hadd2(__nv_bfloat162 a, __nv_bfloat162 b) { return {a.x + b.x, a.y + b.y}; }
inline __nv_bfloat162 __hmul2(__nv_bfloat162 a, __nv_bfloat162 b) { return {a.x * b.x, a.y * b.y}; }
