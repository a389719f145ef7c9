// Copies of maps, channels last, and sums of latents. A thread for each word or element of the output.

#include "number.cuh"

// Calls `f` with this thread's index if it is below `count`: as 32 bits if they suffice, as 64-bit division is slow.
template <class F>
__device__ __forceinline__ void each(size_t count, F f) {
    const size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= count) return;
    if (count >> 32) {
        f(i);
    } else {
        f(unsigned(i));
    }
}

// Mirrors `UpsampleParams` in ../maps.rs.
struct UpsampleParams {
    const void* x;  // (B, h, w, c) words
    void* y;        // (B, height, width, c) words
    size_t words;   // of y
    int h, w, c, height, width;
};
static_assert(sizeof(UpsampleParams) == UPSAMPLE_PARAMS_SIZE);

// Doubles a map in both directions (nearest neighbour), cropped to height × width.
template <class Word>
__device__ __forceinline__ void upsample(const UpsampleParams& p) {
    each(p.words, [&](auto i) {
        const auto pixel = i / p.c, line = pixel / p.width;
        const auto from = (line / p.height * p.h + line % p.height / 2) * p.w + pixel % p.width / 2;
        static_cast<Word*>(p.y)[i] = static_cast<const Word*>(p.x)[size_t(from) * p.c + i % p.c];
    });
}

// Mirrors `ConcatParams` in ../maps.rs.
struct ConcatParams {
    const void* x;       // (pixels, c_x) words
    const void* skip;    // (pixels_skip, c_skip) words, repeated
    void* y;             // (pixels, c_x + c_skip) words
    size_t words;        // of y
    size_t pixels_skip;
    int c_x, c_skip;
};
static_assert(sizeof(ConcatParams) == CONCAT_PARAMS_SIZE);

// Concatenates the channels of two maps.
template <class Word>
__device__ __forceinline__ void concat(const ConcatParams& p) {
    each(p.words, [&](auto i) {
        const int c = p.c_x + p.c_skip, channel = i % c;
        const auto pixel = i / c;
        const Word* x = static_cast<const Word*>(p.x) + size_t(pixel) * p.c_x;
        const Word* skip = static_cast<const Word*>(p.skip) + size_t(pixel % decltype(i)(p.pixels_skip)) * p.c_skip;
        static_cast<Word*>(p.y)[i] = channel < p.c_x ? x[channel] : skip[channel - p.c_x];
    });
}

// Mirrors `PadParams` in ../maps.rs.
struct PadParams {
    const void* x;    // (rows, c)
    void* y;          // (rows, padded)
    size_t elements;  // of y
    int c, padded;
};
static_assert(sizeof(PadParams) == PAD_PARAMS_SIZE);

// Pads each row with zeros and converts its elements.
template <class From, class To>
__device__ __forceinline__ void pad(const PadParams& p) {
    each(p.elements, [&](auto i) {
        const int channel = i % p.padded;
        const From* row = static_cast<const From*>(p.x) + size_t(i / p.padded) * p.c;
        static_cast<To*>(p.y)[i] = from_float<To>(channel < p.c ? to_float(row[channel]) : 0.f);
    });
}

// Mirrors `WeightedSumParams` in ../maps.rs.
struct WeightedSumParams {
    const float* x[MAX_TERMS];
    double weights[MAX_TERMS];
    float* y;
    size_t elements;
    int terms;
};
static_assert(sizeof(WeightedSumParams) == WEIGHTED_SUM_PARAMS_SIZE);

// Adds up each element in f64 and rounds it once.
extern "C" __global__ void weighted_sum(const WeightedSumParams p) {
    each(p.elements, [&](auto i) {
        double sum = 0;
        for (int term = 0; term < p.terms; ++term) sum += p.weights[term] * p.x[term][i];
        p.y[i] = float(sum);
    });
}

#define COPIES(BYTES, WORD)                                                                 \
    extern "C" __global__ void upsample_##BYTES(const UpsampleParams p) { upsample<WORD>(p); }    \
    extern "C" __global__ void concat_##BYTES(const ConcatParams p) { concat<WORD>(p); }
COPIES(2, uint16_t)
COPIES(4, uint32_t)
COPIES(16, uint4)

#define PAD(NAME, FROM, TO) \
    extern "C" __global__ void pad_##NAME(const PadParams p) { pad<FROM, TO>(p); }
PAD(f32_f32, float, float)
PAD(f32_f16, float, __half)
PAD(f16_f16, __half, __half)
PAD(f16_f32, __half, float)
