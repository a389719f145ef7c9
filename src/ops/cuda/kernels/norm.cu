// Group norm (with or without SiLU) and layer norm, channels last.

#include "number.cuh"

// The count of some elements, their mean, and the sum of their squared deviations from it (Chan, Golub & LeVeque 1979).
// Unlike sums of squares this is accurate in f32 if the mean is large compared with the standard deviation.
struct Moments {
    float count, mean, squares;
};
static_assert(sizeof(Moments) == MOMENTS_SIZE);

__device__ __forceinline__ Moments merge(Moments a, Moments b) {
    const float count = a.count + b.count;
    if (count == 0.f) return a;
    const float delta = b.mean - a.mean, share = __fdividef(b.count, count);
    return {count, a.mean + delta * share, a.squares + b.squares + delta * delta * a.count * share};
}

__device__ __forceinline__ Moments warp_merge(Moments x) {
    for (int other = LANES / 2; other > 0; other /= 2) {
        x = merge(x, {__shfl_xor_sync(ALL_LANES, x.count, other), __shfl_xor_sync(ALL_LANES, x.mean, other),
                       __shfl_xor_sync(ALL_LANES, x.squares, other)});
    }
    return x;
}

static_assert(GROUPS == LANES, "a lane for each group");

// Pixels and moments that a thread loads ahead.
constexpr int PIXELS_AHEAD = 2, MOMENTS_AHEAD = 4;

// Mirrors `GroupNormParams` in ../norm.rs.
struct GroupNormParams {
    const void* x;                // (B, pixels, c), c a multiple of 32
    const float *weight, *bias;   // (c)
    Moments* moments;             // (B, parts, 32)
    void* y;                      // like x
    int parts, pixels, c;
    float eps;
    int silu;
};
static_assert(sizeof(GroupNormParams) == GROUP_NORM_PARAMS_SIZE);

// The pixels of this block, from `begin` up to `end`.
struct Pixels {
    int begin, end;

    __device__ __forceinline__ explicit Pixels(const GroupNormParams& g) {
        const int each = (g.pixels + g.parts - 1) / g.parts;
        begin = min(int(blockIdx.x) * each, g.pixels), end = min(begin + each, g.pixels);
    }
};

// Calls `f` with each pixel of this thread and its `VECTOR` channels.
template <class T, class F>
__device__ __forceinline__ void each_pixel(const GroupNormParams& g, const T* x, F f) {
    const Pixels pixels(g);
    const int step = blockDim.y, channel = threadIdx.x * VECTOR;
    for (int pixel = pixels.begin + threadIdx.y; pixel < pixels.end; pixel += PIXELS_AHEAD * step) {
        float values[PIXELS_AHEAD][VECTOR];
#pragma unroll
        for (int i = 0; i < PIXELS_AHEAD; i++) {
            if (pixel + i * step < pixels.end) load8(values[i], x + size_t(pixel + i * step) * g.c + channel);
        }
#pragma unroll
        for (int i = 0; i < PIXELS_AHEAD; i++) {
            if (pixel + i * step < pixels.end) f(pixel + i * step, values[i]);
        }
    }
}

// This thread's position among the complete warps of its block.
struct Warps {
    int count, warp, lane;
    bool is_whole;  // the last threads may not fill a warp

    __device__ __forceinline__ Warps() {
        const int thread = threadIdx.y * blockDim.x + threadIdx.x;
        count = blockDim.x * blockDim.y / LANES, warp = thread / LANES, lane = thread % LANES, is_whole = warp < count;
    }
};

// Calls `f` with each group and this lane, a warp per group.
template <class F>
__device__ __forceinline__ void each_group(F f) {
    const Warps warps;
    for (int group = warps.warp; warps.is_whole && group < GROUPS; group += warps.count) f(group, warps.lane);
}

// Computes the moments of each group over a part of the pixels.
// Launch: grid (parts, B); block (c / VECTOR, rows), at least a warp; rows · c Moments of shared memory. A thread takes
// `VECTOR` channels of every rows-th pixel.
template <class T>
__device__ __forceinline__ void group_moments(const GroupNormParams& g) {
    Moments* all = card::dynamic_shared<Moments>();  // (blockDim.y, c)
    const T* x = static_cast<const T*>(g.x) + size_t(blockIdx.y) * g.pixels * g.c;
    const int channel = threadIdx.x * VECTOR;

    // Deviations from each channel's first value, which is close enough to the mean.
    float pivot[VECTOR] = {}, sum[VECTOR] = {}, squares[VECTOR] = {};
    int count = 0;
    each_pixel(g, x, [&](int, const float(&values)[VECTOR]) {
        for (int j = 0; j < VECTOR; j++) {
            if (count == 0) pivot[j] = values[j];
            const float deviation = values[j] - pivot[j];
            sum[j] += deviation, squares[j] = fmaf(deviation, deviation, squares[j]);
        }
        count++;
    });
    for (int j = 0; j < VECTOR; j++) {
        const float n = count, mean = count > 0 ? sum[j] / n : 0.f;
        all[threadIdx.y * g.c + channel + j] = {n, pivot[j] + mean, squares[j] - sum[j] * mean};
    }
    __syncthreads();
    const int each = g.c / GROUPS;
    Moments* out = g.moments + (size_t(blockIdx.y) * g.parts + blockIdx.x) * GROUPS;
    each_group([&](int group, int lane) {
        Moments m = {0, 0, 0};
        for (int i = lane; i < int(blockDim.y) * each; i += LANES) {
            m = merge(m, all[i / each * g.c + group * each + i % each]);
        }
        m = warp_merge(m);
        if (lane == 0) out[group] = m;
    });
}

// Merges the moments of all parts and normalises. Launch: like group_moments, without dynamic shared memory.
template <class T>
__device__ __forceinline__ void group_norm(const GroupNormParams& g) {
    const int channel = threadIdx.x * VECTOR, each = g.c / GROUPS;
    __shared__ float means[GROUPS], scales[GROUPS];
    // An odd pitch spreads a column over the banks.
    __shared__ Moments warp_moments[GROUP_NORM_THREADS / LANES][GROUPS + 1];
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
            for (int i = 0; i < MOMENTS_AHEAD; i++) m = merge(m, some[i]);
        }
        warp_moments[warps.warp][warps.lane] = m;
    }
    __syncthreads();
    each_group([&](int group, int lane) {
        const Moments m = warp_merge(lane < warps.count ? warp_moments[lane][group] : Moments{0, 0, 0});
        if (lane == 0) means[group] = m.mean, scales[group] = rsqrtf(m.squares / m.count + g.eps);
    });
    __syncthreads();
    float mean[VECTOR], scale[VECTOR], weight[VECTOR], bias[VECTOR];
    load8(weight, g.weight + channel);
    load8(bias, g.bias + channel);
    for (int j = 0; j < VECTOR; j++) {
        const int group = (channel + j) / each;
        mean[j] = means[group], scale[j] = scales[group] * weight[j];
    }
    const size_t map = size_t(blockIdx.y) * g.pixels * g.c;
    const T* x = static_cast<const T*>(g.x) + map;
    T* y = static_cast<T*>(g.y) + map;
    each_pixel(g, x, [&](int pixel, float(&values)[VECTOR]) {
        for (int j = 0; j < VECTOR; j++) {
            const float normal = fmaf(values[j] - mean[j], scale[j], bias[j]);
            values[j] = g.silu ? silu(normal) : normal;
        }
        store8(y + size_t(pixel) * g.c + channel, values);
    });
}

// Mirrors `LayerNormParams` in ../norm.rs.
struct LayerNormParams {
    const void* x;               // (rows, c), c a multiple of 8
    const float *weight, *bias;  // (c)
    void* y;                     // like x
    int rows, c;
    float eps;
};
static_assert(sizeof(LayerNormParams) == LAYER_NORM_PARAMS_SIZE);

// Launch: a warp for each row.
template <class T>
__device__ __forceinline__ void layer_norm(const LayerNormParams& l) {
    const int row = (blockIdx.x * blockDim.x + threadIdx.x) / LANES, lane = threadIdx.x % LANES, c = l.c;
    if (row >= l.rows) return;
    const T* x = static_cast<const T*>(l.x) + size_t(row) * c;
    T* y = static_cast<T*>(l.y) + size_t(row) * c;
    float values[VECTOR], sum = 0, squares = 0;
    for (int i = lane * VECTOR; i < c; i += LANES * VECTOR) {
        load8(values, x + i);
        for (int j = 0; j < VECTOR; j++) sum += values[j];
    }
    const float mean = warp_sum(sum) / c;
    for (int i = lane * VECTOR; i < c; i += LANES * VECTOR) {
        load8(values, x + i);
        for (int j = 0; j < VECTOR; j++) squares = fmaf(values[j] - mean, values[j] - mean, squares);
    }
    const float scale = rsqrtf(warp_sum(squares) / c + l.eps);
    for (int i = lane * VECTOR; i < c; i += LANES * VECTOR) {
        float w[VECTOR], b[VECTOR];
        load8(values, x + i);
        load8(w, l.weight + i);
        load8(b, l.bias + i);
        for (int j = 0; j < VECTOR; j++) values[j] = fmaf((values[j] - mean) * scale, w[j], b[j]);
        store8(y + i, values);
    }
}

#define NORMS(NAME, T)                                                                                 \
    extern "C" __global__ void __launch_bounds__(GROUP_NORM_THREADS)                                   \
        group_moments_##NAME(const GroupNormParams g) { group_moments<T>(g); }                         \
    extern "C" __global__ void __launch_bounds__(GROUP_NORM_THREADS, 2)                                \
        group_norm_##NAME(const GroupNormParams g) { group_norm<T>(g); }                               \
    extern "C" __global__ void __launch_bounds__(LAYER_NORM_ROWS * LANES)                              \
        layer_norm_##NAME(const LayerNormParams l) { layer_norm<T>(l); }
NORMS(f16, __half)
NORMS(f32, float)
