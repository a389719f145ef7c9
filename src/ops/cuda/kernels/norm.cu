// Group norm (with or without SiLU) and layer norm, channels last.

#include "number.cuh"

// How many numbers, their mean, and the sum of their squared distances from it (Chan, Golub & LeVeque 1979): in f32
// this survives a mean that is large beside the variance, as sums of squares would not.
struct Moments {
    float count, mean, squares;
};

__device__ __forceinline__ Moments merged(Moments a, Moments b) {
    const float count = a.count + b.count;
    if (count == 0.f) return a;
    const float apart = b.mean - a.mean, share = b.count / count;
    return {count, a.mean + apart * share, a.squares + b.squares + apart * apart * a.count * share};
}

__device__ __forceinline__ Moments warp_merged(Moments x) {
    for (int other = LANES / 2; other > 0; other /= 2) {
        x = merged(x, {__shfl_xor_sync(ALL_LANES, x.count, other), __shfl_xor_sync(ALL_LANES, x.mean, other),
                       __shfl_xor_sync(ALL_LANES, x.squares, other)});
    }
    return x;
}

constexpr int GROUPS = 32;

// As `GroupNorm` in ../norm.rs.
struct GroupNorm {
    const void* x;                // (B, pixels, c), c a multiple of 32
    const float *weight, *bias;   // (c)
    Moments* moments;             // (B, parts, 32)
    void* y;                      // like x
    int parts, pixels, c;
    float eps;
    int silu;
};

// The pixels of this block: from begin to end.
struct Pixels {
    int begin, end;

    __device__ __forceinline__ explicit Pixels(const GroupNorm& g) {
        const int each = (g.pixels + g.parts - 1) / g.parts;
        begin = min(int(blockIdx.x) * each, g.pixels), end = min(begin + each, g.pixels);
    }
};

// Every group is given to a warp.
template <class F>
__device__ __forceinline__ void each_group(F f) {
    const int thread = threadIdx.y * blockDim.x + threadIdx.x, warps = blockDim.x * blockDim.y / LANES;
    // The last threads may be no whole warp.
    for (int group = thread / LANES; thread / LANES < warps && group < GROUPS; group += warps) f(group, thread % LANES);
}

// Threads: (c / 8, some), a warp of them at least: each eight channels of every some-th pixel. Blocks: (parts, B).
template <class T>
__device__ __forceinline__ void group_moments(const GroupNorm& g) {
    Moments* all = card::dynamic_shared<Moments>();  // (blockDim.y, c)
    const T* x = static_cast<const T*>(g.x) + size_t(blockIdx.y) * g.pixels * g.c;
    const Pixels pixels(g);
    const int channel = threadIdx.x * EIGHT;

    // Distances from each channel's first number, which is near enough to the mean.
    float pivot[EIGHT] = {}, sum[EIGHT] = {}, squares[EIGHT] = {}, numbers[EIGHT];
    int count = 0;
    for (int pixel = pixels.begin + threadIdx.y; pixel < pixels.end; pixel += blockDim.y, count++) {
        load8(numbers, x + size_t(pixel) * g.c + channel);
        for (int j = 0; j < EIGHT; j++) {
            if (count == 0) pivot[j] = numbers[j];
            const float distance = numbers[j] - pivot[j];
            sum[j] += distance, squares[j] = fmaf(distance, distance, squares[j]);
        }
    }
    for (int j = 0; j < EIGHT; j++) {
        const float n = count, mean = count > 0 ? sum[j] / n : 0.f;
        all[threadIdx.y * g.c + channel + j] = {n, pivot[j] + mean, squares[j] - sum[j] * mean};
    }
    __syncthreads();
    const int each = g.c / GROUPS;
    Moments* out = g.moments + (size_t(blockIdx.y) * g.parts + blockIdx.x) * GROUPS;
    each_group([&](int group, int lane) {
        Moments m = {0, 0, 0};
        for (int i = lane; i < int(blockDim.y) * each; i += LANES) m = merged(m, all[i / each * g.c + group * each + i % each]);
        m = warp_merged(m);
        if (lane == 0) out[group] = m;
    });
}

template <class T>
__device__ __forceinline__ void group_norm(const GroupNorm& g) {
    __shared__ float means[GROUPS], scales[GROUPS];
    each_group([&](int group, int lane) {
        Moments m = {0, 0, 0};
        for (int i = lane; i < g.parts; i += LANES) {
            m = merged(m, g.moments[(size_t(blockIdx.y) * g.parts + i) * GROUPS + group]);
        }
        m = warp_merged(m);
        if (lane == 0) means[group] = m.mean, scales[group] = rsqrtf(m.squares / m.count + g.eps);
    });
    __syncthreads();
    const int channel = threadIdx.x * EIGHT, each = g.c / GROUPS;
    float mean[EIGHT], scale[EIGHT], weight[EIGHT], bias[EIGHT];
    load8(weight, g.weight + channel);
    load8(bias, g.bias + channel);
    for (int j = 0; j < EIGHT; j++) {
        const int group = (channel + j) / each;
        mean[j] = means[group], scale[j] = scales[group] * weight[j];
    }
    const size_t map = size_t(blockIdx.y) * g.pixels * g.c;
    const T* x = static_cast<const T*>(g.x) + map;
    T* y = static_cast<T*>(g.y) + map;
    const Pixels pixels(g);
    for (int pixel = pixels.begin + threadIdx.y; pixel < pixels.end; pixel += blockDim.y) {
        float numbers[EIGHT];
        load8(numbers, x + size_t(pixel) * g.c + channel);
        for (int j = 0; j < EIGHT; j++) {
            const float normal = fmaf(numbers[j] - mean[j], scale[j], bias[j]);
            numbers[j] = g.silu ? silu(normal) : normal;
        }
        store8(y + size_t(pixel) * g.c + channel, numbers);
    }
}

// As `LayerNorm` in ../norm.rs.
struct LayerNorm {
    const void* x;               // (rows, c), c a multiple of 8
    const float *weight, *bias;  // (c)
    void* y;                     // like x
    int rows, c;
    float eps;
};

// A warp for each row.
template <class T>
__device__ __forceinline__ void layer_norm(const LayerNorm& l) {
    const int row = (blockIdx.x * blockDim.x + threadIdx.x) / LANES, lane = threadIdx.x % LANES, c = l.c;
    if (row >= l.rows) return;
    const T* x = static_cast<const T*>(l.x) + size_t(row) * c;
    T* y = static_cast<T*>(l.y) + size_t(row) * c;
    float numbers[EIGHT], sum = 0, squares = 0;
    for (int i = lane * EIGHT; i < c; i += LANES * EIGHT) {
        load8(numbers, x + i);
        for (int j = 0; j < EIGHT; j++) sum += numbers[j];
    }
    const float mean = warp_sum(sum) / c;
    for (int i = lane * EIGHT; i < c; i += LANES * EIGHT) {
        load8(numbers, x + i);
        for (int j = 0; j < EIGHT; j++) squares = fmaf(numbers[j] - mean, numbers[j] - mean, squares);
    }
    const float scale = rsqrtf(warp_sum(squares) / c + l.eps);
    for (int i = lane * EIGHT; i < c; i += LANES * EIGHT) {
        float w[EIGHT], b[EIGHT];
        load8(numbers, x + i);
        load8(w, l.weight + i);
        load8(b, l.bias + i);
        for (int j = 0; j < EIGHT; j++) numbers[j] = fmaf((numbers[j] - mean) * scale, w[j], b[j]);
        store8(y + i, numbers);
    }
}

#define NORMS(NAME, T)                                                                                              \
    extern "C" __global__ void __launch_bounds__(512) group_moments_##NAME(const GroupNorm g) { group_moments<T>(g); } \
    extern "C" __global__ void __launch_bounds__(512) group_norm_##NAME(const GroupNorm g) { group_norm<T>(g); }     \
    extern "C" __global__ void __launch_bounds__(128) layer_norm_##NAME(const LayerNorm l) { layer_norm<T>(l); }
NORMS(f16, __half)
NORMS(f32, float)
