// Compares every kernel of src/ops/cuda/kernels with plain loops in f64: on the emulated GPU of card.hpp, or on a real GPU if
// nvcc compiles this file, which also checks the emulation:
//
//   nvcc -std=c++17 -O2 -arch=native -x cu tests/card/kernels.cpp -o kernels && ./kernels

#ifdef __CUDACC__
#include "gpu.hpp"
#else
#include "card.hpp"
#endif

#include "../../src/ops/cuda/kernels/all.cu"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

using std::vector;

static int failures = 0;

// Reproducible standard normal numbers, times `scale`.
static vector<float> random(size_t count, int seed, float scale = 1) {
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal;
    vector<float> numbers(count);
    for (float& x : numbers) x = scale * normal(generator);
    return numbers;
}

// Global memory.
template <class T>
struct Memory {
    size_t count;
    T* at;

    explicit Memory(size_t count) : count(count), at(static_cast<T*>(card::alloc_global(count * sizeof(T)))) {
        memset(static_cast<void*>(at), 0xff, count * sizeof(T));  // NaN, if it is read before it is written
    }
    explicit Memory(const vector<float>& numbers) : Memory(numbers.size()) {
        for (size_t i = 0; i < count; i++) at[i] = T(numbers[i]);
    }
    Memory(const Memory&) = delete;
    ~Memory() { card::free_global(at); }

    vector<float> numbers() const { return vector<float>(at, at + count); }
};

// Prints and counts whether `ours` is within a relative distance (in the 2-norm) of `limit` to `plain`.
static void expect_close(const std::string& name, const vector<float>& ours, const vector<double>& plain, double limit) {
    double distance = 0, size = 0;
    for (size_t i = 0; i < plain.size(); i++) {
        distance += (ours[i] - plain[i]) * (ours[i] - plain[i]), size += plain[i] * plain[i];
    }
    const double error = sqrt(distance / size);
    const bool good = ours.size() == plain.size() && error <= limit;
    printf("%s %-70s %.1e of %.1e\n", good ? "ok  " : "FAIL", name.c_str(), error, limit);
    failures += !good;
}

// Relative errors of results that are rounded to f16 once or twice, and of results in f32.
template <class T> constexpr double LIMIT = sizeof(T) == 2 ? 6e-4 : 2e-6;
template <class T> const char* NAME = sizeof(T) == 2 ? "f16" : "f32";

struct Gemm {
    std::string name;
    void (*kernel)(GemmParams);
    int bm, bn, threads, shared;
};

template <class T> vector<Gemm> gemms();
template <> vector<Gemm> gemms<__half>() {
#define GEMM(NAME, BM, BN, WM, WN, BLOCKS) \
    {#NAME, NAME, BM, BN, LANES * (BM / WM) * (BN / WN), int(GEMM_F16_STAGES * (BM + BN) * GEMM_F16_BK * sizeof(__half))},
    return {GEMM_F16_TILES(GEMM)};
#undef GEMM
}
template <> vector<Gemm> gemms<float>() {
#define GEMM(NAME, BM, BN, SPEED) {#NAME, NAME, BM, BN, BM / 8 * (BN / 8), 0},
    return {GEMM_F32_TILES(GEMM)};
#undef GEMM
}

template <class T>
void test_gemms() {
    struct Case {
        int b, h, w, c, n, window, stride, splits;
        bool residual, shift, geglu;
    };
    for (const Case& o : {Case{1, 1, 70, 40, 72, 1, 1, 1, true, false, false}, {1, 1, 130, 136, 165, 1, 1, 1, false, true, false},
                          {1, 1, 33, 64, 48, 1, 1, 1, false, false, true}, {2, 9, 7, 40, 24, 3, 1, 1, true, false, false},
                          {2, 9, 7, 16, 19, 3, 2, 1, false, true, false}, {1, 8, 8, 72, 176, 3, 1, 3, true, true, false},
                          {1, 3, 3, 8, 3, 3, 1, 4, true, false, false}, {2, 5, 6, 96, 32, 3, 2, 2, false, false, false}}) {
        const int h_out = (o.h + o.stride - 1) / o.stride, w_out = (o.w + o.stride - 1) / o.stride;
        const int m = o.b * h_out * w_out, k = o.window * o.window * o.c, width = o.geglu ? o.n / 2 : o.n;
        Memory<T> x(random(size_t(o.b) * o.h * o.w * o.c, 1)), weight(random(size_t(o.n) * k, 2, 1 / sqrt(float(k))));
        Memory<T> shift(random(o.n, 4)), residual(random(size_t(m) * o.n, 5));
        Memory<float> bias(random(o.n, 3)), partials(size_t(o.splits) * m * o.n);
        GemmParams p = {x.at, weight.at, bias.at, o.shift ? shift.at : nullptr, o.residual ? residual.at : nullptr, nullptr,
                     o.splits > 1 ? partials.at : nullptr, o.splits, m, o.n, o.c, o.h, o.w, h_out, w_out, o.window, o.stride, o.geglu};

        vector<double> sums(size_t(m) * o.n), plain(size_t(m) * width);
        for (int i = 0; i < m; i++)
            for (int n = 0; n < o.n; n++) {
                double sum = bias.at[n] + (o.shift ? float(shift.at[n]) : 0) + (o.residual ? float(residual.at[i * o.n + n]) : 0);
                const int b = i / (h_out * w_out), y = i / w_out % h_out * o.stride, column = i % w_out * o.stride;
                for (int r = 0; r < o.window; r++)
                    for (int s = 0; s < o.window; s++) {
                        const int y_in = y + r - o.window / 2, x_in = column + s - o.window / 2;
                        if (y_in < 0 || y_in >= o.h || x_in < 0 || x_in >= o.w) continue;
                        for (int c = 0; c < o.c; c++)
                            sum += double(float(x.at[((b * o.h + y_in) * o.w + x_in) * o.c + c])) * float(weight.at[size_t(n) * k + (r * o.window + s) * o.c + c]);
                    }
                sums[size_t(i) * o.n + n] = sum;
            }
        for (int i = 0; i < m; i++)
            for (int n = 0; n < width; n++) {
                const double* row = &sums[size_t(i) * o.n];
                const int value = n / 4 * 8 + n % 4;
                const double gate = row[o.geglu ? value + 4 : 0];
                plain[size_t(i) * width + n] = o.geglu ? row[value] * gate * 0.5 * (1 + erf(gate / sqrt(2.))) : row[n];
            }
        for (const Gemm& gemm : gemms<T>()) {
            Memory<T> y(size_t(m) * width);
            p.y = y.at;
            const dim3 blocks((m + gemm.bm - 1) / gemm.bm, (o.n + gemm.bn - 1) / gemm.bn, o.splits);
            card::launch(gemm.kernel, blocks, dim3(gemm.threads), gemm.shared, p);
            if (o.splits > 1) {
                const int vectors = m * ((o.n + VECTOR - 1) / VECTOR);
                card::launch(sizeof(T) == 2 ? splitk_reduce_f16 : splitk_reduce_f32, dim3((vectors + 255) / 256), dim3(256), 0, p);
            }
            const std::string window = o.window == 1 ? "" : ", 3×3, stride " + std::to_string(o.stride);
            expect_close(gemm.name + ": " + std::to_string(m) + "×" + std::to_string(o.c) + " → " + std::to_string(o.n) + window +
                             ", split " + std::to_string(o.splits), y.numbers(), plain, LIMIT<T>);
        }
        if (o.window == 1 && !o.geglu) {
            Memory<T> y(size_t(m) * o.n);
            p.y = y.at, p.m = 3;
            card::launch(sizeof(T) == 2 ? gemv_f16 : gemv_f32, dim3((o.n * LANES + 127) / 128), dim3(128), 0, p);
            vector<float> rows = y.numbers();
            rows.resize(3 * o.n);
            expect_close("gemv of three rows, " + std::string(NAME<T>), rows, vector<double>(plain.begin(), plain.begin() + 3 * o.n), LIMIT<T>);
        }
    }
}

template <class T>
void test_norms() {
    struct Case {
        int b, pixels, c, parts;
    };
    for (const Case& o : {Case{2, 35, 32, 1}, {1, 300, 320, 40}, {2, 10, 960, 3}, {1, 64, 2560, 4}}) {
        vector<float> far = random(size_t(o.b) * o.pixels * o.c, 1);
        for (float& x : far) x += 30;
        Memory<T> x(far), y(far.size());
        Memory<float> weight(random(o.c, 2)), bias(random(o.c, 3));
        for (int silu = 0; silu < 2; silu++) {
            vector<double> plain(far.size());
            const int each = o.c / GROUPS;
            for (int b = 0; b < o.b; b++)
                for (int group = 0; group < GROUPS; group++) {
                    auto numbers = [&](auto f) {
                        for (int pixel = 0; pixel < o.pixels; pixel++)
                            for (int c = group * each; c < (group + 1) * each; c++) f((size_t(b) * o.pixels + pixel) * o.c + c, c);
                    };
                    double mean = 0, variance = 0, count = double(o.pixels) * each;
                    numbers([&](size_t i, int) { mean += double(float(x.at[i])) / count; });
                    numbers([&](size_t i, int) { variance += (float(x.at[i]) - mean) * (float(x.at[i]) - mean) / count; });
                    numbers([&](size_t i, int c) {
                        const double normal = (float(x.at[i]) - mean) / sqrt(variance + 1e-5) * weight.at[c] + bias.at[c];
                        plain[i] = silu ? normal / (1 + exp(-normal)) : normal;
                    });
                }
            Memory<Moments> moments(size_t(o.b) * o.parts * GROUPS);
            const GroupNormParams g = {x.at, weight.at, bias.at, moments.at, y.at, o.parts, o.pixels, o.c, 1e-5f, silu};
            const int across = o.c / VECTOR, down = std::max(1, std::min(4096 / o.c, GROUP_NORM_THREADS / across));
            card::launch(sizeof(T) == 2 ? group_moments_f16 : group_moments_f32, dim3(o.parts, o.b), dim3(across, down), size_t(down) * o.c * sizeof(Moments), g);
            card::launch(sizeof(T) == 2 ? group_norm_f16 : group_norm_f32, dim3(o.parts, o.b), dim3(across, down), 0, g);
            expect_close(std::string("group norm ") + NAME<T> + " of " + std::to_string(o.c) + (silu ? ", silu" : ""), y.numbers(), plain, 2 * LIMIT<T>);
        }
    }
    for (int c : {32, 320, 1280}) {
        const int rows = 7;
        Memory<T> x(random(size_t(rows) * c, 1, 3)), y(size_t(rows) * c);
        Memory<float> weight(random(c, 2)), bias(random(c, 3));
        vector<double> plain(size_t(rows) * c);
        for (int row = 0; row < rows; row++) {
            const T* from = x.at + size_t(row) * c;
            double mean = 0, variance = 0;
            for (int i = 0; i < c; i++) mean += double(float(from[i])) / c;
            for (int i = 0; i < c; i++) variance += (float(from[i]) - mean) * (float(from[i]) - mean) / c;
            for (int i = 0; i < c; i++) plain[size_t(row) * c + i] = (float(from[i]) - mean) / sqrt(variance + 1e-5) * weight.at[i] + bias.at[i];
        }
        const LayerNormParams l = {x.at, weight.at, bias.at, y.at, rows, c, 1e-5f};
        card::launch(sizeof(T) == 2 ? layer_norm_f16 : layer_norm_f32, dim3((rows + LAYER_NORM_ROWS - 1) / LAYER_NORM_ROWS), dim3(LAYER_NORM_ROWS * LANES), 0, l);
        expect_close(std::string("layer norm ") + NAME<T> + " of " + std::to_string(c), y.numbers(), plain, LIMIT<T>);
    }
}

template <class T>
void test_attention() {
    struct Case {
        int b, n, m, heads, d;
    };
    for (const Case& o : {Case{1, 70, 77, 2, 40}, {2, 130, 130, 1, 80}, {1, 33, 154, 2, 160}, {1, 9, 64, 3, 64}, {1, 20, 65, 2, 16}, {1, 17, 40, 1, 48},
                          {1, 50, 70, 1, 512}, {2, 5, 33, 4, 3}, {1, 1, 1, 2, 8}}) {
        // With as many keys as queries, q, k and v are slices of the same rows, as after fused projections.
        const int c = o.heads * o.d, row = 3 * c;
        const bool packed = o.n == o.m;
        Memory<T> q(random(size_t(o.b) * o.n * (packed ? row : c), 1, 2)), k(random(size_t(o.b) * o.m * c, 2)), v(random(size_t(o.b) * o.m * c, 3));
        const T *k_at = packed ? q.at + c : k.at, *v_at = packed ? q.at + 2 * c : v.at;
        const int q_row = packed ? row : c, k_row = q_row;
        vector<double> plain(size_t(o.b) * o.n * c);
        for (int b = 0; b < o.b; b++)
            for (int head = 0; head < o.heads; head++)
                for (int i = 0; i < o.n; i++) {
                    vector<double> weight(o.m);
                    double most = -1e300, sum = 0;
                    for (int j = 0; j < o.m; j++) {
                        double score = 0;
                        for (int l = 0; l < o.d; l++)
                            score += double(float(q.at[size_t(b * o.n + i) * q_row + head * o.d + l])) * float(k_at[size_t(b * o.m + j) * k_row + head * o.d + l]);
                        weight[j] = score / sqrt(double(o.d)), most = std::max(most, weight[j]);
                    }
                    for (double& w : weight) sum += w = exp(w - most);
                    for (int l = 0; l < o.d; l++) {
                        double y = 0;
                        for (int j = 0; j < o.m; j++) y += weight[j] / sum * float(v_at[size_t(b * o.m + j) * k_row + head * o.d + l]);
                        plain[(size_t(b) * o.n + i) * c + head * o.d + l] = y;
                    }
                }
        Memory<T> y(plain.size());
        const float scale = 1.4426950408889634f / sqrtf(o.d);
        const AttentionParams p = {q.at, k_at, v_at, y.at, o.n, o.m, o.heads, o.d, q_row, k_row, k_row, scale};
        const std::string name = std::to_string(o.n) + "×" + std::to_string(o.m) + ", " + std::to_string(o.heads) + " heads of " + std::to_string(o.d);
        auto run = [&](const std::string& kernel_name, void (*kernel)(AttentionParams), int queries, size_t shared) {
            memset(static_cast<void*>(y.at), 0xff, y.count * sizeof(T));
            card::launch(kernel, dim3((o.n + queries - 1) / queries, o.heads, o.b), dim3(ATTENTION_WARPS * LANES), shared, p);
            expect_close(kernel_name + ": " + name, y.numbers(), plain, LIMIT<T>);
        };
        struct Any {
            int width;
            const char* name;
            void (*kernel)(AttentionParams);
        };
#define ANY_F16(COLUMNS) {LANES * COLUMNS, "attention_any_f16_" #COLUMNS, attention_any_f16_##COLUMNS},
#define ANY_F32(COLUMNS) {LANES * COLUMNS, "attention_any_f32_" #COLUMNS, attention_any_f32_##COLUMNS},
        const vector<Any> f16 = {ATTENTION_ANY_COLUMNS(ANY_F16)}, f32 = {ATTENTION_ANY_COLUMNS(ANY_F32)};
        for (const Any& any : sizeof(T) == 2 ? f16 : f32) {
            if (o.d > any.width) continue;
            const int fours = (o.d + 3) / 4;
            const int shared = LANES * (fours | 1) + ATTENTION_ANY_QUERIES * fours + ATTENTION_WARPS * LANES;
            run(any.name, any.kernel, ATTENTION_ANY_QUERIES, shared * sizeof(float4));
            break;
        }
        if constexpr (sizeof(T) == 2) {
            if (o.d % VECTOR != 0) continue;
#define F16(NAME, D, QUERIES) \
    if (o.d <= D) run(#NAME, NAME, QUERIES, 2 * 2 * ATTENTION_KEYS * ((D + 15) / 16 * 16 + VECTOR) * sizeof(__half));
            ATTENTION_F16_TILES(F16)
        }
    }
}

static void test_maps() {
    const int b = 2, h = 3, w = 5, c = 6;
    Memory<float> x(random(b * h * w * c, 1)), skip(random(h * w * 4, 2));
    for (int height : {5, 6})
        for (int width : {9, 10}) {
            Memory<float> y(size_t(b) * height * width * c);
            vector<double> plain;
            for (int i = 0; i < b; i++)
                for (int line = 0; line < height; line++)
                    for (int column = 0; column < width; column++)
                        for (int channel = 0; channel < c; channel++) plain.push_back(x.at[((i * h + line / 2) * w + column / 2) * c + channel]);
            card::launch(upsample_4, dim3((y.count + 255) / 256), dim3(256), 0, UpsampleParams{x.at, y.at, y.count, h, w, c, height, width});
            expect_close("upsample", y.numbers(), plain, 0);
        }
    Memory<float> y(size_t(b) * h * w * (c + 4));
    vector<double> plain;
    for (int pixel = 0; pixel < b * h * w; pixel++) {
        plain.insert(plain.end(), x.at + pixel * c, x.at + (pixel + 1) * c);
        plain.insert(plain.end(), skip.at + pixel % (h * w) * 4, skip.at + (pixel % (h * w) + 1) * 4);
    }
    card::launch(concat_4, dim3((y.count + 255) / 256), dim3(256), 0, ConcatParams{x.at, skip.at, y.at, y.count, size_t(h * w), c, 4});
    expect_close("concat", y.numbers(), plain, 0);
    Memory<__half> padded(size_t(b) * h * w * 8);
    plain.clear();
    for (int i = 0; i < b * h * w * 8; i++) plain.push_back(i % 8 < c ? x.at[i / 8 * c + i % 8] : 0);
    card::launch(pad_f32_f16, dim3((padded.count + 255) / 256), dim3(256), 0, PadParams{x.at, padded.at, padded.count, c, 8});
    expect_close("pad", padded.numbers(), plain, LIMIT<__half>);
    Memory<float> other(random(x.count, 3)), sum(x.count);
    plain.clear();
    for (size_t i = 0; i < x.count; i++) plain.push_back(-6.5 * x.at[i] + 7.5 * other.at[i]);
    card::launch(weighted_sum, dim3((sum.count + 255) / 256), dim3(256), 0, WeightedSumParams{{x.at, other.at}, {-6.5, 7.5}, sum.at, sum.count, 2});
    expect_close("weighted sum", sum.numbers(), plain, LIMIT<float>);
}

int main() {
    test_gemms<__half>();
    test_gemms<float>();
    test_norms<__half>();
    test_norms<float>();
    test_attention<__half>();
    test_attention<float>();
    test_maps();
    printf("%d failed\n", failures);
    return failures > 0;
}
