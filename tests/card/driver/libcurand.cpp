// libcurand.so.10 for the emulated card: plausible noise, not curand's.
#include "driver.hpp"

#include <curand.h>

#include <memory>
#include <random>

namespace {
struct Generator {
    std::shared_ptr<std::mt19937_64> engine = std::make_shared<std::mt19937_64>(0);
    cudaStream_t stream = nullptr;
};
Generator& of(curandGenerator_t generator) { return *reinterpret_cast<Generator*>(generator); }

template <class T, class Distribution>
curandStatus_t generate(curandGenerator_t generator, T* to, size_t count, Distribution distribution) {
    auto engine = of(generator).engine;
    card::on_stream(of(generator).stream, [=]() mutable {
        card::check_device_memory(to, count * sizeof(T), "noise");
        for (size_t i = 0; i < count; i++) to[i] = distribution(*engine);
    });
    return CURAND_STATUS_SUCCESS;
}
}  // namespace

extern "C" {
curandStatus_t curandCreateGenerator(curandGenerator_t* generator, curandRngType_t) {
    return *generator = reinterpret_cast<curandGenerator_t>(new Generator), CURAND_STATUS_SUCCESS;
}
curandStatus_t curandDestroyGenerator(curandGenerator_t generator) { return delete &of(generator), CURAND_STATUS_SUCCESS; }
curandStatus_t curandSetStream(curandGenerator_t generator, cudaStream_t stream) { return of(generator).stream = stream, CURAND_STATUS_SUCCESS; }
curandStatus_t curandSetPseudoRandomGeneratorSeed(curandGenerator_t generator, unsigned long long seed) {
    return of(generator).engine->seed(seed), CURAND_STATUS_SUCCESS;
}
curandStatus_t curandSetGeneratorOffset(curandGenerator_t, unsigned long long) { return CURAND_STATUS_SUCCESS; }
curandStatus_t curandGenerate(curandGenerator_t g, unsigned* to, size_t n) { return generate(g, to, n, std::uniform_int_distribution<unsigned>()); }
curandStatus_t curandGenerateUniform(curandGenerator_t g, float* to, size_t n) {
    // curand's are in (0, 1]
    return generate(g, to, n, [u = std::uniform_real_distribution<float>()](std::mt19937_64& engine) mutable { return 1 - u(engine); });
}
curandStatus_t curandGenerateUniformDouble(curandGenerator_t g, double* to, size_t n) {
    return generate(g, to, n, [u = std::uniform_real_distribution<double>()](std::mt19937_64& engine) mutable { return 1 - u(engine); });
}
curandStatus_t curandGenerateNormal(curandGenerator_t g, float* to, size_t n, float mean, float deviation) {
    if (n % 2) return CURAND_STATUS_LENGTH_NOT_MULTIPLE;
    return generate(g, to, n, std::normal_distribution<float>(mean, deviation));
}
curandStatus_t curandGenerateNormalDouble(curandGenerator_t g, double* to, size_t n, double mean, double deviation) {
    if (n % 2) return CURAND_STATUS_LENGTH_NOT_MULTIPLE;
    return generate(g, to, n, std::normal_distribution<double>(mean, deviation));
}
}
