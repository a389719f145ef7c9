// Every kernel of src/ops/cuda/kernels, computed by the processor, against plain loops in f64.

#include "card.hpp"

#include "../../src/ops/cuda/kernels/all.cu"

#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <vector>

using std::vector;

static int failures = 0;

// The same numbers every time, about as large as 1.
static vector<float> random(size_t count, int seed, float scale = 1) {
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal;
    vector<float> numbers(count);
    for (float& x : numbers) x = scale * normal(generator);
    return numbers;
}

// Numbers as a kernel has them in memory, where 16 of its bytes may be read at once.
template <class T>
struct Memory {
    size_t count;
    T* at;

    explicit Memory(size_t count) : count(count), at(static_cast<T*>(aligned_alloc(128, (count * sizeof(T) + 127) / 128 * 128))) {
        memset(static_cast<void*>(at), 0xff, count * sizeof(T));  // not a number, if it is read before it is written
    }
    explicit Memory(const vector<float>& numbers) : Memory(numbers.size()) {
        for (size_t i = 0; i < count; i++) at[i] = T(numbers[i]);
    }
    Memory(const Memory&) = delete;
    ~Memory() { free(at); }

    // As rounded.
    vector<float> numbers() const { return vector<float>(at, at + count); }
};

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

// What is rounded once or twice, and what is not.
template <class T> constexpr double LIMIT = sizeof(T) == 2 ? 6e-4 : 2e-6;
template <class T> const char* NAME = sizeof(T) == 2 ? "f16" : "f32";

struct Way {
    std::string name;
    void (*kernel)(Product);
    int bm, bn, threads, shared;
};

#define WAY_F16(BM, BN, WARPS) \
    Way{"f16 " #BM "×" #BN " by " #WARPS, product_f16_##BM##x##BN##_##WARPS, BM, BN, 32 * WARPS, 4 * (BM + BN) * 32 * 2}

template <class T> vector<Way> ways();
template <> vector<Way> ways<__half>() {
    return {WAY_F16(128, 160, 4), WAY_F16(128, 160, 8), WAY_F16(64, 160, 4), WAY_F16(128, 128, 4), WAY_F16(128, 64, 4), WAY_F16(64, 64, 4)};
}
template <> vector<Way> ways<float>() {
    return {{"f32 128×128", product_f32_128x128, 128, 128, 256, 0}, {"f32 64×64", product_f32_64x64, 64, 64, 64, 0}};
}

template <class T>
void test_products() {
    struct Case {
        int b, h, w, c, n, window, stride, slices;
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
        Memory<float> bias(random(o.n, 3)), sums_of_slices(size_t(o.slices) * m * o.n);
        Product p = {x.at, weight.at, bias.at, o.shift ? shift.at : nullptr, o.residual ? residual.at : nullptr, nullptr,
                     o.slices > 1 ? sums_of_slices.at : nullptr, o.slices, m, o.n, o.c, o.h, o.w, h_out, w_out, o.window, o.stride, o.geglu};

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
        for (const Way& way : ways<T>()) {
            Memory<T> y(size_t(m) * width);
            p.y = y.at;
            card::launch(way.kernel, dim3((m + way.bm - 1) / way.bm, (o.n + way.bn - 1) / way.bn, o.slices), dim3(way.threads), way.shared, p);
            if (o.slices > 1) {
                const int eights = m * ((o.n + 7) / 8);
                card::launch(sizeof(T) == 2 ? add_slices_f16 : add_slices_f32, dim3((eights + 255) / 256), dim3(256), 0, p);
            }
            const std::string window = o.window == 1 ? "" : ", 3×3, stride " + std::to_string(o.stride);
            expect_close("product " + way.name + ": " + std::to_string(m) + "×" + std::to_string(o.c) + " → " + std::to_string(o.n) + window +
                             ", in " + std::to_string(o.slices), y.numbers(), plain, LIMIT<T>);
        }
        if (o.window == 1 && !o.geglu) {
            Memory<T> y(size_t(m) * o.n);
            p.y = y.at, p.m = 3;
            card::launch(sizeof(T) == 2 ? product_rows_f16 : product_rows_f32, dim3((o.n * 32 + 127) / 128), dim3(128), 0, p);
            vector<float> rows = y.numbers();
            rows.resize(3 * o.n);
            expect_close("product of three rows, " + std::string(NAME<T>), rows, vector<double>(plain.begin(), plain.begin() + 3 * o.n), LIMIT<T>);
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
            const int each = o.c / 32;
            for (int b = 0; b < o.b; b++)
                for (int group = 0; group < 32; group++) {
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
            Memory<Moments> moments(size_t(o.b) * o.parts * 32);
            const GroupNorm g = {x.at, weight.at, bias.at, moments.at, y.at, o.parts, o.pixels, o.c, 1e-5f, silu};
            const int across = o.c / 8, down = std::max(1, std::min(4096 / o.c, 512 / across));
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
        const LayerNorm l = {x.at, weight.at, bias.at, y.at, rows, c, 1e-5f};
        card::launch(sizeof(T) == 2 ? layer_norm_f16 : layer_norm_f32, dim3((rows + 3) / 4), dim3(128), 0, l);
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
        // q, k and v lie side by side, as one layer makes them.
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
        const Attention p = {q.at, k_at, v_at, y.at, o.n, o.m, o.heads, o.d, q_row, k_row, k_row, scale};
        const std::string name = std::to_string(o.n) + "×" + std::to_string(o.m) + ", " + std::to_string(o.heads) + " heads of " + std::to_string(o.d);
        void (*const f16[])(Attention) = {attention_any_f16_2, attention_any_f16_5, attention_any_f16_16};
        void (*const f32[])(Attention) = {attention_any_f32_2, attention_any_f32_5, attention_any_f32_16};
        const int fours = (o.d + 3) / 4;
        auto any = (sizeof(T) == 2 ? f16 : f32)[(o.d > 64) + (o.d > 160)];
        card::launch(any, dim3((o.n + 15) / 16, o.heads, o.b), dim3(128), (32 * (fours | 1) + 16 * fours + 4 * 32) * 4 * sizeof(float), p);
        expect_close(std::string("attention, any, ") + NAME<T> + " " + name, y.numbers(), plain, LIMIT<T>);
        if constexpr (sizeof(T) == 2) {
            if (o.d % 8 != 0 || o.d > 160) continue;
            struct { int d, queries; void (*kernel)(Attention); } ways[] = {
                {16, 64, attention_f16_16}, {40, 128, attention_f16_40}, {64, 128, attention_f16_64}, {80, 128, attention_f16_80}, {80, 64, attention_f16_80_short}, {160, 64, attention_f16_160}};
            for (const auto& way : ways) {
                if (o.d > way.d) continue;
                memset(static_cast<void*>(y.at), 0xff, y.count * 2);
                const int pitch = (way.d + 15) / 16 * 16 + 8;
                card::launch(way.kernel, dim3((o.n + way.queries - 1) / way.queries, o.heads, o.b), dim3(128), 2 * 2 * 64 * pitch * 2, p);
                expect_close("attention, " + std::to_string(way.d) + ", " + name, y.numbers(), plain, LIMIT<T>);
            }
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
            card::launch(upsample_4, dim3((y.count + 255) / 256), dim3(256), 0, Upsample{x.at, y.at, y.count, h, w, c, height, width});
            expect_close("upsample", y.numbers(), plain, 0);
        }
    Memory<float> y(size_t(b) * h * w * (c + 4));
    vector<double> plain;
    for (int pixel = 0; pixel < b * h * w; pixel++) {
        plain.insert(plain.end(), x.at + pixel * c, x.at + (pixel + 1) * c);
        plain.insert(plain.end(), skip.at + pixel % (h * w) * 4, skip.at + (pixel % (h * w) + 1) * 4);
    }
    card::launch(concat_4, dim3((y.count + 255) / 256), dim3(256), 0, Concat{x.at, skip.at, y.at, y.count, size_t(h * w), c, 4});
    expect_close("concat", y.numbers(), plain, 0);
    Memory<__half> wide(size_t(b) * h * w * 8);
    plain.clear();
    for (int i = 0; i < b * h * w * 8; i++) plain.push_back(i % 8 < c ? x.at[i / 8 * c + i % 8] : 0);
    card::launch(widen_f32_f16, dim3((wide.count + 255) / 256), dim3(256), 0, Widen{x.at, wide.at, wide.count, c, 8});
    expect_close("widen", wide.numbers(), plain, LIMIT<__half>);
    Memory<float> other(random(x.count, 3)), sum(x.count);
    plain.clear();
    for (size_t i = 0; i < x.count; i++) plain.push_back(-6.5 * x.at[i] + 7.5 * other.at[i]);
    card::launch(weighted_sum, dim3((sum.count + 255) / 256), dim3(256), 0, Sum{{x.at, other.at}, {-6.5, 7.5}, sum.at, sum.count, 2});
    expect_close("weighted sum", sum.numbers(), plain, LIMIT<float>);
}

int main() {
    test_products<__half>();
    test_products<float>();
    test_norms<__half>();
    test_norms<float>();
    test_attention<__half>();
    test_attention<float>();
    test_maps();
    printf("%d failed\n", failures);
    return failures > 0;
}
