// Maps made of others, channels last, and sums of latents. A thread for each word or number that comes out.

#include "number.cuh"

// What this thread is for, if it is for anything; counted in 32 bits where they suffice, as division is slow in 64.
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

// As `Upsample` in ../maps.rs.
struct Upsample {
    const void* x;  // (B, h, w, c) words
    void* y;        // (B, height, width, c) words
    size_t words;   // of y
    int h, w, c, height, width;
};

// Every pixel four times, then cut.
template <class Word>
__device__ __forceinline__ void upsample(const Upsample& u) {
    each(u.words, [&](auto i) {
        const auto pixel = i / u.c, line = pixel / u.width;
        const auto from = (line / u.height * u.h + line % u.height / 2) * u.w + pixel % u.width / 2;
        static_cast<Word*>(u.y)[i] = static_cast<const Word*>(u.x)[size_t(from) * u.c + i % u.c];
    });
}

// As `Concat` in ../maps.rs.
struct Concat {
    const void* x;       // (pixels, c_x) words
    const void* skip;    // (pixels_skip, c_skip) words, again and again
    void* y;             // (pixels, c_x + c_skip) words
    size_t words;        // of y
    size_t pixels_skip;
    int c_x, c_skip;
};

// The channels of both.
template <class Word>
__device__ __forceinline__ void concat(const Concat& p) {
    each(p.words, [&](auto i) {
        const int c = p.c_x + p.c_skip, channel = i % c;
        const auto pixel = i / c;
        const Word* x = static_cast<const Word*>(p.x) + size_t(pixel) * p.c_x;
        const Word* skip = static_cast<const Word*>(p.skip) + size_t(pixel % decltype(i)(p.pixels_skip)) * p.c_skip;
        static_cast<Word*>(p.y)[i] = channel < p.c_x ? x[channel] : skip[channel - p.c_x];
    });
}

// As `Widen` in ../maps.rs.
struct Widen {
    const void* x;   // (rows, c)
    void* y;         // (rows, wide)
    size_t numbers;  // of y
    int c, wide;
};

// Zeros behind each row, and all as other numbers.
template <class From, class To>
__device__ __forceinline__ void widen(const Widen& p) {
    each(p.numbers, [&](auto i) {
        const int channel = i % p.wide;
        const From* row = static_cast<const From*>(p.x) + size_t(i / p.wide) * p.c;
        static_cast<To*>(p.y)[i] = from_float<To>(channel < p.c ? to_float(row[channel]) : 0.f);
    });
}

constexpr int MOST_TERMS = 8;

// As `Sum` in ../maps.rs.
struct Sum {
    const float* x[MOST_TERMS];
    double weights[MOST_TERMS];
    float* y;
    size_t numbers;
    int terms;
};

// Each number added up in f64, and rounded once.
extern "C" __global__ void weighted_sum(const Sum s) {
    each(s.numbers, [&](auto i) {
        double sum = 0;
        for (int term = 0; term < s.terms; ++term) sum += s.weights[term] * s.x[term][i];
        s.y[i] = float(sum);
    });
}

#define COPIES(BYTES, WORD)                                                                 \
    extern "C" __global__ void upsample_##BYTES(const Upsample u) { upsample<WORD>(u); }    \
    extern "C" __global__ void concat_##BYTES(const Concat p) { concat<WORD>(p); }
COPIES(2, uint16_t)
COPIES(4, uint32_t)
COPIES(16, uint4)

#define WIDEN(NAME, FROM, TO) \
    extern "C" __global__ void widen_##NAME(const Widen p) { widen<FROM, TO>(p); }
WIDEN(f32_f32, float, float)
WIDEN(f32_f16, float, __half)
WIDEN(f16_f16, __half, __half)
WIDEN(f16_f32, __half, float)
