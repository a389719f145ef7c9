// libcublas.so.13 for the emulated card: the matrix products that candle calls, in float32 (float64 for doubles).
// TF32 products round their factors to TF32, as tensor cores do.
#include "driver.hpp"

#include <cublas_v2.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

namespace {

struct Handle {
    cudaStream_t stream = nullptr;
    cublasPointerMode_t pointer_mode = CUBLAS_POINTER_MODE_HOST;
    cublasMath_t math_mode = CUBLAS_DEFAULT_MATH;
};

Handle& of(cublasHandle_t handle) { return *reinterpret_cast<Handle*>(handle); }

cublasStatus_t refuse(const char* what) {
    fprintf(stderr, "emulated card: cublas: %s is not emulated\n", what);
    return CUBLAS_STATUS_NOT_SUPPORTED;
}

struct Bf16 {
    uint16_t bits;
};
template <class To, class From>
To as_bits(From from) {
    To to;
    static_assert(sizeof to == sizeof from, "the same bits");
    memcpy(&to, &from, sizeof to);
    return to;
}
inline float load(_Float16 x) { return x; }
inline float load(float x) { return x; }
inline double load(double x) { return x; }
inline float load(Bf16 x) { return as_bits<float>(uint32_t(x.bits) << 16); }
inline void store(_Float16& to, float x) { to = x; }
inline void store(float& to, float x) { to = x; }
inline void store(double& to, double x) { to = x; }
inline void store(Bf16& to, float x) {
    const uint32_t bits = as_bits<uint32_t>(x);
    to.bits = x != x ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
inline float round_tf32(float x) {
    if (!(x - x == 0)) return x;  // infinite or NaN
    return as_bits<float>((as_bits<uint32_t>(x) + 0x1000) & ~0x1fffu);
}

// As cublas has them: columns are contiguous. c (m x n) = alpha op(a) (m x k) op(b) (k x n) + beta c.
struct Product {
    cublasOperation_t op_a, op_b;
    int m, n, k;
    double alpha, beta;
    const void *a, *b;
    void* c;
    int lda, ldb, ldc;
    long long stride_a, stride_b, stride_c;
    int batch;
    bool tf32;
};

// One product, of A, B and C, in S. Both factors are converted to panels: of A 2 vectors of rows, of B 8 columns.
template <class S, class A, class B, class C>
void multiply(const Product& p, const A* a, const B* b, C* c) {
    constexpr int LANES = 64 / sizeof(S), ROWS = 2 * LANES, COLUMNS = 8;
    typedef S V __attribute__((vector_size(64)));
    const int m = p.m, n = p.n, k = p.k;
    const int row_panels = (m + ROWS - 1) / ROWS, column_panels = (n + COLUMNS - 1) / COLUMNS;
    auto free_aligned = [](S* s) { free(s); };
    auto aligned = [&](size_t count) {
        return std::unique_ptr<S, decltype(free_aligned)>(static_cast<S*>(aligned_alloc(64, (count * sizeof(S) + 63) / 64 * 64 + 64)), free_aligned);
    };
    auto pa = aligned(size_t(row_panels) * ROWS * k), pb = aligned(size_t(column_panels) * COLUMNS * k);
    auto convert = [&](auto x) {
        if constexpr (std::is_same<S, float>::value)
            if (p.tf32) return round_tf32(load(x));
        return load(x);
    };
    const bool parallel = double(m) * n * k > 1e5;
#pragma omp parallel num_threads(2) if (parallel)
    {
#pragma omp for nowait
        for (int panel = 0; panel < row_panels; panel++)
            for (int l = 0; l < k; l++)
                for (int r = 0; r < ROWS; r++) {
                    const int i = panel * ROWS + r;
                    S value = 0;
                    if (i < m) value = convert(p.op_a == CUBLAS_OP_N ? a[i + size_t(l) * p.lda] : a[l + size_t(i) * p.lda]);
                    pa.get()[(size_t(panel) * k + l) * ROWS + r] = value;
                }
#pragma omp for
        for (int panel = 0; panel < column_panels; panel++)
            for (int l = 0; l < k; l++)
                for (int r = 0; r < COLUMNS; r++) {
                    const int j = panel * COLUMNS + r;
                    S value = 0;
                    if (j < n) value = convert(p.op_b == CUBLAS_OP_N ? b[l + size_t(j) * p.ldb] : b[j + size_t(l) * p.ldb]);
                    pb.get()[(size_t(panel) * k + l) * COLUMNS + r] = value;
                }
#pragma omp for collapse(2)
        for (int row = 0; row < row_panels; row++)
            for (int column = 0; column < column_panels; column++) {
                V sum[COLUMNS][2] = {};
                const S* x = pa.get() + size_t(row) * ROWS * k;
                const S* y = pb.get() + size_t(column) * COLUMNS * k;
                for (int l = 0; l < k; l++, x += ROWS, y += COLUMNS) {
                    const V x0 = *reinterpret_cast<const V*>(x), x1 = *reinterpret_cast<const V*>(x + LANES);
#pragma GCC unroll 8
                    for (int j = 0; j < COLUMNS; j++) {
                        sum[j][0] += x0 * y[j];
                        sum[j][1] += x1 * y[j];
                    }
                }
                for (int j = 0; j < std::min(COLUMNS, n - column * COLUMNS); j++)
                    for (int i = 0; i < std::min(ROWS, m - row * ROWS); i++) {
                        C& to = c[row * ROWS + i + size_t(column * COLUMNS + j) * p.ldc];
                        S value = S(p.alpha) * sum[j][i / LANES][i % LANES];
                        if (p.beta != 0) value += S(p.beta) * load(to);  // otherwise c may be uninitialised
                        store(to, value);
                    }
            }
    }
}

template <class S, class A, class C>
void multiply_batch(const Product& p) {
    for (int i = 0; i < p.batch; i++)
        multiply<S>(p, static_cast<const A*>(p.a) + i * p.stride_a, static_cast<const A*>(p.b) + i * p.stride_b,
                    static_cast<C*>(p.c) + i * p.stride_c);
}

size_t extent(bool plain, int rows, int columns, int ld, long long stride, int batch, size_t size) {
    if (!plain) std::swap(rows, columns);
    return (size_t(stride) * (batch - 1) + size_t(ld) * (columns - 1) + rows) * size;
}

template <class S, class A, class C>
cublasStatus_t enqueue(cublasHandle_t handle, const Product& p) {
    if (p.m < 0 || p.n < 0 || p.k < 0 || p.ldc < std::max(1, p.m) || p.lda < std::max(1, p.op_a == CUBLAS_OP_N ? p.m : p.k) ||
        p.ldb < std::max(1, p.op_b == CUBLAS_OP_N ? p.k : p.n))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (!p.m || !p.n || !p.batch) return CUBLAS_STATUS_SUCCESS;
    if (of(handle).pointer_mode != CUBLAS_POINTER_MODE_HOST) return refuse("a factor in device memory");
    card::on_stream(of(handle).stream, [p] {
        if (p.k) {
            card::check_device_memory(p.a, extent(p.op_a == CUBLAS_OP_N, p.m, p.k, p.lda, p.stride_a, p.batch, sizeof(A)), "a factor of a product");
            card::check_device_memory(p.b, extent(p.op_b == CUBLAS_OP_N, p.k, p.n, p.ldb, p.stride_b, p.batch, sizeof(A)), "a factor of a product");
        }
        card::check_device_memory(p.c, extent(true, p.m, p.n, p.ldc, p.stride_c, p.batch, sizeof(C)), "a product");
        if (!card::is_idle()) multiply_batch<S, A, C>(p);
    });
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t dispatch(cublasHandle_t handle, Product p, cudaDataType a, cudaDataType b, cudaDataType c,
                        cublasComputeType_t compute, const void* alpha, const void* beta) {
    auto scalars = [&](auto kind) {
        p.alpha = *static_cast<const decltype(kind)*>(alpha);
        p.beta = *static_cast<const decltype(kind)*>(beta);
    };
    switch (compute) {
        case CUBLAS_COMPUTE_16F:
        case CUBLAS_COMPUTE_16F_PEDANTIC: scalars(_Float16()); break;
        case CUBLAS_COMPUTE_64F:
        case CUBLAS_COMPUTE_64F_PEDANTIC: scalars(double()); break;
        case CUBLAS_COMPUTE_32F:
        case CUBLAS_COMPUTE_32F_PEDANTIC:
        case CUBLAS_COMPUTE_32F_FAST_16F:
        case CUBLAS_COMPUTE_32F_FAST_16BF:
        case CUBLAS_COMPUTE_32F_FAST_TF32: scalars(float()); break;
        default: return refuse("a type of computation");
    }
    p.tf32 = compute == CUBLAS_COMPUTE_32F_FAST_TF32 || (compute == CUBLAS_COMPUTE_32F && of(handle).math_mode == CUBLAS_TF32_TENSOR_OP_MATH);
    if (a != b) return refuse("a product of two types");
    if (a == CUDA_R_32F && c == CUDA_R_32F) return enqueue<float, float, float>(handle, p);
    if (a == CUDA_R_64F && c == CUDA_R_64F) return enqueue<double, double, double>(handle, p);
    if (a == CUDA_R_16F && c == CUDA_R_16F) return enqueue<float, _Float16, _Float16>(handle, p);
    if (a == CUDA_R_16F && c == CUDA_R_32F) return enqueue<float, _Float16, float>(handle, p);
    if (a == CUDA_R_16BF && c == CUDA_R_16BF) return enqueue<float, Bf16, Bf16>(handle, p);
    if (a == CUDA_R_16BF && c == CUDA_R_32F) return enqueue<float, Bf16, float>(handle, p);
    return refuse("a combination of types");
}

}  // namespace

extern "C" {

cublasStatus_t cublasCreate_v2(cublasHandle_t* handle) {
    return *handle = reinterpret_cast<cublasHandle_t>(new Handle), CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) { return delete &of(handle), CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasGetVersion_v2(cublasHandle_t, int* version) { return *version = 130100, CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) { return of(handle).stream = stream, CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasGetStream_v2(cublasHandle_t handle, cudaStream_t* stream) { return *stream = of(handle).stream, CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t, void*, size_t) { return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode) { return of(handle).math_mode = mode, CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasGetMathMode(cublasHandle_t handle, cublasMath_t* mode) { return *mode = of(handle).math_mode, CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasSetPointerMode_v2(cublasHandle_t handle, cublasPointerMode_t mode) { return of(handle).pointer_mode = mode, CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasGetPointerMode_v2(cublasHandle_t handle, cublasPointerMode_t* mode) { return *mode = of(handle).pointer_mode, CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasSetAtomicsMode(cublasHandle_t, cublasAtomicsMode_t) { return CUBLAS_STATUS_SUCCESS; }
const char* cublasGetStatusString(cublasStatus_t) { return "an error of the emulated cublas"; }
const char* cublasGetStatusName(cublasStatus_t) { return "an error of the emulated cublas"; }

cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b, int m, int n, int k,
                                          const void* alpha, const void* a, cudaDataType type_a, int lda, long long stride_a,
                                          const void* b, cudaDataType type_b, int ldb, long long stride_b, const void* beta,
                                          void* c, cudaDataType type_c, int ldc, long long stride_c, int batch,
                                          cublasComputeType_t compute, cublasGemmAlgo_t) {
    return dispatch(handle, {op_a, op_b, m, n, k, 0, 0, a, b, c, lda, ldb, ldc, stride_a, stride_b, stride_c, batch, false},
                    type_a, type_b, type_c, compute, alpha, beta);
}
cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b, int m, int n, int k,
                            const void* alpha, const void* a, cudaDataType type_a, int lda, const void* b, cudaDataType type_b,
                            int ldb, const void* beta, void* c, cudaDataType type_c, int ldc, cublasComputeType_t compute,
                            cublasGemmAlgo_t algorithm) {
    return cublasGemmStridedBatchedEx(handle, op_a, op_b, m, n, k, alpha, a, type_a, lda, 0, b, type_b, ldb, 0, beta, c, type_c,
                                      ldc, 0, 1, compute, algorithm);
}

#define PRODUCTS(name, name_batched, T, type, compute)                                                                          \
    cublasStatus_t name_batched(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b, int m, int n, int k,     \
                                const T* alpha, const T* a, int lda, long long stride_a, const T* b, int ldb,                   \
                                long long stride_b, const T* beta, T* c, int ldc, long long stride_c, int batch) {              \
        return cublasGemmStridedBatchedEx(handle, op_a, op_b, m, n, k, alpha, a, type, lda, stride_a, b, type, ldb, stride_b,   \
                                          beta, c, type, ldc, stride_c, batch, compute, CUBLAS_GEMM_DEFAULT);                   \
    }                                                                                                                           \
    cublasStatus_t name(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b, int m, int n, int k,             \
                        const T* alpha, const T* a, int lda, const T* b, int ldb, const T* beta, T* c, int ldc) {               \
        return name_batched(handle, op_a, op_b, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc, 0, 1);                      \
    }
PRODUCTS(cublasSgemm_v2, cublasSgemmStridedBatched, float, CUDA_R_32F, CUBLAS_COMPUTE_32F)
PRODUCTS(cublasDgemm_v2, cublasDgemmStridedBatched, double, CUDA_R_64F, CUBLAS_COMPUTE_64F)
PRODUCTS(cublasHgemm, cublasHgemmStridedBatched, __half, CUDA_R_16F, CUBLAS_COMPUTE_16F)

}  // extern "C"
