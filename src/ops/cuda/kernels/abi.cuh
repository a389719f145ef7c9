// The numbers that kernels and their callers share: tiles, limits, and the sizes of the kernels' parameters.
//
// build.rs translates this file to Rust constants of the same names, so it keeps to three forms: `constexpr int NAME =
// VALUE;`, a table `NAME(X)` of rows `X(…)` of names and integers, and comments on lines of their own. A table becomes an
// array of tuples.
#pragma once

// Threads of a warp.
constexpr int LANES = 32;
// Elements that a thread loads or stores at once.
constexpr int VECTOR = 8;

// The K tile of the f16 GEMM, in channels, and the K tiles that are in shared memory at once.
constexpr int GEMM_F16_BK = 32;
constexpr int GEMM_F16_STAGES = 4;
// X(kernel, BM, BN, WM, WN, blocks): a block of threads computes BM×BN of y, a warp WM×WN of that. `blocks`: those that
// a multiprocessor of an H100 holds at once.
#define GEMM_F16_TILES(X)                         \
    X(gemm_f16_128x160_4, 128, 160, 64, 80, 2)    \
    X(gemm_f16_128x160_8, 128, 160, 64, 40, 1)    \
    X(gemm_f16_64x160_4, 64, 160, 32, 80, 3)      \
    X(gemm_f16_128x128_4, 128, 128, 64, 64, 2)    \
    X(gemm_f16_128x64_4, 128, 64, 64, 32, 4)      \
    X(gemm_f16_64x64_4, 64, 64, 32, 32, 6)
// X(kernel, BM, BN, speed): a thread computes 8×8. `speed`: multiply-adds per clock of a multiprocessor, an estimate.
#define GEMM_F32_TILES(X)                 \
    X(gemm_f32_128x128, 128, 128, 90)     \
    X(gemm_f32_64x64, 64, 64, 60)
// The most rows of x that the GEMV kernels take.
constexpr int GEMV_ROWS = 4;

// Warps of a block of an attention kernel.
constexpr int ATTENTION_WARPS = 4;
// The K/V tile of the tensor-core kernels, in keys.
constexpr int ATTENTION_KEYS = 64;
// X(kernel, D, queries): the widest head, and the queries of a block.
#define ATTENTION_F16_TILES(X)           \
    X(attention_f16_16, 16, 64)          \
    X(attention_f16_40, 40, 128)         \
    X(attention_f16_64, 64, 128)         \
    X(attention_f16_80, 80, 128)         \
    X(attention_f16_80_short, 80, 64)    \
    X(attention_f16_160, 160, 64)
// X(columns): the columns of y that a lane of the kernels for any width holds, which take heads up to LANES · columns.
#define ATTENTION_ANY_COLUMNS(X) X(2) X(5) X(16)
// The queries of a block of these.
constexpr int ATTENTION_ANY_QUERIES = 16;

// Groups of a group norm.
constexpr int GROUPS = 32;
// The most threads of a block of the group norm.
constexpr int GROUP_NORM_THREADS = 512;
// Rows of a block of the layer norm, one for each warp.
constexpr int LAYER_NORM_ROWS = 4;

// The most terms of a weighted sum.
constexpr int MAX_TERMS = 8;

// Sizes of the structs that both sides declare, in bytes.
constexpr int GEMM_PARAMS_SIZE = 104;
constexpr int ATTENTION_PARAMS_SIZE = 64;
constexpr int GROUP_NORM_PARAMS_SIZE = 64;
constexpr int LAYER_NORM_PARAMS_SIZE = 48;
constexpr int MOMENTS_SIZE = 12;
constexpr int UPSAMPLE_PARAMS_SIZE = 48;
constexpr int CONCAT_PARAMS_SIZE = 48;
constexpr int PAD_PARAMS_SIZE = 32;
constexpr int WEIGHTED_SUM_PARAMS_SIZE = 152;
