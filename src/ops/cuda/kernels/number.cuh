// Conversions between f16 or f32 in memory and f32 in registers.
#pragma once

#include "abi.cuh"
#include "warp.cuh"

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(__half x) { return __half2float(x); }

template <class T> __device__ __forceinline__ T from_float(float x);
template <> __device__ __forceinline__ float from_float<float>(float x) { return x; }
template <> __device__ __forceinline__ __half from_float<__half>(float x) { return __float2half_rn(x); }

// Packs two f16 into a register, the first in its lower half.
__device__ __forceinline__ uint32_t pack(float first, float second) {
    uint32_t low = __half_as_ushort(__float2half_rn(first)), high = __half_as_ushort(__float2half_rn(second));
    return low | high << 16;
}

__device__ __forceinline__ float first(uint32_t two) { return __half2float(__ushort_as_half(two & 0xffff)); }
__device__ __forceinline__ float second(uint32_t two) { return __half2float(__ushort_as_half(two >> 16)); }

// load8 and store8 access `VECTOR` successive elements; addresses are aligned to their total size, up to 16 bytes.
static_assert(VECTOR == 8);

__device__ __forceinline__ void load8(float (&x)[VECTOR], const float* from) {
    const float4 a = reinterpret_cast<const float4*>(from)[0], b = reinterpret_cast<const float4*>(from)[1];
    x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w, x[4] = b.x, x[5] = b.y, x[6] = b.z, x[7] = b.w;
}

__device__ __forceinline__ void unpack(float (&x)[VECTOR], uint4 a) {
    x[0] = first(a.x), x[1] = second(a.x), x[2] = first(a.y), x[3] = second(a.y);
    x[4] = first(a.z), x[5] = second(a.z), x[6] = first(a.w), x[7] = second(a.w);
}

__device__ __forceinline__ void load8(float (&x)[VECTOR], const __half* from) {
    unpack(x, *reinterpret_cast<const uint4*>(from));
}

__device__ __forceinline__ void store8(float* to, const float (&x)[VECTOR]) {
    reinterpret_cast<float4*>(to)[0] = make_float4(x[0], x[1], x[2], x[3]);
    reinterpret_cast<float4*>(to)[1] = make_float4(x[4], x[5], x[6], x[7]);
}

__device__ __forceinline__ void store8(__half* to, const float (&x)[VECTOR]) {
    *reinterpret_cast<uint4*>(to) = make_uint4(pack(x[0], x[1]), pack(x[2], x[3]), pack(x[4], x[5]), pack(x[6], x[7]));
}

__device__ __forceinline__ void store4(float* to, const float (&x)[4]) {
    *reinterpret_cast<float4*>(to) = make_float4(x[0], x[1], x[2], x[3]);
}

__device__ __forceinline__ void store4(__half* to, const float (&x)[4]) {
    *reinterpret_cast<uint2*>(to) = make_uint2(pack(x[0], x[1]), pack(x[2], x[3]));
}

__device__ __forceinline__ float silu(float x) { return x / (1.f + expf(-x)); }

// The exact GELU (Hendrycks & Gimpel 2016, arXiv 1606.08415).
__device__ __forceinline__ float gelu(float x) { return 0.5f * x * (1.f + erff(x * 0.70710678118654752f)); }
