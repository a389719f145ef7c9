// softmax(q·kᵀ / √d)·v without storing the matrix of scores: FlashAttention-2 (Dao 2023, arXiv 2307.08691) with the online
// softmax of Milakov & Gimelshein 2018 (arXiv 1805.02867).

#include "number.cuh"

// Mirrors `AttentionParams` in ../attention.rs.
struct AttentionParams {
    const void *q, *k, *v;  // (B, n, heads·d), (B, m, heads·d) twice
    void* y;                // (B, n, heads·d)
    int n, m, heads, d;
    int q_row, k_row, v_row;  // distance between rows, in elements; the heads of a row are contiguous
    float scale;              // of scores as exponents of 2: log2(e) / √d
};
static_assert(sizeof(AttentionParams) == ATTENTION_PARAMS_SIZE);

// Attention on tensor cores for heads of up to D channels, padded with zeros. A warp takes MT fragments of 16 queries.
// Two K/V tiles alternate in shared memory.
// Launch: grid (n / QUERIES rounded up, heads, B); ATTENTION_WARPS · LANES threads; 4 · TILE halves of shared memory.
template <int D, int QUERIES>
__device__ __forceinline__ void attention_f16(const AttentionParams& p) {
    constexpr int WARPS = ATTENTION_WARPS, THREADS = WARPS * LANES, KEYS = ATTENTION_KEYS;
    constexpr int MT = QUERIES / (WARPS * 16);
    static_assert(QUERIES % (WARPS * 16) == 0, "fragments divide the tile");
    constexpr int DK = (D + 15) / 16 * 16;         // whole fragments
    constexpr int PITCH = DK + VECTOR;             // eight successive rows of a column are in different banks
    constexpr int TILE = KEYS * PITCH;
    __half* shared = card::dynamic_shared<__half>();  // 2 × (k, v) of (KEYS, PITCH)

    const int thread = threadIdx.x, lane = thread % LANES, warp = thread / LANES;
    const int head = blockIdx.y * p.d;
    const __half* q = static_cast<const __half*>(p.q) + size_t(blockIdx.z) * p.n * p.q_row + head;
    const __half* k = static_cast<const __half*>(p.k) + size_t(blockIdx.z) * p.m * p.k_row + head;
    const __half* v = static_cast<const __half*>(p.v) + size_t(blockIdx.z) * p.m * p.v_row + head;
    const int query = blockIdx.x * QUERIES + warp * MT * 16 + lane / 4;  // and the query 8 further on, in each fragment

    // This thread loads one column of 16-byte chunks, or nothing past the last column.
    constexpr int CHUNKS = DK / VECTOR, ACROSS = CHUNKS <= 2 ? 2 : CHUNKS <= 8 ? 8 : CHUNKS <= 16 ? 16 : 32;
    constexpr int PASS = THREADS / ACROSS;
    static_assert(CHUNKS <= ACROSS && KEYS % PASS == 0, "loads divide the tile");
    const int column = thread % ACROSS * VECTOR, row = thread / ACROSS;
    k += size_t(row) * p.k_row + column, v += size_t(row) * p.v_row + column;
    int left = column < p.d ? p.m - row : 0;  // keys from this thread's first row on
    auto load_tile = [&](int stage) {
        __half* to = shared + stage * 2 * TILE + row * PITCH + column;
        if (column < DK) {
            // The addresses of invalid chunks may be out of bounds; they are not read.
#pragma unroll
            for (int i = 0; i < KEYS; i += PASS) {
                card::cp_async16(to + i * PITCH, k + i * p.k_row, i < left);
                card::cp_async16(to + TILE + i * PITCH, v + i * p.v_row, i < left);
            }
        }
        card::cp_async_commit();
        k += KEYS * p.k_row, v += KEYS * p.v_row, left -= KEYS;
    };

    load_tile(0);
    // Two channels of a query, zeros out of bounds.
    auto load_pair = [&](int row, int column) -> uint32_t {
        if (row >= p.n || column >= p.d) return 0;
        return *reinterpret_cast<const uint32_t*>(q + size_t(row) * p.q_row + column);
    };
    uint32_t a[MT][DK / 16][4];
    for (int mt = 0; mt < MT; mt++)
        for (int i = 0; i < DK / 16; i++) {
            const int row = query + mt * 16, column = i * 16 + lane % 4 * 2;
            a[mt][i][0] = load_pair(row, column), a[mt][i][1] = load_pair(row + 8, column);
            a[mt][i][2] = load_pair(row, column + 8), a[mt][i][3] = load_pair(row + 8, column + 8);
        }

    float y[MT][D / 8][4] = {}, row_max[MT][2], row_sum[MT][2] = {};
    for (int mt = 0; mt < MT; mt++) row_max[mt][0] = row_max[mt][1] = -INFINITY;

    const int tiles = (p.m + KEYS - 1) / KEYS;
    for (int tile = 0; tile < tiles; tile++) {
        card::cp_async_wait<0>();
        // All threads' copies have arrived, and none still reads the other stage.
        __syncthreads();
        if (tile + 1 < tiles) load_tile((tile + 1) % 2);
        const __half* keys = shared + tile % 2 * 2 * TILE;
        const __half* values = keys + TILE;

        float s[MT][KEYS / 8][4] = {};
#pragma unroll
        for (int i = 0; i < DK / 16; i++)
#pragma unroll
            for (int j = 0; j < KEYS / 8; j += 2) {
                uint32_t both[4];
                card::ldmatrix_x4(both, keys + (j * 8 + lane % 8 + lane / 16 * 8) * PITCH + i * 16 + lane / 8 % 2 * 8);
                const uint32_t left[2] = {both[0], both[1]}, right[2] = {both[2], both[3]};
#pragma unroll
                for (int mt = 0; mt < MT; mt++) {
                    card::mma_m16n8k16_f16(s[mt][j], a[mt][i], left);
                    card::mma_m16n8k16_f16(s[mt][j + 1], a[mt][i], right);
                }
            }
        if (tile == tiles - 1) {
#pragma unroll
            for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    if (tile * KEYS + j * 8 + lane % 4 * 2 + i % 2 >= p.m)
#pragma unroll
                        for (int mt = 0; mt < MT; mt++) s[mt][j][i] = -INFINITY;
        }
#pragma unroll
        for (int mt = 0; mt < MT; mt++)
#pragma unroll
            for (int half = 0; half < 2; half++) {  // rows g, and rows g + 8
                float new_max = row_max[mt][half];
#pragma unroll
                for (int j = 0; j < KEYS / 8; j++) {
                    new_max = fmaxf(new_max, fmaxf(s[mt][j][2 * half], s[mt][j][2 * half + 1]));
                }
                new_max = fmaxf(new_max, __shfl_xor_sync(ALL_LANES, new_max, 1));
                new_max = fmaxf(new_max, __shfl_xor_sync(ALL_LANES, new_max, 2));
                const float rescale = card::power_of_2((row_max[mt][half] - new_max) * p.scale), top = new_max * p.scale;
                row_max[mt][half] = new_max, row_sum[mt][half] *= rescale;
#pragma unroll
                for (int j = 0; j < D / 8; j++) y[mt][j][2 * half] *= rescale, y[mt][j][2 * half + 1] *= rescale;
#pragma unroll
                for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
                    for (int i = 2 * half; i < 2 * half + 2; i++) {
                        s[mt][j][i] = card::power_of_2(fmaf(s[mt][j][i], p.scale, -top));
                        row_sum[mt][half] += s[mt][j][i];
                    }
            }
        // The scores' registers are laid out like the left operand of the second product.
#pragma unroll
        for (int i = 0; i < KEYS / 16; i++) {
            uint32_t weight[MT][4];
#pragma unroll
            for (int mt = 0; mt < MT; mt++) {
                weight[mt][0] = pack(s[mt][2 * i][0], s[mt][2 * i][1]);
                weight[mt][1] = pack(s[mt][2 * i][2], s[mt][2 * i][3]);
                weight[mt][2] = pack(s[mt][2 * i + 1][0], s[mt][2 * i + 1][1]);
                weight[mt][3] = pack(s[mt][2 * i + 1][2], s[mt][2 * i + 1][3]);
            }
#pragma unroll
            for (int j = 0; j < D / 8; j += 2) {
                uint32_t both[4];
                card::ldmatrix_x4_trans(both, values + (i * 16 + lane % 16) * PITCH + j * 8 + lane / 16 * 8);
                const uint32_t left[2] = {both[0], both[1]}, right[2] = {both[2], both[3]};
#pragma unroll
                for (int mt = 0; mt < MT; mt++) {
                    card::mma_m16n8k16_f16(y[mt][j], weight[mt], left);
                    if (j + 1 < D / 8) card::mma_m16n8k16_f16(y[mt][j + 1], weight[mt], right);
                }
            }
        }
    }

    const int width = p.heads * p.d;
    __half* out = static_cast<__half*>(p.y) + size_t(blockIdx.z) * p.n * width + head;
#pragma unroll
    for (int mt = 0; mt < MT; mt++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float total = row_sum[mt][half];
            total += __shfl_xor_sync(ALL_LANES, total, 1);
            total += __shfl_xor_sync(ALL_LANES, total, 2);
            const int row = query + mt * 16 + half * 8;
            if (row >= p.n) continue;
            const float inverse = 1 / total;
#pragma unroll
            for (int j = 0; j < D / 8; j++) {
                const int column = j * 8 + lane % 4 * 2;
                if (column >= p.d) continue;
                *reinterpret_cast<uint32_t*>(out + size_t(row) * width + column) =
                    pack(y[mt][j][2 * half] * inverse, y[mt][j][2 * half + 1] * inverse);
            }
        }
}

// Attention in f32 arithmetic for either type and heads of any width up to LANES · COLUMNS. A warp takes EACH queries. A
// lane takes one key of a tile of LANES for the scores, then COLUMNS columns of y.
// Launch: grid (n / QUERIES rounded up, heads, B); ATTENTION_WARPS · LANES threads; shared memory as laid out below.
template <class T, int COLUMNS>
__device__ __forceinline__ void attention_any(const AttentionParams& p) {
    constexpr int WARPS = ATTENTION_WARPS, THREADS = WARPS * LANES;
    constexpr int QUERIES = ATTENTION_ANY_QUERIES, EACH = QUERIES / WARPS;
    // Rows are padded with zeros to whole float4s, and their distance is an odd number of those, so that eight rows of a
    // column are in different banks.
    const int d = p.d, fours = (d + 3) / 4, pitch = (fours | 1) * 4;
    float* keys = card::dynamic_shared<float>();  // (LANES, pitch), then the values of these keys
    float* queries = keys + LANES * pitch;        // (QUERIES, 4 · fours)
    float* weights = queries + QUERIES * 4 * fours;  // (WARPS, LANES, EACH)
    const int thread = threadIdx.x, lane = thread % LANES, warp = thread / LANES;
    const int head = blockIdx.y * d, query = blockIdx.x * QUERIES;
    const T* q = static_cast<const T*>(p.q) + size_t(blockIdx.z) * p.n * p.q_row + head;
    const T* k = static_cast<const T*>(p.k) + size_t(blockIdx.z) * p.m * p.k_row + head;
    const T* v = static_cast<const T*>(p.v) + size_t(blockIdx.z) * p.m * p.v_row + head;

    for (int i = thread; i < QUERIES * 4 * fours; i += THREADS) {
        const int row = min(query + i / (4 * fours), p.n - 1), column = i % (4 * fours);
        queries[i] = column < d ? to_float(q[size_t(row) * p.q_row + column]) : 0.f;
    }
    auto load_tile = [&](const T* from, int begin, int row_length) {
        __syncthreads();
#pragma unroll 4
        for (int row = warp; row < LANES; row += WARPS) {
            const bool exists = begin + row < p.m;
            const T* row_from = from + size_t(begin + row) * row_length;
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) {
                const int column = lane + j * LANES;
                if (column < 4 * fours) keys[row * pitch + column] = exists && column < d ? to_float(row_from[column]) : 0.f;
            }
        }
        __syncthreads();
    };

    auto load4 = [](const float* from) { return *reinterpret_cast<const float4*>(from); };
    const float* own = queries + warp * EACH * 4 * fours;
    float* warp_weights = weights + warp * LANES * EACH;
    float y[EACH][COLUMNS] = {}, row_max[EACH], row_sum[EACH] = {};
    for (int i = 0; i < EACH; i++) row_max[i] = -INFINITY;
    for (int begin = 0; begin < p.m; begin += LANES) {
        load_tile(k, begin, p.k_row);
        float weight[EACH] = {};
        for (int c = 0; c < 4 * fours; c += 4) {
            const float4 key = load4(keys + lane * pitch + c);
#pragma unroll
            for (int i = 0; i < EACH; i++) {
                const float4 query = load4(own + i * 4 * fours + c);
                weight[i] = fmaf(query.x, key.x, fmaf(query.y, key.y, fmaf(query.z, key.z, fmaf(query.w, key.w, weight[i]))));
            }
        }
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            if (begin + lane >= p.m) weight[i] = -INFINITY;
            const float new_max = fmaxf(row_max[i], warp_max(weight[i]));
            const float rescale = exp2f((row_max[i] - new_max) * p.scale);
            weight[i] = exp2f((weight[i] - new_max) * p.scale);
            row_max[i] = new_max, row_sum[i] = row_sum[i] * rescale + weight[i];
            warp_weights[lane * EACH + i] = weight[i];
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) y[i][j] *= rescale;
        }
        load_tile(v, begin, p.v_row);
        for (int key = 0; key < LANES; key++) {
            static_assert(EACH == 4, "the weights of a key are one float4");
            const float4 all = load4(warp_weights + key * EACH);
            const float key_weights[EACH] = {all.x, all.y, all.z, all.w};
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) {
                const int column = lane + j * LANES;
                const float value = column < d ? keys[key * pitch + column] : 0.f;
#pragma unroll
                for (int i = 0; i < EACH; i++) y[i][j] = fmaf(key_weights[i], value, y[i][j]);
            }
        }
    }
    const int width = p.heads * d;
    T* out = static_cast<T*>(p.y) + size_t(blockIdx.z) * p.n * width + head;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        const float total = warp_sum(row_sum[i]);
        const int row = query + warp * EACH + i;
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) {
            const int column = lane + j * LANES;
            if (row < p.n && column < d) out[size_t(row) * width + column] = from_float<T>(y[i][j] / total);
        }
    }
}

#define ATTENTION_F16(NAME, D, QUERIES)                                                                   \
    extern "C" __global__ void __launch_bounds__(ATTENTION_WARPS * LANES) NAME(const AttentionParams p) { \
        attention_f16<D, QUERIES>(p);                                                                     \
    }
ATTENTION_F16_TILES(ATTENTION_F16)

#define ATTENTION_ANY(COLUMNS)                                                     \
    extern "C" __global__ void __launch_bounds__(ATTENTION_WARPS * LANES)          \
        attention_any_f16_##COLUMNS(const AttentionParams p) { attention_any<__half, COLUMNS>(p); } \
    extern "C" __global__ void __launch_bounds__(ATTENTION_WARPS * LANES)          \
        attention_any_f32_##COLUMNS(const AttentionParams p) { attention_any<float, COLUMNS>(p); }
ATTENTION_ANY_COLUMNS(ATTENTION_ANY)
