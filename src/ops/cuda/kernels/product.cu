// y = x·wᵀ + bias, and what is added to it: linear layers, and convolutions as products over windows of the map
// ("implicit GEMM", Chetlur et al. 2014, arXiv 1410.0759), channels last.

#include "number.cuh"

// As `Product` in ../product.rs.
struct Product {
    const void* x;         // (B, h, w, c), c a multiple of 8
    const void* weight;    // (n, window, window, c)
    const float* bias;     // (n), or null
    const void* shift;     // (n), or null
    const void* residual;  // (m, n), or null
    void* y;               // (m, n), or with GEGLU (m, n / 2)
    float* sums;           // (slices, m, n): of parts of k, to be added up; or null
    int slices;
    int m, n, c;           // m: pixels of y
    int h, w;              // of x
    int h_out, w_out;      // of y
    int window;            // 1, or 3 with padding 1
    int stride;
    int geglu;             // whether of every 8 columns 4 are values and 4 their gates
};

// What the sums of some columns begin with, which is the same for all rows. n: which they are; behind the last one
// anything will do.
template <class T, int COLUMNS>
__device__ __forceinline__ void begin(const Product& p, const int (&n)[COLUMNS], float (&sum)[COLUMNS]) {
#pragma unroll
    for (int j = 0; j < COLUMNS; j++) sum[j] = 0;
    if (p.bias) {
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) sum[j] = p.bias[min(n[j], p.n - 1)];
    }
    if (p.shift) {
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) sum[j] += to_float(static_cast<const T*>(p.shift)[min(n[j], p.n - 1)]);
    }
}

// Of eight side by side.
template <class T>
__device__ __forceinline__ void begin(const Product& p, int n, float (&sum)[EIGHT]) {
    int columns[EIGHT];
    for (int j = 0; j < EIGHT; j++) columns[j] = n + j;
    begin<T>(p, columns, sum);
}

// Eight sums of row m, from column n on: the residual is added, and off they go.
template <class T>
__device__ __forceinline__ void finish(const Product& p, int m, int n, float (&sum)[EIGHT]) {
    const T* residual = static_cast<const T*>(p.residual);
    T* y = static_cast<T*>(p.y);
    if (residual) residual += size_t(m) * p.n + n;
    if (p.n % EIGHT != 0) {
        // Rolled up: it is for narrow layers, and stands in every kernel.
#pragma unroll 1
        for (int j = 0; j < EIGHT; j++) {
            if (n + j >= p.n) break;
            float s = 0;
#pragma unroll
            for (int i = 0; i < EIGHT; i++) s = i == j ? sum[i] : s;
            if (residual) s += to_float(residual[j]);
            y[size_t(m) * p.n + n + j] = from_float<T>(s);
        }
        return;
    }
    if (residual) {
        float more[EIGHT];
        load8(more, residual);
        for (int j = 0; j < EIGHT; j++) sum[j] += more[j];
    }
    if (!p.geglu) {
        store8(y + size_t(m) * p.n + n, sum);
        return;
    }
    float four[EIGHT / 2];
    for (int j = 0; j < EIGHT / 2; j++) four[j] = sum[j] * gelu(sum[EIGHT / 2 + j]);
    store4(y + size_t(m) * (p.n / 2) + n / 2, four);
}

// Eight sums, whole or of a part of k.
template <class T>
__device__ __forceinline__ void put(const Product& p, int m, int n, float (&sum)[EIGHT]) {
    if (!p.sums) {
        finish<T>(p, m, n, sum);
        return;
    }
    float* to = p.sums + (size_t(blockIdx.z) * p.m + m) * p.n + n;
    if (p.n % EIGHT == 0) {
        store8(to, sum);
    } else {
        for (int j = 0; j < EIGHT && n + j < p.n; j++) to[j] = sum[j];
    }
}

// The parts of k added up, in their order: the same sum every time.
template <class T>
__device__ __forceinline__ void add_slices(const Product& p) {
    const int across = (p.n + EIGHT - 1) / EIGHT;
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    const int m = i / across, n = i % across * EIGHT;
    if (m >= p.m) return;
    float sum[EIGHT];
    begin<T>(p, n, sum);
    for (int slice = 0; slice < p.slices; slice++) {
        const float* from = p.sums + (size_t(slice) * p.m + m) * p.n + n;
        if (p.n % EIGHT == 0) {
            float more[EIGHT];
            load8(more, from);
            for (int j = 0; j < EIGHT; j++) sum[j] += more[j];
        } else {
            for (int j = 0; j < EIGHT && n + j < p.n; j++) sum[j] += from[j];
        }
    }
    finish<T>(p, m, n, sum);
}

// Where the window of pixel m of y begins in x.
struct Corner {
    int y, x;       // may be -1, where padding begins
    size_t offset;  // of the map's first number
};

__device__ __forceinline__ Corner corner(const Product& p, int m) {
    const int pixels = p.h_out * p.w_out, b = m / pixels, pixel = m % pixels, padding = p.window / 2;
    return {pixel / p.w_out * p.stride - padding, pixel % p.w_out * p.stride - padding, size_t(b) * p.h * p.w * p.c};
}

// A stretch of k: some channels of one point of the window.
template <int BK>
struct Stretch {
    int row, column, channel, left;

    __device__ __forceinline__ explicit Stretch(const Product& p) {
        const int across = (p.c + BK - 1) / BK, all = across * p.window * p.window;
        const int each = (all + p.slices - 1) / p.slices, begin = min(int(blockIdx.z) * each, all);
        left = min(each, all - begin);
        const int point = begin / across;
        row = point / p.window, column = point % p.window, channel = begin % across * BK;
    }

    __device__ __forceinline__ void next(const Product& p) {
        left--, channel += BK;
        if (channel < p.c) return;
        channel = 0, column++;
        if (column < p.window) return;
        column = 0, row++;
    }
};

// On tensor cores: a block makes BM×BN of y, a warp WM×WN of that, and k goes by in stretches of 32, of which the next
// STAGES - 1 are on their way while one is multiplied.
template <int BM, int BN, int WM, int WN, int STAGES>
__device__ __forceinline__ void product_f16(const Product& p) {
    constexpr int BK = 32, CHUNKS = BK / EIGHT;  // of 16 bytes, in a row
    constexpr int THREADS = LANES * (BM / WM) * (BN / WN), PASS = THREADS / CHUNKS;
    constexpr int MI = WM / 16, NI = WN / 8, TIMES_M = BM / PASS, TIMES_N = (BN + PASS - 1) / PASS;
    static_assert(BM % PASS == 0 && WM % 16 == 0 && WN % 8 == 0, "tiles are whole");

    __half* shared = card::dynamic_shared<__half>();  // STAGES of (BM + BN, BK)
    const unsigned thread = threadIdx.x, lane = thread % LANES, warp = thread / LANES;
    const int block_m = blockIdx.x * BM, block_n = blockIdx.y * BN;
    const unsigned warp_m = warp % (BM / WM) * WM, warp_n = warp / (BM / WM) * WN;

    // Chunks are where eight rows of one column of them lie in different banks.
    auto place = [](unsigned row, unsigned chunk) { return row * BK + (chunk ^ (row / 2 % CHUNKS)) * EIGHT; };

    // This thread brings one column of chunks: of these rows of x, and of these of the weight. Places are counted in
    // eights: there are fewer than 2^31.
    const unsigned chunk = thread % CHUNKS, row = thread / CHUNKS;
    static_assert(PASS % (2 * CHUNKS) == 0, "rows a pass apart lie alike");
    const unsigned own = place(row, chunk);
    const int k = p.window * p.window * p.c;
    int y_of[TIMES_M], x_of[TIMES_M], x_at[TIMES_M], weight_at[TIMES_N];
    for (int i = 0; i < TIMES_M; i++) {
        const int m = block_m + row + i * PASS;
        const Corner from = corner(p, min(m, p.m - 1));
        y_of[i] = m < p.m ? from.y : p.h, x_of[i] = from.x;  // p.h: outside
        x_at[i] = int(from.offset / EIGHT) + (from.y * p.w + from.x) * (p.c / EIGHT) + int(chunk);
    }
    for (int i = 0; i < TIMES_N; i++) {
        // Columns behind the last one are made, of what is there, and not stored.
        weight_at[i] = min(block_n + int(row) + i * PASS, p.n - 1) * (k / EIGHT) + int(chunk);
    }
    const uint4* x = static_cast<const uint4*>(p.x);
    const uint4* weight = static_cast<const uint4*>(p.weight);

    // Of the point of the window that is brought: which rows of x are within the map, and how far it is.
    Stretch<BK> coming(p);
    const int stretches = coming.left;
    unsigned inside;
    int x_point, weight_point;
    auto look = [&] {
        inside = 0;
        for (int i = 0; i < TIMES_M; i++) {
            const bool is_inside = unsigned(y_of[i] + coming.row) < unsigned(p.h) && unsigned(x_of[i] + coming.column) < unsigned(p.w);
            inside |= unsigned(is_inside) << i;
        }
        x_point = (coming.row * p.w + coming.column) * (p.c / EIGHT);
        weight_point = (coming.row * p.window + coming.column) * (p.c / EIGHT);
    };
    look();

    auto bring = [&](int stage) {
        __half* to = shared + stage * (BM + BN) * BK + own;
        const bool exists = coming.left > 0 && coming.channel + int(chunk * EIGHT) < p.c;
        const int channel = coming.channel / EIGHT;
        // What is not valid is not read, wherever it would be.
#pragma unroll
        for (int i = 0; i < TIMES_M; i++) {
            card::cp_async16(to + i * PASS * BK, x + (x_at[i] + x_point + channel), exists && inside >> i & 1);
        }
#pragma unroll
        for (int i = 0; i < TIMES_N; i++) {
            if ((i + 1) * PASS > BN && int(row) + i * PASS >= BN) break;  // asked for the last time only
            card::cp_async16(to + (BM + i * PASS) * BK, weight + (weight_at[i] + weight_point + channel), exists);
        }
        card::cp_async_commit();
        coming.next(p);
        if (coming.channel == 0) look();
    };
    // Of the first 16 of k; the other 16 are two chunks further, one bit of their number.
    const unsigned left_at = place(warp_m + lane % 16, lane / 16);
    const unsigned right_at = place(BM + warp_n + lane % 8 + lane / 16 * 8, lane / 8 % 2);
    for (int stage = 0; stage < STAGES - 1; stage++) bring(stage);
    int columns[2 * NI];
    float first[2 * NI] = {}, sum[MI][NI][4];
#pragma unroll
    for (int i = 0; i < 2 * NI; i++) columns[i] = block_n + warp_n + i / 2 * 8 + lane % 4 * 2 + i % 2;
    if (!p.sums) begin<__half>(p, columns, first);
#pragma unroll
    for (int mi = 0; mi < MI; mi++)
#pragma unroll
        for (int ni = 0; ni < NI; ni++)
#pragma unroll
            for (int i = 0; i < 4; i++) sum[mi][ni][i] = first[ni * 2 + i % 2];
    for (int i = 0; i < stretches; i++) {
        card::cp_async_wait<STAGES - 2>();
        // Everybody's copies are there, and nobody reads the stage any more that is filled next.
        __syncthreads();
        const __half* from = shared + i % STAGES * (BM + BN) * BK;
#pragma unroll
        for (int step = 0; step < BK / 16; step++) {
            uint32_t a[MI][4], b[NI][2];
#pragma unroll
            for (int mi = 0; mi < MI; mi++) {
                // Rows 0–7 and 8–15 of the left half, then of the right.
                card::ldmatrix_x4(a[mi], from + mi * 16 * BK + (left_at ^ step * 2 * EIGHT));
            }
#pragma unroll
            for (int ni = 0; ni < NI; ni += 2) {
                // Columns 0–7: both halves of k; then columns 8–15, if there are so many.
                const __half* right = from + ni * 8 * BK + (right_at ^ step * 2 * EIGHT);
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
                for (int ni = 0; ni < NI; ni++) card::mma_m16n8k16_f16(sum[mi][ni], a[mi], b[ni]);
            // While tensor cores are busy.
            if (step == 0) bring((i + STAGES - 1) % STAGES);
        }
    }
    card::cp_async_wait<0>();
    __syncthreads();

    // Sums lie scattered over the lanes: through shared memory, 16 rows at a time, into rows of eight. So wide a pitch has
    // eight rows in different banks.
    constexpr int PITCH = WN % 16 == 0 ? WN + EIGHT : WN, ACROSS = WN / EIGHT;
    constexpr int ALL = 16 * ACROSS, TIMES = (ALL + LANES - 1) / LANES;
    static_assert(THREADS / LANES * 16 * PITCH * sizeof(float) <= STAGES * (BM + BN) * BK * sizeof(__half), "fits");
    float* strip = card::dynamic_shared<float>() + warp * 16 * PITCH;
    // The usual way, with the residual asked for before it is needed; and the others.
    const bool is_usual = !p.sums && !p.geglu && p.n % EIGHT == 0;
#pragma unroll
    for (int mi = 0; mi < MI; mi++) {
        // The i-th eight of the strip: where they are in y, if they are, and their sums.
        struct Eight {
            int m, n;
            bool exists;
            const float* sums;
        };
        auto eight = [&](int i) -> Eight {
            const int row = i / ACROSS, column = i % ACROSS * EIGHT;
            const int m = block_m + warp_m + mi * 16 + row, n = block_n + warp_n + column;
            return {m, n, i < ALL && m < p.m && n < p.n, strip + row * PITCH + column};
        };
        uint4 residual[TIMES];
        if (is_usual && p.residual) {
#pragma unroll
            for (int t = 0; t < TIMES; t++) {
                const Eight e = eight(lane + t * LANES);
                const uint4* from = static_cast<const uint4*>(p.residual) + (size_t(e.m) * p.n + e.n) / EIGHT;
                if (e.exists) residual[t] = *from;
            }
        }
        __syncwarp();
#pragma unroll
        for (int ni = 0; ni < NI; ni++) {
            float* to = strip + lane / 4 * PITCH + ni * 8 + lane % 4 * 2;
            to[0] = sum[mi][ni][0], to[1] = sum[mi][ni][1];
            to[8 * PITCH] = sum[mi][ni][2], to[8 * PITCH + 1] = sum[mi][ni][3];
        }
        __syncwarp();
        if (is_usual) {
#pragma unroll
            for (int t = 0; t < TIMES; t++) {
                const Eight e = eight(lane + t * LANES);
                if (!e.exists) continue;
                float sums[EIGHT];
                load8(sums, e.sums);
                if (p.residual) {
                    float more[EIGHT];
                    unpack(more, residual[t]);
                    for (int j = 0; j < EIGHT; j++) sums[j] += more[j];
                }
                store8(static_cast<__half*>(p.y) + size_t(e.m) * p.n + e.n, sums);
            }
        } else {
#pragma unroll 1
            for (int i = lane; i < ALL; i += LANES) {
                const Eight e = eight(i);
                if (!e.exists) continue;
                float sums[EIGHT];
                load8(sums, e.sums);
                put<__half>(p, e.m, e.n, sums);
            }
        }
    }
}

// In f32: a block makes BM×BN of y, a thread 8×8 of that.
template <int BM, int BN>
__device__ __forceinline__ void product_f32(const Product& p) {
    constexpr int BK = 16, FOURS = BK / 4, THREADS = BM / 8 * (BN / 8), PASS = THREADS / FOURS;
    static_assert(BM % PASS == 0 && BN % PASS == 0, "tiles are whole");
    constexpr int A = BM / PASS, B = BN / PASS;
    __shared__ __align__(16) float a[BK][BM + 4];
    __shared__ __align__(16) float b[BK][BN + 4];

    const int thread = threadIdx.x, four = thread % FOURS * 4, row = thread / FOURS;
    const int block_m = blockIdx.x * BM, block_n = blockIdx.y * BN;
    const int m0 = thread % (BM / 8) * 8, n0 = thread / (BM / 8) * 8;
    const float* x = static_cast<const float*>(p.x);
    const float* weight = static_cast<const float*>(p.weight);
    Corner corners[A];
    for (int i = 0; i < A; i++) {
        const int m = block_m + row + i * PASS;
        corners[i] = corner(p, min(m, p.m - 1));
        if (m >= p.m) corners[i].y = p.h;  // outside
    }
    const int k = p.window * p.window * p.c;

    float4 next_a[A], next_b[B];
    auto bring = [&](const Stretch<BK>& at) {
        const int channel = at.channel + four;
        const bool exists = at.left > 0 && channel < p.c;
#pragma unroll
        for (int i = 0; i < A; i++) {
            const int y_in = corners[i].y + at.row, x_in = corners[i].x + at.column;
            const bool valid = exists && unsigned(y_in) < unsigned(p.h) && unsigned(x_in) < unsigned(p.w);
            const size_t offset = corners[i].offset + (size_t(y_in) * p.w + x_in) * p.c + channel;
            next_a[i] = valid ? *reinterpret_cast<const float4*>(x + offset) : make_float4(0, 0, 0, 0);
        }
#pragma unroll
        for (int i = 0; i < B; i++) {
            const int n = block_n + row + i * PASS;
            const size_t offset = size_t(n) * k + (at.row * p.window + at.column) * p.c + channel;
            next_b[i] = exists && n < p.n ? *reinterpret_cast<const float4*>(weight + offset) : make_float4(0, 0, 0, 0);
        }
    };

    float sum[8][8] = {};
    if (!p.sums) begin<float>(p, block_n + n0, sum[0]);
    for (int i = 1; i < 8; i++)
        for (int j = 0; j < 8; j++) sum[i][j] = sum[0][j];
    Stretch<BK> coming(p);
    const int stretches = coming.left;
    bring(coming);
    for (int stretch = 0; stretch < stretches; stretch++) {
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
        coming.next(p);
        bring(coming);
#pragma unroll
        for (int step = 0; step < BK; step++) {
            float left[8], right[8];
            load8(left, &a[step][m0]);
            load8(right, &b[step][n0]);
#pragma unroll
            for (int i = 0; i < 8; i++)
#pragma unroll
                for (int j = 0; j < 8; j++) sum[i][j] = fmaf(left[i], right[j], sum[i][j]);
        }
    }
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const int m = block_m + m0 + i, n = block_n + n0;
        if (m < p.m && n < p.n) put<float>(p, m, n, sum[i]);
    }
}

// A few rows, a warp for each column of y: the weight goes by once.
template <class T>
__device__ __forceinline__ void product_rows(const Product& p) {
    constexpr int ROWS = 4;
    const int n = (blockIdx.x * blockDim.x + threadIdx.x) / LANES, lane = threadIdx.x % LANES;
    if (n >= p.n) return;
    const T* x = static_cast<const T*>(p.x);
    const T* weight = static_cast<const T*>(p.weight) + size_t(n) * p.c;
    const T* residual = static_cast<const T*>(p.residual);
    float first[1], sum[ROWS] = {};
    begin<T>(p, {n}, first);
    for (int c = lane * EIGHT; c < p.c; c += LANES * EIGHT) {
        float w[EIGHT], numbers[EIGHT];
        load8(w, weight + c);
        for (int m = 0; m < ROWS && m < p.m; m++) {
            load8(numbers, x + size_t(m) * p.c + c);
            for (int j = 0; j < EIGHT; j++) sum[m] = fmaf(w[j], numbers[j], sum[m]);
        }
    }
    for (int m = 0; m < ROWS && m < p.m; m++) {
        float s = first[0] + warp_sum(sum[m]);
        if (lane > 0) continue;
        if (residual) s += to_float(residual[size_t(m) * p.n + n]);
        static_cast<T*>(p.y)[size_t(m) * p.n + n] = from_float<T>(s);
    }
}

// WARPS of them make a tile, and of those a multiprocessor of Hopper's has so many.
#define PRODUCT_F16(BM, BN, WARPS, WM, WN, TILES)                                                   \
    extern "C" __global__ void __launch_bounds__(LANES * WARPS, TILES)                              \
        product_f16_##BM##x##BN##_##WARPS(const Product p) { product_f16<BM, BN, WM, WN, 4>(p); }  \
    static_assert(WARPS == (BM / WM) * (BN / WN), "as many");
PRODUCT_F16(128, 160, 4, 64, 80, 2)
PRODUCT_F16(128, 160, 8, 64, 40, 1)
PRODUCT_F16(64, 160, 4, 32, 80, 3)
PRODUCT_F16(128, 128, 4, 64, 64, 2)
PRODUCT_F16(128, 64, 4, 64, 32, 4)
PRODUCT_F16(64, 64, 4, 32, 32, 6)

extern "C" __global__ void __launch_bounds__(256) product_f32_128x128(const Product p) { product_f32<128, 128>(p); }
extern "C" __global__ void __launch_bounds__(64) product_f32_64x64(const Product p) { product_f32<64, 64>(p); }

extern "C" __global__ void add_slices_f16(const Product p) { add_slices<__half>(p); }
extern "C" __global__ void add_slices_f32(const Product p) { add_slices<float>(p); }

extern "C" __global__ void product_rows_f16(const Product p) { product_rows<__half>(p); }
extern "C" __global__ void product_rows_f32(const Product p) { product_rows<float>(p); }
