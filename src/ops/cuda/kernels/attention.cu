// softmax(q·kᵀ / √d)·v without the whole matrix of scores (Dao 2023, arXiv 2307.08691, with the online softmax of
// Milakov & Gimelshein 2018, arXiv 1805.02867).

#include "number.cuh"

// As `Attention` in ../attention.rs. A row of q, k or v begins every so many numbers; heads lie side by side in it.
struct Attention {
    const void *q, *k, *v;  // (B, n, heads·d), (B, m, heads·d) twice
    void* y;                // (B, n, heads·d)
    int n, m, heads, d;
    int q_row, k_row, v_row;
    float scale;            // of scores, for powers of 2: log2(e) / √d
};

// On tensor cores: a warp has 16·MT queries; D is the width of a head, or a little more (it is filled up with zeros).
// Blocks: (queries, heads, B) of 4 warps.
template <int D, int MT>
__device__ __forceinline__ void attention_f16(const Attention& p) {
    constexpr int WARPS = 4, THREADS = WARPS * LANES, KEYS = 64, QUERIES = WARPS * MT * 16;
    constexpr int DK = (D + 15) / 16 * 16;         // what is multiplied goes in sixteens
    constexpr int PITCH = DK + EIGHT;              // eight rows of one column lie in different banks
    constexpr int TILE = KEYS * PITCH;
    __half* shared = card::dynamic_shared<__half>();  // 2 × (k, v) of (KEYS, PITCH)

    const int thread = threadIdx.x, lane = thread % LANES, warp = thread / LANES;
    const int head = blockIdx.y * p.d;
    const __half* q = static_cast<const __half*>(p.q) + size_t(blockIdx.z) * p.n * p.q_row + head;
    const __half* k = static_cast<const __half*>(p.k) + size_t(blockIdx.z) * p.m * p.k_row + head;
    const __half* v = static_cast<const __half*>(p.v) + size_t(blockIdx.z) * p.m * p.v_row + head;
    const int query = blockIdx.x * QUERIES + warp * MT * 16 + lane / 4;  // and 8 further, for each of MT

    // This thread brings one column of chunks, of 16 bytes, if there are so many.
    constexpr int CHUNKS = DK / EIGHT, ACROSS = CHUNKS <= 2 ? 2 : CHUNKS <= 8 ? 8 : CHUNKS <= 16 ? 16 : 32;
    constexpr int PASS = THREADS / ACROSS;
    static_assert(CHUNKS <= ACROSS && KEYS % PASS == 0, "tiles are whole");
    const int column = thread % ACROSS * EIGHT, row = thread / ACROSS;
    k += size_t(row) * p.k_row + column, v += size_t(row) * p.v_row + column;
    int left = column < p.d ? p.m - row : 0;  // keys from this thread's first on
    auto bring = [&](int stage) {
        __half* to = shared + stage * 2 * TILE + row * PITCH + column;
        if (column < DK) {
            // What is not valid is not read, wherever it would be.
#pragma unroll
            for (int i = 0; i < KEYS; i += PASS) {
                card::cp_async16(to + i * PITCH, k + i * p.k_row, i < left);
                card::cp_async16(to + TILE + i * PITCH, v + i * p.v_row, i < left);
            }
        }
        card::cp_async_commit();
        k += KEYS * p.k_row, v += KEYS * p.v_row, left -= KEYS;
    };

    bring(0);
    // Two numbers of a query, zeros beyond what there is.
    auto two = [&](int row, int column) -> uint32_t {
        if (row >= p.n || column >= p.d) return 0;
        return *reinterpret_cast<const uint32_t*>(q + size_t(row) * p.q_row + column);
    };
    uint32_t a[MT][DK / 16][4];
    for (int mt = 0; mt < MT; mt++)
        for (int i = 0; i < DK / 16; i++) {
            const int row = query + mt * 16, column = i * 16 + lane % 4 * 2;
            a[mt][i][0] = two(row, column), a[mt][i][1] = two(row + 8, column);
            a[mt][i][2] = two(row, column + 8), a[mt][i][3] = two(row + 8, column + 8);
        }

    float y[MT][D / 8][4] = {}, most[MT][2], sum[MT][2] = {};
    for (int mt = 0; mt < MT; mt++) most[mt][0] = most[mt][1] = -INFINITY;

    const int tiles = (p.m + KEYS - 1) / KEYS;
    for (int tile = 0; tile < tiles; tile++) {
        card::cp_async_wait<0>();
        // Everybody's copies are there, and nobody reads the other stage any more.
        __syncthreads();
        if (tile + 1 < tiles) bring((tile + 1) % 2);
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
                float now = most[mt][half];
#pragma unroll
                for (int j = 0; j < KEYS / 8; j++) now = fmaxf(now, fmaxf(s[mt][j][2 * half], s[mt][j][2 * half + 1]));
                now = fmaxf(now, __shfl_xor_sync(ALL_LANES, now, 1));
                now = fmaxf(now, __shfl_xor_sync(ALL_LANES, now, 2));
                const float less = card::power_of_2((most[mt][half] - now) * p.scale), top = now * p.scale;
                most[mt][half] = now, sum[mt][half] *= less;
#pragma unroll
                for (int j = 0; j < D / 8; j++) y[mt][j][2 * half] *= less, y[mt][j][2 * half + 1] *= less;
#pragma unroll
                for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
                    for (int i = 2 * half; i < 2 * half + 2; i++) {
                        s[mt][j][i] = card::power_of_2(fmaf(s[mt][j][i], p.scale, -top));
                        sum[mt][half] += s[mt][j][i];
                    }
            }
        // The scores lie in the lanes as the left side of the next product wants them.
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
            float all = sum[mt][half];
            all += __shfl_xor_sync(ALL_LANES, all, 1);
            all += __shfl_xor_sync(ALL_LANES, all, 2);
            const int row = query + mt * 16 + half * 8;
            if (row >= p.n) continue;
            const float share = 1 / all;
#pragma unroll
            for (int j = 0; j < D / 8; j++) {
                const int column = j * 8 + lane % 4 * 2;
                if (column >= p.d) continue;
                *reinterpret_cast<uint32_t*>(out + size_t(row) * width + column) =
                    pack(y[mt][j][2 * half] * share, y[mt][j][2 * half + 1] * share);
            }
        }
}

// In f32 whatever the numbers are, and for heads of any width up to 32·WIDE: a warp has four queries, a lane one key of
// 32 at a time, then some columns of y. Blocks: (queries, heads, B) of 4 warps.
template <class T, int WIDE>
__device__ __forceinline__ void attention_any(const Attention& p) {
    constexpr int WARPS = 4, EACH = 4, QUERIES = WARPS * EACH, THREADS = WARPS * LANES;
    // Rows are filled up with zeros to whole fours, and so far apart, an odd number of fours, that one column of fours of
    // 8 rows lies in different banks.
    const int d = p.d, fours = (d + 3) / 4, pitch = (fours | 1) * 4;
    float* keys = card::dynamic_shared<float>();  // (LANES, pitch), then the values of the same
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
    auto bring = [&](const T* from, int begin, int row_length) {
        __syncthreads();
#pragma unroll 4
        for (int row = warp; row < LANES; row += WARPS) {
            const bool exists = begin + row < p.m;
            const T* row_from = from + size_t(begin + row) * row_length;
#pragma unroll
            for (int j = 0; j < WIDE; j++) {
                const int column = lane + j * LANES;
                if (column < 4 * fours) keys[row * pitch + column] = exists && column < d ? to_float(row_from[column]) : 0.f;
            }
        }
        __syncthreads();
    };

    auto four = [](const float* from) { return *reinterpret_cast<const float4*>(from); };
    const float* own = queries + warp * EACH * 4 * fours;
    float* of_warp = weights + warp * LANES * EACH;
    float y[EACH][WIDE] = {}, most[EACH], sum[EACH] = {};
    for (int i = 0; i < EACH; i++) most[i] = -INFINITY;
    for (int begin = 0; begin < p.m; begin += LANES) {
        bring(k, begin, p.k_row);
        float weight[EACH] = {};
        for (int c = 0; c < 4 * fours; c += 4) {
            const float4 key = four(keys + lane * pitch + c);
#pragma unroll
            for (int i = 0; i < EACH; i++) {
                const float4 query = four(own + i * 4 * fours + c);
                weight[i] = fmaf(query.x, key.x, fmaf(query.y, key.y, fmaf(query.z, key.z, fmaf(query.w, key.w, weight[i]))));
            }
        }
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            if (begin + lane >= p.m) weight[i] = -INFINITY;
            const float now = fmaxf(most[i], warp_max(weight[i]));
            const float less = exp2f((most[i] - now) * p.scale);
            weight[i] = exp2f((weight[i] - now) * p.scale);
            most[i] = now, sum[i] = sum[i] * less + weight[i];
            of_warp[lane * EACH + i] = weight[i];
#pragma unroll
            for (int j = 0; j < WIDE; j++) y[i][j] *= less;
        }
        bring(v, begin, p.v_row);
        for (int key = 0; key < LANES; key++) {
            static_assert(EACH == 4, "the weights of a key are one four");
            const float4 all = four(of_warp + key * EACH);
            const float of_key[EACH] = {all.x, all.y, all.z, all.w};
#pragma unroll
            for (int j = 0; j < WIDE; j++) {
                const int column = lane + j * LANES;
                const float value = column < d ? keys[key * pitch + column] : 0.f;
#pragma unroll
                for (int i = 0; i < EACH; i++) y[i][j] = fmaf(of_key[i], value, y[i][j]);
            }
        }
    }
    const int width = p.heads * d;
    T* out = static_cast<T*>(p.y) + size_t(blockIdx.z) * p.n * width + head;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        const float all = warp_sum(sum[i]);
        const int row = query + warp * EACH + i;
#pragma unroll
        for (int j = 0; j < WIDE; j++) {
            const int column = lane + j * LANES;
            if (row < p.n && column < d) out[size_t(row) * width + column] = from_float<T>(y[i][j] / all);
        }
    }
}

#define ATTENTION_F16(NAME, D, MT) \
    extern "C" __global__ void __launch_bounds__(128) attention_f16_##NAME(const Attention p) { attention_f16<D, MT>(p); }
ATTENTION_F16(16, 16, 1)
ATTENTION_F16(40, 40, 2)
ATTENTION_F16(64, 64, 2)
ATTENTION_F16(80, 80, 2)
ATTENTION_F16(80_short, 80, 1)
ATTENTION_F16(160, 160, 1)

#define ATTENTION_ANY(WIDE)                                                                                     \
    extern "C" __global__ void __launch_bounds__(128) attention_any_f16_##WIDE(const Attention p) {             \
        attention_any<__half, WIDE>(p);                                                                         \
    }                                                                                                           \
    extern "C" __global__ void __launch_bounds__(128) attention_any_f32_##WIDE(const Attention p) {             \
        attention_any<float, WIDE>(p);                                                                          \
    }
ATTENTION_ANY(2)
ATTENTION_ANY(5)
ATTENTION_ANY(16)
