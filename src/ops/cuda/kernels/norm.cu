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
    const float apart = b.mean - a.mean, share = __fdividef(b.count, count);
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
static_assert(GROUPS == LANES, "a lane for each group");

// Threads of a block at most.
constexpr int MOST_THREADS = 512;

// What a thread has on its way at once: pixels, and moments.
constexpr int PIXELS_AHEAD = 2, MOMENTS_AHEAD = 4;

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

// Of every pixel that is this thread's, eight channels.
template <class T, class F>
__device__ __forceinline__ void each_pixel(const GroupNorm& g, const T* x, F f) {
    const Pixels pixels(g);
    const int step = blockDim.y, channel = threadIdx.x * EIGHT;
    for (int pixel = pixels.begin + threadIdx.y; pixel < pixels.end; pixel += PIXELS_AHEAD * step) {
        float numbers[PIXELS_AHEAD][EIGHT];
#pragma unroll
        for (int i = 0; i < PIXELS_AHEAD; i++) {
            if (pixel + i * step < pixels.end) load8(numbers[i], x + size_t(pixel + i * step) * g.c + channel);
        }
#pragma unroll
        for (int i = 0; i < PIXELS_AHEAD; i++) {
            if (pixel + i * step < pixels.end) f(pixel + i * step, numbers[i]);
        }
    }
}

// This thread among the whole warps of its block.
struct Warps {
    int count, warp, lane;
    bool is_whole;  // the last threads may be none

    __device__ __forceinline__ Warps() {
        const int thread = threadIdx.y * blockDim.x + threadIdx.x;
        count = blockDim.x * blockDim.y / LANES, warp = thread / LANES, lane = thread % LANES, is_whole = warp < count;
    }
};

// Every group is given to a warp.
template <class F>
__device__ __forceinline__ void each_group(F f) {
    const Warps warps;
    for (int group = warps.warp; warps.is_whole && group < GROUPS; group += warps.count) f(group, warps.lane);
}

// Threads: (c / 8, some), a warp of them at least: each eight channels of every some-th pixel. Blocks: (parts, B).
template <class T>
__device__ __forceinline__ void group_moments(const GroupNorm& g) {
    Moments* all = card::dynamic_shared<Moments>();  // (blockDim.y, c)
    const T* x = static_cast<const T*>(g.x) + size_t(blockIdx.y) * g.pixels * g.c;
    const int channel = threadIdx.x * EIGHT;

    // Distances from each channel's first number, which is near enough to the mean.
    float pivot[EIGHT] = {}, sum[EIGHT] = {}, squares[EIGHT] = {};
    int count = 0;
    each_pixel(g, x, [&](int, const float(&numbers)[EIGHT]) {
        for (int j = 0; j < EIGHT; j++) {
            if (count == 0) pivot[j] = numbers[j];
            const float distance = numbers[j] - pivot[j];
            sum[j] += distance, squares[j] = fmaf(distance, distance, squares[j]);
        }
        count++;
    });
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
    const int channel = threadIdx.x * EIGHT, each = g.c / GROUPS;
    __shared__ float means[GROUPS], scales[GROUPS];
    __shared__ Moments of_warps[MOST_THREADS / LANES][GROUPS + 1];  // odd: one column lies in different banks
    const Warps warps;
    if (warps.is_whole) {
        Moments m = {0, 0, 0};
        const Moments* from = g.moments + size_t(blockIdx.y) * g.parts * GROUPS + warps.lane;
        for (int part = warps.warp; part < g.parts; part += MOMENTS_AHEAD * warps.count) {
            Moments some[MOMENTS_AHEAD];
#pragma unroll
            for (int i = 0; i < MOMENTS_AHEAD; i++) {
                const int at = part + i * warps.count;
                some[i] = at < g.parts ? from[at * GROUPS] : Moments{0, 0, 0};
            }
#pragma unroll
            for (int i = 0; i < MOMENTS_AHEAD; i++) m = merged(m, some[i]);
        }
        of_warps[warps.warp][warps.lane] = m;
    }
    __syncthreads();
    each_group([&](int group, int lane) {
        const Moments m = warp_merged(lane < warps.count ? of_warps[lane][group] : Moments{0, 0, 0});
        if (lane == 0) means[group] = m.mean, scales[group] = rsqrtf(m.squares / m.count + g.eps);
    });
    __syncthreads();
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
    each_pixel(g, x, [&](int pixel, float(&numbers)[EIGHT]) {
        for (int j = 0; j < EIGHT; j++) {
            const float normal = fmaf(numbers[j] - mean[j], scale[j], bias[j]);
            numbers[j] = g.silu ? silu(normal) : normal;
        }
        store8(y + size_t(pixel) * g.c + channel, numbers);
    });
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
    extern "C" __global__ void __launch_bounds__(MOST_THREADS) group_moments_##NAME(const GroupNorm g) { group_moments<T>(g); } \
    extern "C" __global__ void __launch_bounds__(MOST_THREADS, 2) group_norm_##NAME(const GroupNorm g) { group_norm<T>(g); }     \
    extern "C" __global__ void __launch_bounds__(128) layer_norm_##NAME(const LayerNorm l) { layer_norm<T>(l); }
NORMS(f16, __half)
NORMS(f32, float)
