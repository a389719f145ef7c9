// y = x·wᵀ + bias + shift + residual: linear layers, and convolutions as implicit GEMMs over the windows of a map
// (Chetlur et al. 2014, arXiv 1410.0759), channels last.

#include "number.cuh"

// Mirrors `GemmParams` in ../gemm.rs.
struct GemmParams {
    const void* x;         // (B, h, w, c), c a multiple of 8
    const void* weight;    // (n, window, window, c)
    const float* bias;     // (n), or null
    const void* shift;     // (n), or null
    const void* residual;  // (m, n), or null
    void* y;               // (m, n), or with GEGLU (m, n / 2)
    float* partials;       // (splits, m, n): the split-K workspace, or null without split-K
    int splits;            // of K
    int m, n, c;           // m: the rows of y, one per pixel
    int h, w;              // of x
    int h_out, w_out;      // of y
    int window;            // 1, or 3 with padding 1
    int stride;
    int geglu;             // 1 if every 8 columns are 4 values followed by their 4 gates, otherwise 0
};
static_assert(sizeof(GemmParams) == GEMM_PARAMS_SIZE);

// Initialises the accumulators of columns `n` of any row: bias + shift. Columns past the last one get arbitrary values.
template <class T, int COLUMNS>
__device__ __forceinline__ void init_acc(const GemmParams& p, const int (&n)[COLUMNS], float (&acc)[COLUMNS]) {
#pragma unroll
    for (int j = 0; j < COLUMNS; j++) acc[j] = 0;
    if (p.bias) {
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) acc[j] = p.bias[min(n[j], p.n - 1)];
    }
    if (p.shift) {
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) acc[j] += to_float(static_cast<const T*>(p.shift)[min(n[j], p.n - 1)]);
    }
}

// Initialises the accumulators of `VECTOR` columns from `n`.
template <class T>
__device__ __forceinline__ void init_acc(const GemmParams& p, int n, float (&acc)[VECTOR]) {
    int columns[VECTOR];
    for (int j = 0; j < VECTOR; j++) columns[j] = n + j;
    init_acc<T>(p, columns, acc);
}

// Finishes `VECTOR` sums of row `m` from column `n`: adds the residual, applies GEGLU and stores them to y.
template <class T>
__device__ __forceinline__ void epilogue(const GemmParams& p, int m, int n, float (&acc)[VECTOR]) {
    const T* residual = static_cast<const T*>(p.residual);
    T* y = static_cast<T*>(p.y);
    if (residual) residual += size_t(m) * p.n + n;
    if (p.n % VECTOR != 0) {
        // Not unrolled: only narrow layers get here, but every kernel contains this code.
#pragma unroll 1
        for (int j = 0; j < VECTOR; j++) {
            if (n + j >= p.n) break;
            float s = 0;
#pragma unroll
            for (int i = 0; i < VECTOR; i++) s = i == j ? acc[i] : s;
            if (residual) s += to_float(residual[j]);
            y[size_t(m) * p.n + n + j] = from_float<T>(s);
        }
        return;
    }
    if (residual) {
        float addend[VECTOR];
        load8(addend, residual);
        for (int j = 0; j < VECTOR; j++) acc[j] += addend[j];
    }
    if (!p.geglu) {
        store8(y + size_t(m) * p.n + n, acc);
        return;
    }
    float gated[VECTOR / 2];
    for (int j = 0; j < VECTOR / 2; j++) gated[j] = acc[j] * gelu(acc[VECTOR / 2 + j]);
    store4(y + size_t(m) * (p.n / 2) + n / 2, gated);
}

// Stores `VECTOR` sums of row `m` from column `n`: to the workspace with split-K, otherwise through the epilogue.
template <class T>
__device__ __forceinline__ void store(const GemmParams& p, int m, int n, float (&acc)[VECTOR]) {
    if (!p.partials) {
        epilogue<T>(p, m, n, acc);
        return;
    }
    float* to = p.partials + (size_t(blockIdx.z) * p.m + m) * p.n + n;
    if (p.n % VECTOR == 0) {
        store8(to, acc);
    } else {
        for (int j = 0; j < VECTOR && n + j < p.n; j++) to[j] = acc[j];
    }
}

// Adds up the partial sums of split-K, always in the same order, so that results are reproducible. A thread for every
// `VECTOR` columns of a row.
template <class T>
__device__ __forceinline__ void splitk_reduce(const GemmParams& p) {
    const int across = (p.n + VECTOR - 1) / VECTOR;
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    const int m = i / across, n = i % across * VECTOR;
    if (m >= p.m) return;
    float acc[VECTOR];
    init_acc<T>(p, n, acc);
    for (int split = 0; split < p.splits; split++) {
        const float* from = p.partials + (size_t(split) * p.m + m) * p.n + n;
        if (p.n % VECTOR == 0) {
            float addend[VECTOR];
            load8(addend, from);
            for (int j = 0; j < VECTOR; j++) acc[j] += addend[j];
        } else {
            for (int j = 0; j < VECTOR && n + j < p.n; j++) acc[j] += from[j];
        }
    }
    epilogue<T>(p, m, n, acc);
}

// The top left pixel of a window in x.
struct WindowOrigin {
    int y, x;       // -1 in the padding
    size_t offset;  // of the map's initial element
};

// Returns the window of pixel `m` of y.
__device__ __forceinline__ WindowOrigin window_origin(const GemmParams& p, int m) {
    const int pixels = p.h_out * p.w_out, b = m / pixels, pixel = m % pixels, padding = p.window / 2;
    return {pixel / p.w_out * p.stride - padding, pixel % p.w_out * p.stride - padding, size_t(b) * p.h * p.w * p.c};
}

// Iterates over the K tiles of a block's split: BK channels of one point of the window at a time.
template <int BK>
struct KTiles {
    int row, column, channel;  // of the current tile
    int left;                  // tiles from the current one on

    __device__ __forceinline__ explicit KTiles(const GemmParams& p) {
        const int across = (p.c + BK - 1) / BK, all = across * p.window * p.window;
        const int each = (all + p.splits - 1) / p.splits, begin = min(int(blockIdx.z) * each, all);
        left = min(each, all - begin);
        const int point = begin / across;
        row = point / p.window, column = point % p.window, channel = begin % across * BK;
    }

    __device__ __forceinline__ void advance(const GemmParams& p) {
        left--, channel += BK;
        if (channel < p.c) return;
        channel = 0, column++;
        if (column < p.window) return;
        column = 0, row++;
    }
};

// GEMM on tensor cores: a block computes BM×BN of y, a warp WM×WN of that. A software pipeline of STAGES buffers loads
// the next STAGES - 1 K tiles while one is multiplied.
// Launch: grid (m / BM, n / BN, splits), rounded up; BM/WM · BN/WN warps; STAGES · (BM + BN) · BK halves of shared memory.
template <int BM, int BN, int WM, int WN>
__device__ __forceinline__ void gemm_f16(const GemmParams& p) {
    constexpr int BK = GEMM_F16_BK, STAGES = GEMM_F16_STAGES;
    constexpr int CHUNKS = BK / VECTOR;  // of 16 bytes, in a row of a tile
    constexpr int THREADS = LANES * (BM / WM) * (BN / WN), PASS = THREADS / CHUNKS;
    constexpr int MI = WM / 16, NI = WN / 8, TIMES_M = BM / PASS, TIMES_N = (BN + PASS - 1) / PASS;
    static_assert(BM % PASS == 0 && WM % 16 == 0 && WN % 8 == 0, "loads and fragments divide the tile");

    __half* shared = card::dynamic_shared<__half>();  // STAGES of (BM + BN, BK)
    const unsigned thread = threadIdx.x, lane = thread % LANES, warp = thread / LANES;
    const int block_m = blockIdx.x * BM, block_n = blockIdx.y * BN;
    const unsigned warp_m = warp % (BM / WM) * WM, warp_n = warp / (BM / WM) * WN;

    // The swizzled position of a chunk: the chunks of one column and eight successive rows are in different banks.
    auto swizzle = [](unsigned row, unsigned chunk) { return row * BK + (chunk ^ (row / 2 % CHUNKS)) * VECTOR; };

    // This thread loads one column of chunks, from every PASS-th row of x and of the weight. Offsets count vectors, as
    // there are fewer than 2^31 of those.
    const unsigned chunk = thread % CHUNKS, row = thread / CHUNKS;
    static_assert(PASS % (2 * CHUNKS) == 0, "rows PASS apart are swizzled alike");
    const unsigned own = swizzle(row, chunk);
    const int k = p.window * p.window * p.c;
    int y_of[TIMES_M], x_of[TIMES_M], x_at[TIMES_M], weight_at[TIMES_N];
    for (int i = 0; i < TIMES_M; i++) {
        const int m = block_m + row + i * PASS;
        const WindowOrigin from = window_origin(p, min(m, p.m - 1));
        y_of[i] = m < p.m ? from.y : p.h, x_of[i] = from.x;  // p.h is outside of the map
        x_at[i] = int(from.offset / VECTOR) + (from.y * p.w + from.x) * (p.c / VECTOR) + int(chunk);
    }
    for (int i = 0; i < TIMES_N; i++) {
        // Columns past the last one are computed from the last one's weights and not stored.
        weight_at[i] = min(block_n + int(row) + i * PASS, p.n - 1) * (k / VECTOR) + int(chunk);
    }
    const uint4* x = static_cast<const uint4*>(p.x);
    const uint4* weight = static_cast<const uint4*>(p.weight);

    // For the next tile's point of the window: a bit set of the rows that are inside of the map, and the point's offsets.
    KTiles<BK> next(p);
    const int k_tiles = next.left;
    unsigned inside;
    int x_point, weight_point;
    auto advance_window = [&] {
        inside = 0;
        for (int i = 0; i < TIMES_M; i++) {
            const bool is_inside =
                unsigned(y_of[i] + next.row) < unsigned(p.h) && unsigned(x_of[i] + next.column) < unsigned(p.w);
            inside |= unsigned(is_inside) << i;
        }
        x_point = (next.row * p.w + next.column) * (p.c / VECTOR);
        weight_point = (next.row * p.window + next.column) * (p.c / VECTOR);
    };
    advance_window();

    auto load_tile = [&](int stage) {
        __half* to = shared + stage * (BM + BN) * BK + own;
        const bool exists = next.left > 0 && next.channel + int(chunk * VECTOR) < p.c;
        const int channel = next.channel / VECTOR;
        // The addresses of invalid chunks may be out of bounds; they are not read.
#pragma unroll
        for (int i = 0; i < TIMES_M; i++) {
            card::cp_async16(to + i * PASS * BK, x + (x_at[i] + x_point + channel), exists && inside >> i & 1);
        }
#pragma unroll
        for (int i = 0; i < TIMES_N; i++) {
            if ((i + 1) * PASS > BN && int(row) + i * PASS >= BN) break;  // only the last pass is partial
            card::cp_async16(to + (BM + i * PASS) * BK, weight + (weight_at[i] + weight_point + channel), exists);
        }
        card::cp_async_commit();
        next.advance(p);
        if (next.channel == 0) advance_window();
    };
    // Offsets of this lane's fragments for the initial 16 channels. The other 16 are two chunks on: one bit of the offset.
    const unsigned left_at = swizzle(warp_m + lane % 16, lane / 16);
    const unsigned right_at = swizzle(BM + warp_n + lane % 8 + lane / 16 * 8, lane / 8 % 2);
    for (int stage = 0; stage < STAGES - 1; stage++) load_tile(stage);
    int columns[2 * NI];
    float initial[2 * NI] = {}, acc[MI][NI][4];
#pragma unroll
    for (int i = 0; i < 2 * NI; i++) columns[i] = block_n + warp_n + i / 2 * 8 + lane % 4 * 2 + i % 2;
    if (!p.partials) init_acc<__half>(p, columns, initial);
#pragma unroll
    for (int mi = 0; mi < MI; mi++)
#pragma unroll
        for (int ni = 0; ni < NI; ni++)
#pragma unroll
            for (int i = 0; i < 4; i++) acc[mi][ni][i] = initial[ni * 2 + i % 2];
    for (int i = 0; i < k_tiles; i++) {
        card::cp_async_wait<STAGES - 2>();
        // All threads' copies have arrived, and none still reads the stage that is loaded next.
        __syncthreads();
        const __half* from = shared + i % STAGES * (BM + BN) * BK;
#pragma unroll
        for (int step = 0; step < BK / 16; step++) {
            uint32_t a[MI][4], b[NI][2];
#pragma unroll
            for (int mi = 0; mi < MI; mi++) {
                // Rows 0–7 and 8–15 of channels 0–7, then of channels 8–15.
                card::ldmatrix_x4(a[mi], from + mi * 16 * BK + (left_at ^ step * 2 * VECTOR));
            }
#pragma unroll
            for (int ni = 0; ni < NI; ni += 2) {
                // Both halves of K for columns 0–7, then for columns 8–15 unless the warp's tile ends there.
                const __half* right = from + ni * 8 * BK + (right_at ^ step * 2 * VECTOR);
                if (ni + 1 == NI) {
                    card::ldmatrix_x2(b[ni], right);
                    break;
                }
                uint32_t both[4];
                card::ldmatrix_x4(both, right);
                b[ni][0] = both[0], b[ni][1] = both[1], b[ni + 1][0] = both[2], b[ni + 1][1] = both[3];
            }
#pragma unroll
            for (int mi = 0; mi < MI; mi++)
#pragma unroll
                for (int ni = 0; ni < NI; ni++) card::mma_m16n8k16_f16(acc[mi][ni], a[mi], b[ni]);
            // Loads are issued while the tensor cores are busy.
            if (step == 0) load_tile((i + STAGES - 1) % STAGES);
        }
    }
    card::cp_async_wait<0>();
    __syncthreads();

    // The accumulators are scattered over the lanes: they go through shared memory, 16 rows at a time, to become vectors.
    // This pitch puts eight successive rows in different banks.
    constexpr int PITCH = WN % 16 == 0 ? WN + VECTOR : WN, ACROSS = WN / VECTOR;
    constexpr int ALL = 16 * ACROSS, TIMES = (ALL + LANES - 1) / LANES;
    static_assert(THREADS / LANES * 16 * PITCH * sizeof(float) <= STAGES * (BM + BN) * BK * sizeof(__half), "fits");
    float* staging = card::dynamic_shared<float>() + warp * 16 * PITCH;
    // The common case loads the residual before it is needed.
    const bool is_plain = !p.partials && !p.geglu && p.n % VECTOR == 0;
#pragma unroll
    for (int mi = 0; mi < MI; mi++) {
        // Vector `i` of the staged rows: its position in y, whether y has it, and its sums.
        struct Staged {
            int m, n;
            bool exists;
            const float* sums;
        };
        auto staged = [&](int i) -> Staged {
            const int row = i / ACROSS, column = i % ACROSS * VECTOR;
            const int m = block_m + warp_m + mi * 16 + row, n = block_n + warp_n + column;
            return {m, n, i < ALL && m < p.m && n < p.n, staging + row * PITCH + column};
        };
        uint4 residual[TIMES];
        if (is_plain && p.residual) {
#pragma unroll
            for (int t = 0; t < TIMES; t++) {
                const Staged e = staged(lane + t * LANES);
                const uint4* from = static_cast<const uint4*>(p.residual) + (size_t(e.m) * p.n + e.n) / VECTOR;
                if (e.exists) residual[t] = *from;
            }
        }
        __syncwarp();
#pragma unroll
        for (int ni = 0; ni < NI; ni++) {
            float* to = staging + lane / 4 * PITCH + ni * 8 + lane % 4 * 2;
            to[0] = acc[mi][ni][0], to[1] = acc[mi][ni][1];
            to[8 * PITCH] = acc[mi][ni][2], to[8 * PITCH + 1] = acc[mi][ni][3];
        }
        __syncwarp();
        if (is_plain) {
#pragma unroll
            for (int t = 0; t < TIMES; t++) {
                const Staged e = staged(lane + t * LANES);
                if (!e.exists) continue;
                float sums[VECTOR];
                load8(sums, e.sums);
                if (p.residual) {
                    float addend[VECTOR];
                    unpack(addend, residual[t]);
                    for (int j = 0; j < VECTOR; j++) sums[j] += addend[j];
                }
                store8(static_cast<__half*>(p.y) + size_t(e.m) * p.n + e.n, sums);
            }
        } else {
#pragma unroll 1
            for (int i = lane; i < ALL; i += LANES) {
                const Staged e = staged(i);
                if (!e.exists) continue;
                float sums[VECTOR];
                load8(sums, e.sums);
                store<__half>(p, e.m, e.n, sums);
            }
        }
    }
}

// GEMM in f32: a block computes BM×BN of y, a thread 8×8 of that.
// Launch: grid (m / BM, n / BN, splits), rounded up; BM/8 · BN/8 threads; no dynamic shared memory.
template <int BM, int BN>
__device__ __forceinline__ void gemm_f32(const GemmParams& p) {
    constexpr int BK = 16, FOURS = BK / 4, THREADS = BM / 8 * (BN / 8), PASS = THREADS / FOURS;
    static_assert(BM % PASS == 0 && BN % PASS == 0, "loads divide the tile");
    constexpr int A = BM / PASS, B = BN / PASS;
    __shared__ __align__(16) float a[BK][BM + 4];
    __shared__ __align__(16) float b[BK][BN + 4];

    const int thread = threadIdx.x, four = thread % FOURS * 4, row = thread / FOURS;
    const int block_m = blockIdx.x * BM, block_n = blockIdx.y * BN;
    const int m0 = thread % (BM / 8) * 8, n0 = thread / (BM / 8) * 8;
    const float* x = static_cast<const float*>(p.x);
    const float* weight = static_cast<const float*>(p.weight);
    WindowOrigin origins[A];
    for (int i = 0; i < A; i++) {
        const int m = block_m + row + i * PASS;
        origins[i] = window_origin(p, min(m, p.m - 1));
        if (m >= p.m) origins[i].y = p.h;  // outside of the map
    }
    const int k = p.window * p.window * p.c;

    float4 next_a[A], next_b[B];
    auto load_tile = [&](const KTiles<BK>& at) {
        const int channel = at.channel + four;
        const bool exists = at.left > 0 && channel < p.c;
#pragma unroll
        for (int i = 0; i < A; i++) {
            const int y_in = origins[i].y + at.row, x_in = origins[i].x + at.column;
            const bool valid = exists && unsigned(y_in) < unsigned(p.h) && unsigned(x_in) < unsigned(p.w);
            const size_t offset = origins[i].offset + (size_t(y_in) * p.w + x_in) * p.c + channel;
            next_a[i] = valid ? *reinterpret_cast<const float4*>(x + offset) : make_float4(0, 0, 0, 0);
        }
#pragma unroll
        for (int i = 0; i < B; i++) {
            const int n = block_n + row + i * PASS;
            const size_t offset = size_t(n) * k + (at.row * p.window + at.column) * p.c + channel;
            next_b[i] = exists && n < p.n ? *reinterpret_cast<const float4*>(weight + offset) : make_float4(0, 0, 0, 0);
        }
    };

    float acc[8][8] = {};
    if (!p.partials) init_acc<float>(p, block_n + n0, acc[0]);
    for (int i = 1; i < 8; i++)
        for (int j = 0; j < 8; j++) acc[i][j] = acc[0][j];
    KTiles<BK> next(p);
    const int k_tiles = next.left;
    load_tile(next);
    for (int k_tile = 0; k_tile < k_tiles; k_tile++) {
        __syncthreads();
#pragma unroll
        for (int i = 0; i < A; i++) {
            const int r = row + i * PASS;
            a[four][r] = next_a[i].x, a[four + 1][r] = next_a[i].y;
            a[four + 2][r] = next_a[i].z, a[four + 3][r] = next_a[i].w;
        }
#pragma unroll
        for (int i = 0; i < B; i++) {
            const int r = row + i * PASS;
            b[four][r] = next_b[i].x, b[four + 1][r] = next_b[i].y;
            b[four + 2][r] = next_b[i].z, b[four + 3][r] = next_b[i].w;
        }
        __syncthreads();
        next.advance(p);
        load_tile(next);
#pragma unroll
        for (int step = 0; step < BK; step++) {
            float left[8], right[8];
            load8(left, &a[step][m0]);
            load8(right, &b[step][n0]);
#pragma unroll
            for (int i = 0; i < 8; i++)
#pragma unroll
                for (int j = 0; j < 8; j++) acc[i][j] = fmaf(left[i], right[j], acc[i][j]);
        }
    }
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const int m = block_m + m0 + i, n = block_n + n0;
        if (m < p.m && n < p.n) store<float>(p, m, n, acc[i]);
    }
}

// A GEMM of up to GEMV_ROWS rows, bound by reading the weight once. A warp for each column of y.
template <class T>
__device__ __forceinline__ void gemv(const GemmParams& p) {
    constexpr int ROWS = GEMV_ROWS;
    const int n = (blockIdx.x * blockDim.x + threadIdx.x) / LANES, lane = threadIdx.x % LANES;
    if (n >= p.n) return;
    const T* x = static_cast<const T*>(p.x);
    const T* weight = static_cast<const T*>(p.weight) + size_t(n) * p.c;
    const T* residual = static_cast<const T*>(p.residual);
    float initial[1], acc[ROWS] = {};
    init_acc<T>(p, {n}, initial);
    for (int c = lane * VECTOR; c < p.c; c += LANES * VECTOR) {
        float w[VECTOR], values[VECTOR];
        load8(w, weight + c);
        for (int m = 0; m < ROWS && m < p.m; m++) {
            load8(values, x + size_t(m) * p.c + c);
            for (int j = 0; j < VECTOR; j++) acc[m] = fmaf(w[j], values[j], acc[m]);
        }
    }
    for (int m = 0; m < ROWS && m < p.m; m++) {
        float s = initial[0] + warp_sum(acc[m]);
        if (lane > 0) continue;
        if (residual) s += to_float(residual[size_t(m) * p.n + n]);
        static_cast<T*>(p.y)[size_t(m) * p.n + n] = from_float<T>(s);
    }
}

#define GEMM_F16(NAME, BM, BN, WM, WN, BLOCKS)                                                              \
    extern "C" __global__ void __launch_bounds__(LANES * (BM / WM) * (BN / WN), BLOCKS) NAME(const GemmParams p) { \
        gemm_f16<BM, BN, WM, WN>(p);                                                                        \
    }
GEMM_F16_TILES(GEMM_F16)

#define GEMM_F32(NAME, BM, BN, SPEED) \
    extern "C" __global__ void __launch_bounds__(BM / 8 * (BN / 8)) NAME(const GemmParams p) { gemm_f32<BM, BN>(p); }
GEMM_F32_TILES(GEMM_F32)

extern "C" __global__ void splitk_reduce_f16(const GemmParams p) { splitk_reduce<__half>(p); }
extern "C" __global__ void splitk_reduce_f32(const GemmParams p) { splitk_reduce<float>(p); }

extern "C" __global__ void gemv_f16(const GemmParams p) { gemv<__half>(p); }
extern "C" __global__ void gemv_f32(const GemmParams p) { gemv<float>(p); }
