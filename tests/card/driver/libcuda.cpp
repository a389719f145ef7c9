// libcuda.so.1 for the emulated card: one device, whose memory is the host's and whose streams do everything at once.
//
// It is stricter than a card: memory is NaN patterns when it is allocated and when it is freed, has guard zones that are
// checked when it is freed, and pointers given to kernels must lie in live allocations. What a real driver would report
// as an error is reported as that, with a line on stderr; what it could not notice aborts.
//
// Environment: EMU_MEMORY=bytes (of the card, default 16 GiB), EMU_TRACE=1 (each launch), EMU_STATS=1 (a summary at the
// end), EMU_GUARD=1 (checks the guard zones of all allocations after each launch), EMU_POISON=0 (memory starts as zeros),
// EMU_IDLE=1 (work is checked and counted but not done, and memory starts as zeros: what a large model takes, in seconds).
#include "driver.hpp"
#include "kernels.hpp"

#include <cuda.h>
#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>

using Clock = std::chrono::steady_clock;

namespace {

using card::setting;

CUresult error(CUresult code, const char* format, ...) __attribute__((format(printf, 2, 3)));
CUresult error(CUresult code, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "emulated card: error %d: ", int(code));
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    return code;
}

[[noreturn]] void die(const char* format, ...) __attribute__((format(printf, 1, 2)));
void die(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "emulated card: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    abort();
}

std::recursive_mutex lock_of_all;
#define LOCK std::lock_guard<std::recursive_mutex> lock(lock_of_all)

// ------------------------------------------------------------------------------------------------------------ memory

// What a capture recorded. Shared by the graph and what is instantiated from it.
struct Graph {
    std::vector<std::function<void()>> nodes;
    std::vector<CUdeviceptr> owned;      // addresses of its allocation nodes, which share memory if not needed at once
    size_t live = 0, most = 0;           // bytes of them as of now, and at most
    bool auto_free = false;
    ~Graph();
};

constexpr size_t ZONE = 256;
constexpr unsigned char ZONE_BYTE = 0xa5;

struct Allocation {
    size_t size;
    Graph* graph;  // which keeps the address while it exists, or null
    bool live;
};
std::map<uintptr_t, Allocation>& allocations = *new std::map<uintptr_t, Allocation>;  // never destroyed: used at exit
std::map<uintptr_t, size_t>& freed = *new std::map<uintptr_t, size_t>;  // and not allocated again
std::map<uintptr_t, size_t>& pinned = *new std::map<uintptr_t, size_t>;
size_t in_use = 0, peak = 0;
uint64_t release_threshold = 0;

size_t capacity() {
    static const size_t bytes = getenv("EMU_MEMORY") ? strtoull(getenv("EMU_MEMORY"), nullptr, 0) : size_t(16) << 30;
    return bytes;
}

void poison(void* address, size_t bytes) {
    static const bool zeros = card::is_idle() || (getenv("EMU_POISON") && !setting("EMU_POISON"));
    memset(address, zeros ? 0 : 0xff, bytes);
}

CUresult allocate(CUdeviceptr* address, size_t bytes, Graph* graph) {
    LOCK;
    if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    const size_t live = graph ? graph->live + bytes : 0, more = graph ? std::max(live, graph->most) - graph->most : bytes;
    if (in_use + more > capacity())
        return error(CUDA_ERROR_OUT_OF_MEMORY, "out of memory: %zu bytes wanted, %zu of %zu in use", bytes, in_use, capacity());
    void* memory;
    const size_t rounded = (bytes + ZONE - 1) / ZONE * ZONE;
    if (posix_memalign(&memory, ZONE, ZONE + rounded + ZONE)) return CUDA_ERROR_OUT_OF_MEMORY;
    char* start = static_cast<char*>(memory) + ZONE;
    memset(memory, ZONE_BYTE, ZONE);
    poison(start, bytes);
    memset(start + bytes, ZONE_BYTE, rounded - bytes + ZONE);
    *address = reinterpret_cast<CUdeviceptr>(start);
    allocations[*address] = {bytes, graph, true};
    auto old = freed.lower_bound(*address + bytes);
    while (old != freed.begin() && (--old)->first + old->second > *address) old = freed.erase(old);
    if (graph) graph->live = live, graph->most += more;
    in_use += more;
    peak = std::max(peak, in_use);
    return CUDA_SUCCESS;
}

void check_zones(uintptr_t address, const Allocation& allocation, const char* when) {
    const unsigned char *start = reinterpret_cast<unsigned char*>(address), *end = start + allocation.size;
    for (size_t i = 1; i <= ZONE; i++)
        if (start[-ptrdiff_t(i)] != ZONE_BYTE)
            die("%s: something wrote %zu bytes before an allocation of %zu bytes", when, i, allocation.size);
    for (size_t i = 0; i < ZONE; i++)
        if (end[i] != ZONE_BYTE)
            die("%s: something wrote at byte %zu of an allocation of %zu bytes", when, allocation.size + i, allocation.size);
}

// The allocation that holds this address or ends there.
std::map<uintptr_t, Allocation>::iterator find(uintptr_t address) {
    auto it = allocations.upper_bound(address);
    if (it == allocations.begin()) return allocations.end();
    --it;
    return address <= it->first + it->second.size ? it : allocations.end();
}

bool in_device_memory(uintptr_t address, size_t bytes) {
    LOCK;
    auto it = find(address);
    return it != allocations.end() && it->second.live && address + bytes <= it->first + it->second.size;
}

bool in_freed_memory(uintptr_t address) {
    LOCK;
    auto it = find(address);
    if (it != allocations.end()) return !it->second.live;
    auto old = freed.upper_bound(address);
    return old != freed.begin() && address < (--old)->first + old->second;
}

void give_back(std::map<uintptr_t, Allocation>::iterator it) {
    check_zones(it->first, it->second, "freeing");
    if (!it->second.graph) in_use -= it->second.size;
    free(reinterpret_cast<char*>(it->first) - ZONE);
    freed[it->first] = it->second.size;
    allocations.erase(it);
}

CUresult release(CUdeviceptr address) {
    LOCK;
    auto it = allocations.find(address);
    if (it == allocations.end() || !it->second.live)
        return error(CUDA_ERROR_INVALID_VALUE, "0x%llx is freed, which is not allocated", address);
    check_zones(it->first, it->second, "freeing");
    poison(reinterpret_cast<void*>(address), it->second.size);
    if (it->second.graph)
        it->second.live = false;
    else
        give_back(it);
    return CUDA_SUCCESS;
}

bool in_pinned_memory(const void* address, size_t bytes) {
    LOCK;
    auto it = pinned.upper_bound(uintptr_t(address));
    return it != pinned.begin() && uintptr_t(address) + bytes <= (--it)->first + it->second;
}

// ----------------------------------------------------------------------------------------------- streams and capture

Graph::~Graph() {
    LOCK;
    for (CUdeviceptr address : owned) {
        auto it = allocations.find(address);
        if (it == allocations.end() || it->second.graph != this) continue;
        if (it->second.live) {  // outlives the graph, until it is freed
            it->second.graph = nullptr;
            in_use += it->second.size;
        } else {
            give_back(it);
        }
    }
    in_use -= most;
}

struct Capture {
    std::shared_ptr<Graph> graph = std::make_shared<Graph>();
    CUstream origin;
    CUstreamCaptureMode mode;
    std::thread::id thread;
    unsigned long long id;
    bool broken = false;
};

std::unordered_map<CUstream, std::shared_ptr<Capture>>& captures = *new std::unordered_map<CUstream, std::shared_ptr<Capture>>;

std::shared_ptr<Capture> capture_of(CUstream stream) {
    LOCK;
    auto it = captures.find(stream);
    return it == captures.end() ? nullptr : it->second;
}

// Calls that a capture forbids to its thread or, in the global mode, to all threads.
CUresult forbidden_in_capture(const char* call) {
    LOCK;
    for (auto& it : captures) {
        Capture& capture = *it.second;
        if (capture.mode == CU_STREAM_CAPTURE_MODE_RELAXED) continue;
        if (capture.mode == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL && capture.thread != std::this_thread::get_id()) continue;
        capture.broken = true;
        return error(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "%s during a capture", call);
    }
    return CUDA_SUCCESS;
}
#define NOT_IN_CAPTURE \
    if (CUresult code = forbidden_in_capture(__func__)) return code

CUresult run(CUstream stream, std::function<void()> work) {
    if (auto capture = capture_of(stream)) {
        if (capture->broken) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
        LOCK;
        capture->graph->nodes.push_back(std::move(work));
    } else {
        work();
    }
    return CUDA_SUCCESS;
}

struct Event {
    Clock::time_point time;
    bool recorded = false;
    std::weak_ptr<Capture> capture;  // the one that it was last recorded in
    bool captured = false;
};

// ------------------------------------------------------------------------------------------------ modules and kernels

struct Module {
    std::string ptx;  // empty if it is binary
};

struct Statistics {
    ~Statistics() {
        if (!setting("EMU_STATS")) return;
        std::vector<const card::Kernel*> used;
        for (auto& it : card::kernels())
            if (it.second.launches) used.push_back(&it.second);
        std::sort(used.begin(), used.end(), [](auto* a, auto* b) { return a->seconds > b->seconds; });
        fprintf(stderr, "emulated card: at most %.1f MiB in use, %.1f MiB now\n", peak / 1048576., in_use / 1048576.);
        for (auto* kernel : used)
            fprintf(stderr, "%10.3f s %8zu x %s\n", kernel->seconds, kernel->launches, kernel->name.c_str());
    }
} statistics;

void run_kernel(card::Kernel& kernel, dim3 grid, dim3 block, size_t shared, void** parameters) {
    static const bool trace = setting("EMU_TRACE"), guard = setting("EMU_GUARD");
    for (size_t i = 0; i < kernel.parameters.size(); i++) {
        if (!kernel.parameters[i].pointer) {  // perhaps a struct with pointers
            const char* from = static_cast<char*>(parameters[i]);
            std::vector<char> copy(from, from + kernel.parameters[i].size);
            kernel.parameters[i].clear_padding(copy.data());
            for (size_t at = 0; at + 8 <= copy.size(); at += 8) {
                uintptr_t word;
                memcpy(&word, &copy[at], 8);
                if (in_freed_memory(word))
                    die("%s: byte %zu of parameter %zu points to 0x%zx, which has been freed", kernel.name.c_str(), at, i, size_t(word));
            }
            continue;
        }
        const uintptr_t address = *static_cast<uintptr_t*>(parameters[i]);
        if (address && !in_device_memory(address, 0) && !in_pinned_memory(reinterpret_cast<void*>(address), 0))
            die("%s: parameter %zu points to 0x%zx, which is not in the card's memory (or freed)", kernel.name.c_str(), i, size_t(address));
    }
    const auto start = Clock::now();
    if (!card::is_idle()) kernel.launch(grid, block, shared, parameters);
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (trace)
        fprintf(stderr, "emulated card: %s<<<(%u,%u,%u), (%u,%u,%u), %zu>>> %.3f ms\n", kernel.name.c_str(), grid.x, grid.y,
                grid.z, block.x, block.y, block.z, shared, seconds * 1e3);
    LOCK;
    kernel.launches++;
    kernel.seconds += seconds;
    if (guard)
        for (auto& it : allocations) check_zones(it.first, it.second, kernel.name.c_str());
}

// Parameters by value, kept for replays.
struct Parameters {
    std::vector<std::aligned_storage_t<16, 16>> storage;
    std::vector<void*> pointers;
    Parameters(const card::Kernel& kernel, void** parameters) {
        size_t units = 0;
        for (auto& p : kernel.parameters) units += (p.size + 15) / 16;
        storage.resize(units);
        units = 0;
        for (size_t i = 0; i < kernel.parameters.size(); i++) {
            pointers.push_back(&storage[units]);
            memcpy(pointers.back(), parameters[i], kernel.parameters[i].size);
            units += (kernel.parameters[i].size + 15) / 16;
        }
    }
};

CUresult launch(CUfunction f, dim3 grid, dim3 block, size_t shared, CUstream stream, void** parameters, void** extra) {
    if (!f) return CUDA_ERROR_INVALID_HANDLE;
    card::Kernel& kernel = *reinterpret_cast<card::Kernel*>(f);
    const char* name = kernel.name.c_str();
    if (extra || (!parameters && !kernel.parameters.empty()))
        return error(CUDA_ERROR_NOT_SUPPORTED, "%s: parameters in one piece", name);
    if (!grid.count() || grid.y > 65535 || grid.z > 65535 || grid.x > 0x7fffffffu)
        return error(CUDA_ERROR_INVALID_VALUE, "%s: a grid of %u x %u x %u", name, grid.x, grid.y, grid.z);
    if (!block.count() || block.count() > card::MAX_THREADS || block.z > 64)
        return error(CUDA_ERROR_INVALID_VALUE, "%s: a block of %u x %u x %u", name, block.x, block.y, block.z);
    if (shared > size_t(kernel.dynamic_shared_limit))
        return error(CUDA_ERROR_INVALID_VALUE, "%s: %zu bytes of dynamic shared memory, the limit set for it is %d", name, shared, kernel.dynamic_shared_limit);
    if (!capture_of(stream)) {
        run_kernel(kernel, grid, block, shared, parameters);
        return CUDA_SUCCESS;
    }
    auto copy = std::make_shared<Parameters>(kernel, parameters);
    return run(stream, [=, &kernel] { run_kernel(kernel, grid, block, shared, copy->pointers.data()); });
}

enum Side { HOST, DEVICE, ANY };

CUresult copy(void* to, Side to_side, const void* from, Side from_side, size_t bytes, CUstream stream, bool with_stream) {
    if (!bytes) return CUDA_SUCCESS;
    if (!with_stream)
        if (CUresult code = forbidden_in_capture("a copy without a stream")) return code;
    if (to_side == DEVICE && !in_device_memory(uintptr_t(to), bytes))
        return error(CUDA_ERROR_INVALID_VALUE, "a copy of %zu bytes to %p, not all in the card's memory", bytes, to);
    if (from_side == DEVICE && !in_device_memory(uintptr_t(from), bytes))
        return error(CUDA_ERROR_INVALID_VALUE, "a copy of %zu bytes from %p, not all in the card's memory", bytes, from);
    if (with_stream && capture_of(stream)) {
        const void* host = to_side == HOST ? to : from_side == HOST ? from : nullptr;
        if (host && !in_pinned_memory(host, bytes)) die("a copy of pageable host memory (%zu bytes) is captured", bytes);
    }
    return run(with_stream ? stream : nullptr, [=] {
        if (to_side == DEVICE) card::check_device_memory(to, bytes, "a copy");
        if (from_side == DEVICE) card::check_device_memory(from, bytes, "a copy");
        memmove(to, from, bytes);
    });
}

template <class T>
CUresult fill(CUdeviceptr to, T value, size_t count, CUstream stream) {
    if (!count) return CUDA_SUCCESS;
    if (!in_device_memory(to, count * sizeof(T)))
        return error(CUDA_ERROR_INVALID_VALUE, "%zu bytes at 0x%llx are set, not all in the card's memory", count * sizeof(T), to);
    return run(stream, [=] {
        card::check_device_memory(reinterpret_cast<void*>(to), count * sizeof(T), "a fill");
        std::fill_n(reinterpret_cast<T*>(to), count, value);
    });
}

void* host(CUdeviceptr address) { return reinterpret_cast<void*>(address); }

int context_object, pool_object;
thread_local CUcontext current_context = nullptr;
CUcontext the_context() { return reinterpret_cast<CUcontext>(&context_object); }
CUmemoryPool the_pool() { return reinterpret_cast<CUmemoryPool>(&pool_object); }
// An instantiated graph, and a graph, are both a pointer to a shared one.
using GraphHandle = std::shared_ptr<Graph>;

}  // namespace

namespace card {
void on_stream(void* stream, std::function<void()> work) { ::run(static_cast<CUstream>(stream), std::move(work)); }
void check_device_memory(const void* address, size_t bytes, const char* what) {
    if (!in_device_memory(uintptr_t(address), bytes))
        die("%s: %zu bytes at %p are not all in the card's memory (or freed)", what, bytes, address);
}
}  // namespace card

// --------------------------------------------------------------------------------------------------- the driver's API

#pragma GCC visibility push(default)
extern "C" {

CUresult cuInit(unsigned) { return CUDA_SUCCESS; }
CUresult cuDriverGetVersion(int* version) { return *version = 13000, CUDA_SUCCESS; }
CUresult cuDeviceGetCount(int* count) { return *count = 1, CUDA_SUCCESS; }
CUresult cuDeviceGet(CUdevice* device, int ordinal) {
    if (ordinal != 0) return CUDA_ERROR_INVALID_DEVICE;
    return *device = 0, CUDA_SUCCESS;
}
CUresult cuDeviceGetName(char* name, int length, CUdevice) {
    snprintf(name, length, "emulated card");
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetUuid(CUuuid* id, CUdevice) { return memcpy(id, "emulated-card-00", 16), CUDA_SUCCESS; }
CUresult cuDeviceTotalMem(size_t* bytes, CUdevice) { return *bytes = capacity(), CUDA_SUCCESS; }
CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice) {
    switch (attribute) {
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = 9; break;
        case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = 132; break;
        case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
        case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
        case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y: *value = card::MAX_THREADS; break;
        case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z: *value = 64; break;
        case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X: *value = 0x7fffffff; break;
        case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
        case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z: *value = 65535; break;
        case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
        case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR: *value = 65536; break;
        case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *value = 32; break;
        case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: *value = 48 << 10; break;
        case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *value = card::MAX_SHARED; break;
        case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR: *value = 228 << 10; break;
        case CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK: *value = 1024; break;
        case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY: *value = 64 << 10; break;
        case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR: *value = 2048; break;
        case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR: *value = 32; break;
        case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: *value = 50 << 20; break;
        case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: *value = 1980000; break;
        case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: *value = 2619000; break;
        case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: *value = 5120; break;
        case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
        case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
        case CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY:
        case CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS:
        case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
        case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
        case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED:
        case CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH: *value = 1; break;
        default: *value = 0;
    }
    return CUDA_SUCCESS;
}

// contexts: there is one
CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice) { return *context = the_context(), CUDA_SUCCESS; }
CUresult cuDevicePrimaryCtxRelease(CUdevice) { return CUDA_SUCCESS; }
CUresult cuDevicePrimaryCtxGetState(CUdevice, unsigned* flags, int* active) { return *flags = 0, *active = 1, CUDA_SUCCESS; }
CUresult cuDevicePrimaryCtxSetFlags(CUdevice, unsigned) { return CUDA_SUCCESS; }
CUresult cuCtxSetCurrent(CUcontext context) { return current_context = context, CUDA_SUCCESS; }
CUresult cuCtxGetCurrent(CUcontext* context) { return *context = current_context, CUDA_SUCCESS; }
CUresult cuCtxPushCurrent(CUcontext context) { return current_context = context, CUDA_SUCCESS; }
CUresult cuCtxPopCurrent(CUcontext* context) { return *context = current_context, CUDA_SUCCESS; }
CUresult cuCtxGetDevice(CUdevice* device) { return *device = 0, CUDA_SUCCESS; }
CUresult cuCtxSynchronize() {
    NOT_IN_CAPTURE;
    return CUDA_SUCCESS;
}
CUresult cuCtxSetFlags(unsigned) { return CUDA_SUCCESS; }
CUresult cuCtxGetLimit(size_t* value, CUlimit) { return *value = 0, CUDA_SUCCESS; }
CUresult cuCtxSetLimit(CUlimit, size_t) { return CUDA_SUCCESS; }
CUresult cuCtxGetCacheConfig(CUfunc_cache* config) { return *config = CU_FUNC_CACHE_PREFER_NONE, CUDA_SUCCESS; }
CUresult cuCtxSetCacheConfig(CUfunc_cache) { return CUDA_SUCCESS; }
CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) { return *least = 0, *greatest = -5, CUDA_SUCCESS; }
CUresult cuCtxGetApiVersion(CUcontext, unsigned* version) { return *version = 13000, CUDA_SUCCESS; }

// memory
CUresult cuMemGetInfo(size_t* free, size_t* total) {
    LOCK;
    return *free = capacity() - in_use, *total = capacity(), CUDA_SUCCESS;
}
CUresult cuMemAlloc(CUdeviceptr* address, size_t bytes) {
    NOT_IN_CAPTURE;
    return allocate(address, bytes, nullptr);
}
CUresult cuMemAllocManaged(CUdeviceptr* address, size_t bytes, unsigned) { return cuMemAlloc(address, bytes); }
CUresult cuMemFree(CUdeviceptr address) {
    NOT_IN_CAPTURE;
    return address ? release(address) : CUDA_SUCCESS;
}
CUresult cuMemAllocAsync(CUdeviceptr* address, size_t bytes, CUstream stream) {
    auto capture = capture_of(stream);
    if (!capture) return allocate(address, bytes, nullptr);
    if (capture->broken) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    LOCK;
    Graph* graph = capture->graph.get();
    if (CUresult code = allocate(address, bytes, graph)) return code;
    graph->owned.push_back(*address);
    const CUdeviceptr at = *address;
    // Each replay finds what an allocation on the card may find: anything.
    return run(stream, [=] {
        LOCK;
        allocations.at(at).live = true;
        poison(host(at), bytes);
    });
}
CUresult cuMemAllocFromPoolAsync(CUdeviceptr* address, size_t bytes, CUmemoryPool, CUstream stream) {
    return cuMemAllocAsync(address, bytes, stream);
}
CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream) {
    if (!address) return CUDA_SUCCESS;
    auto capture = capture_of(stream);
    if (!capture) return release(address);
    if (capture->broken) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    LOCK;
    auto it = allocations.find(address);
    if (it == allocations.end() || !it->second.live || it->second.graph != capture->graph.get())
        return error(CUDA_ERROR_INVALID_VALUE, "a capture frees memory that it has not allocated");
    it->second.live = false;  // so that the rest of the capture cannot use it
    capture->graph->live -= it->second.size;
    return run(stream, [=] { release(address); });
}
CUresult cuMemHostAlloc(void** address, size_t bytes, unsigned) {
    LOCK;
    if (posix_memalign(address, 4096, bytes ? bytes : 1)) return CUDA_ERROR_OUT_OF_MEMORY;
    memset(*address, 0xff, bytes);
    pinned[uintptr_t(*address)] = bytes;
    return CUDA_SUCCESS;
}
CUresult cuMemAllocHost(void** address, size_t bytes) { return cuMemHostAlloc(address, bytes, 0); }
CUresult cuMemFreeHost(void* address) {
    LOCK;
    if (!pinned.erase(uintptr_t(address))) return error(CUDA_ERROR_INVALID_VALUE, "%p is freed, not pinned memory", address);
    free(address);
    return CUDA_SUCCESS;
}
CUresult cuMemHostRegister(void* address, size_t bytes, unsigned) {
    LOCK;
    return pinned[uintptr_t(address)] = bytes, CUDA_SUCCESS;
}
CUresult cuMemHostUnregister(void* address) {
    LOCK;
    return pinned.erase(uintptr_t(address)) ? CUDA_SUCCESS : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
}
CUresult cuMemHostGetDevicePointer(CUdeviceptr* device, void* address, unsigned) {
    return *device = reinterpret_cast<CUdeviceptr>(address), CUDA_SUCCESS;
}
CUresult cuMemGetAddressRange(CUdeviceptr* base, size_t* size, CUdeviceptr address) {
    LOCK;
    auto it = find(address);
    if (it == allocations.end()) return CUDA_ERROR_NOT_FOUND;
    if (base) *base = it->first;
    if (size) *size = it->second.size;
    return CUDA_SUCCESS;
}
CUresult cuMemAdvise(CUdeviceptr, size_t, CUmem_advise, CUmemLocation) { return CUDA_SUCCESS; }
CUresult cuMemPrefetchAsync(CUdeviceptr, size_t, CUmemLocation, unsigned, CUstream) { return CUDA_SUCCESS; }

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* pool, CUdevice) { return *pool = the_pool(), CUDA_SUCCESS; }
CUresult cuDeviceGetMemPool(CUmemoryPool* pool, CUdevice) { return *pool = the_pool(), CUDA_SUCCESS; }
CUresult cuDeviceSetMemPool(CUdevice, CUmemoryPool) { return CUDA_SUCCESS; }
CUresult cuMemPoolCreate(CUmemoryPool* pool, const CUmemPoolProps*) { return *pool = the_pool(), CUDA_SUCCESS; }
CUresult cuMemPoolDestroy(CUmemoryPool) { return CUDA_SUCCESS; }
CUresult cuMemPoolTrimTo(CUmemoryPool, size_t) { return CUDA_SUCCESS; }
CUresult cuMemPoolSetAttribute(CUmemoryPool, CUmemPool_attribute attribute, void* value) {
    LOCK;
    if (attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD) release_threshold = *static_cast<uint64_t*>(value);
    if (attribute == CU_MEMPOOL_ATTR_USED_MEM_HIGH || attribute == CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH) peak = in_use;
    return CUDA_SUCCESS;
}
CUresult cuMemPoolGetAttribute(CUmemoryPool, CUmemPool_attribute attribute, void* value) {
    LOCK;
    uint64_t& wide = *static_cast<uint64_t*>(value);
    switch (attribute) {
        case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD: wide = release_threshold; break;
        case CU_MEMPOOL_ATTR_USED_MEM_CURRENT:
        case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT: wide = in_use; break;
        case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
        case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH: wide = peak; break;
        default: *static_cast<int*>(value) = 1;
    }
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetGraphMemAttribute(CUdevice, CUgraphMem_attribute, void* value) {
    return *static_cast<uint64_t*>(value) = 0, CUDA_SUCCESS;
}
CUresult cuDeviceGraphMemTrim(CUdevice) { return CUDA_SUCCESS; }

CUresult cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t n) { return copy(host(to), ANY, host(from), ANY, n, nullptr, false); }
CUresult cuMemcpyHtoD(CUdeviceptr to, const void* from, size_t n) { return copy(host(to), DEVICE, from, HOST, n, nullptr, false); }
CUresult cuMemcpyDtoH(void* to, CUdeviceptr from, size_t n) { return copy(to, HOST, host(from), DEVICE, n, nullptr, false); }
CUresult cuMemcpyDtoD(CUdeviceptr to, CUdeviceptr from, size_t n) { return copy(host(to), DEVICE, host(from), DEVICE, n, nullptr, false); }
CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t n, CUstream s) { return copy(host(to), ANY, host(from), ANY, n, s, true); }
CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void* from, size_t n, CUstream s) { return copy(host(to), DEVICE, from, HOST, n, s, true); }
CUresult cuMemcpyDtoHAsync(void* to, CUdeviceptr from, size_t n, CUstream s) { return copy(to, HOST, host(from), DEVICE, n, s, true); }
CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t n, CUstream s) { return copy(host(to), DEVICE, host(from), DEVICE, n, s, true); }
CUresult cuMemcpyPeerAsync(CUdeviceptr to, CUcontext, CUdeviceptr from, CUcontext, size_t n, CUstream s) {
    return copy(host(to), DEVICE, host(from), DEVICE, n, s, true);
}

CUresult cuMemsetD8(CUdeviceptr to, unsigned char value, size_t n) { return fill<uint8_t>(to, value, n, nullptr); }
CUresult cuMemsetD16(CUdeviceptr to, unsigned short value, size_t n) { return fill<uint16_t>(to, value, n, nullptr); }
CUresult cuMemsetD32(CUdeviceptr to, unsigned value, size_t n) { return fill<uint32_t>(to, value, n, nullptr); }
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t n, CUstream s) { return fill<uint8_t>(to, value, n, s); }
CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t n, CUstream s) { return fill<uint16_t>(to, value, n, s); }
CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t n, CUstream s) { return fill<uint32_t>(to, value, n, s); }

// streams and events
CUresult cuStreamCreate(CUstream* stream, unsigned) {
    return *stream = reinterpret_cast<CUstream>(new char), CUDA_SUCCESS;  // only its address matters
}
CUresult cuStreamCreateWithPriority(CUstream* stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }
CUresult cuStreamDestroy(CUstream stream) {
    LOCK;
    captures.erase(stream);
    if (uintptr_t(stream) > 2) delete reinterpret_cast<char*>(stream);
    return CUDA_SUCCESS;
}
CUresult cuStreamSynchronize(CUstream stream) {
    if (auto capture = capture_of(stream)) {
        capture->broken = true;
        return error(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "a stream is waited for during its capture");
    }
    return CUDA_SUCCESS;
}
CUresult cuStreamQuery(CUstream stream) { return cuStreamSynchronize(stream); }
CUresult cuStreamGetFlags(CUstream, unsigned* flags) { return *flags = 0, CUDA_SUCCESS; }
CUresult cuStreamGetPriority(CUstream, int* priority) { return *priority = 0, CUDA_SUCCESS; }
CUresult cuStreamGetCtx(CUstream, CUcontext* context) { return *context = the_context(), CUDA_SUCCESS; }
CUresult cuStreamAttachMemAsync(CUstream, CUdeviceptr, size_t, unsigned) { return CUDA_SUCCESS; }
CUresult cuLaunchHostFunc(CUstream stream, CUhostFn f, void* data) { return run(stream, [=] { f(data); }); }
CUresult cuStreamWaitEvent(CUstream stream, CUevent e, unsigned) {
    LOCK;
    Event& event = *reinterpret_cast<Event*>(e);
    auto capture = capture_of(stream);
    if (event.captured) {
        auto from = event.capture.lock();
        if (!from) return error(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "a stream waits for an event of a finished capture");
        captures[stream] = from;  // joins it; the order of the calls is one that the graph allows
    } else if (capture && event.recorded) {
        capture->broken = true;
        return error(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "a stream being captured waits for an event from outside");
    }
    return CUDA_SUCCESS;
}
CUresult cuEventCreate(CUevent* event, unsigned) { return *event = reinterpret_cast<CUevent>(new Event), CUDA_SUCCESS; }
CUresult cuEventDestroy(CUevent event) { return delete reinterpret_cast<Event*>(event), CUDA_SUCCESS; }
CUresult cuEventRecord(CUevent e, CUstream stream) {
    Event& event = *reinterpret_cast<Event*>(e);
    auto capture = capture_of(stream);
    event.captured = capture != nullptr;
    event.capture = capture;
    event.recorded = true;
    event.time = Clock::now();
    return CUDA_SUCCESS;
}
CUresult cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned) { return cuEventRecord(event, stream); }
CUresult cuEventQuery(CUevent e) {
    if (reinterpret_cast<Event*>(e)->captured) return error(CUDA_ERROR_CAPTURED_EVENT, "an event of a capture is queried");
    return CUDA_SUCCESS;
}
CUresult cuEventSynchronize(CUevent e) { return cuEventQuery(e); }
CUresult cuEventElapsedTime(float* ms, CUevent from, CUevent to) {
    const Event &a = *reinterpret_cast<Event*>(from), &b = *reinterpret_cast<Event*>(to);
    if (!a.recorded || !b.recorded) return CUDA_ERROR_INVALID_HANDLE;
    return *ms = std::chrono::duration<float, std::milli>(b.time - a.time).count(), CUDA_SUCCESS;
}

// capture and graphs
CUresult cuStreamBeginCapture(CUstream stream, CUstreamCaptureMode mode) {
    LOCK;
    static unsigned long long captures_begun = 0;
    if (stream == nullptr || stream == CU_STREAM_LEGACY)
        return error(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the legacy stream cannot be captured");
    if (captures.count(stream)) return error(CUDA_ERROR_ILLEGAL_STATE, "a stream is captured already");
    auto capture = std::make_shared<Capture>();
    capture->origin = stream;
    capture->mode = mode;
    capture->thread = std::this_thread::get_id();
    capture->id = ++captures_begun;
    captures[stream] = capture;
    return CUDA_SUCCESS;
}
CUresult cuStreamEndCapture(CUstream stream, CUgraph* graph) {
    LOCK;
    auto capture = capture_of(stream);
    *graph = nullptr;
    if (!capture || capture->origin != stream) return error(CUDA_ERROR_ILLEGAL_STATE, "no capture to end");
    if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED && capture->thread != std::this_thread::get_id())
        return error(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, "a capture ends in another thread than it began in");
    for (auto it = captures.begin(); it != captures.end();) it = it->second == capture ? captures.erase(it) : std::next(it);
    // What was allocated exists from here on only while a replay says so.
    for (CUdeviceptr address : capture->graph->owned) allocations.at(address).live = false;
    if (capture->broken) return error(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "the capture had become invalid");
    *graph = reinterpret_cast<CUgraph>(new GraphHandle(capture->graph));
    return CUDA_SUCCESS;
}
CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus* status) {
    auto capture = capture_of(stream);
    *status = !capture ? CU_STREAM_CAPTURE_STATUS_NONE
              : capture->broken ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    return CUDA_SUCCESS;
}
CUresult cuStreamGetCaptureInfo(CUstream stream, CUstreamCaptureStatus* status, cuuint64_t* id, CUgraph* graph,
                                const CUgraphNode** dependencies, const CUgraphEdgeData** edges, size_t* count) {
    auto capture = capture_of(stream);
    if (id) *id = capture ? capture->id : 0;
    if (graph) *graph = nullptr;
    if (dependencies) *dependencies = nullptr;
    if (edges) *edges = nullptr;
    if (count) *count = 0;
    return cuStreamIsCapturing(stream, status);
}
CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode* mode) {
    return *mode = CU_STREAM_CAPTURE_MODE_GLOBAL, CUDA_SUCCESS;
}
CUresult cuGraphInstantiate(CUgraphExec* exec, CUgraph graph, unsigned long long flags) {
    constexpr unsigned long long together = CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH | CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH;
    if ((flags & together) == together) return CUDA_ERROR_INVALID_VALUE;
    auto* handle = new GraphHandle(*reinterpret_cast<GraphHandle*>(graph));
    (*handle)->auto_free = flags & CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
    return *exec = reinterpret_cast<CUgraphExec>(handle), CUDA_SUCCESS;
}
CUresult cuGraphUpload(CUgraphExec, CUstream) { return CUDA_SUCCESS; }
CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream) {
    if (capture_of(stream)) return error(CUDA_ERROR_NOT_SUPPORTED, "a graph is launched within a capture");
    Graph& graph = **reinterpret_cast<GraphHandle*>(exec);
    {
        LOCK;
        for (CUdeviceptr address : graph.owned) {
            auto it = allocations.find(address);
            if (it == allocations.end() || !it->second.live) continue;
            if (!graph.auto_free)
                return error(CUDA_ERROR_INVALID_VALUE, "a graph is launched again while memory that it allocated is not freed");
            release(address);
        }
    }
    for (auto& node : graph.nodes) node();
    return CUDA_SUCCESS;
}
CUresult cuGraphDestroy(CUgraph graph) { return delete reinterpret_cast<GraphHandle*>(graph), CUDA_SUCCESS; }
CUresult cuGraphExecDestroy(CUgraphExec exec) { return delete reinterpret_cast<GraphHandle*>(exec), CUDA_SUCCESS; }
CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode* nodes, size_t* count) {
    if (nodes) return CUDA_ERROR_NOT_SUPPORTED;
    return *count = (*reinterpret_cast<GraphHandle*>(graph))->nodes.size(), CUDA_SUCCESS;
}

// modules and kernels
CUresult cuModuleLoadData(CUmodule* module, const void* image) {
    NOT_IN_CAPTURE;
    const char* text = static_cast<const char*>(image);
    const bool ptx = strchr("/. \t\r\n", *text) && *text;  // otherwise an ELF file or a fat binary
    return *module = reinterpret_cast<CUmodule>(new Module{ptx ? text : ""}), CUDA_SUCCESS;
}
CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned, CUjit_option*, void**) {
    return cuModuleLoadData(module, image);
}
CUresult cuModuleLoadFatBinary(CUmodule* module, const void* image) { return cuModuleLoadData(module, image); }
CUresult cuModuleLoad(CUmodule* module, const char*) {
    NOT_IN_CAPTURE;
    return *module = reinterpret_cast<CUmodule>(new Module), CUDA_SUCCESS;
}
CUresult cuModuleUnload(CUmodule module) {
    NOT_IN_CAPTURE;
    return delete reinterpret_cast<Module*>(module), CUDA_SUCCESS;
}
CUresult cuModuleGetFunction(CUfunction* function, CUmodule m, const char* name) {
    const Module& module = *reinterpret_cast<Module*>(m);
    if (!module.ptx.empty() && module.ptx.find(std::string(".entry ") + name + "(") == std::string::npos)
        return error(CUDA_ERROR_NOT_FOUND, "the PTX has no kernel %s", name);
    auto it = card::kernels().find(name);
    if (it == card::kernels().end())
        return error(CUDA_ERROR_NOT_FOUND, "the kernel %s is not compiled into the emulated card", name);
    return *function = reinterpret_cast<CUfunction>(&it->second), CUDA_SUCCESS;
}
CUresult cuModuleGetGlobal(CUdeviceptr*, size_t*, CUmodule, const char* name) {
    return error(CUDA_ERROR_NOT_FOUND, "the global %s: globals are not emulated", name);
}
CUresult cuLibraryLoadData(CUlibrary* library, const void* image, CUjit_option*, void**, unsigned, CUlibraryOption*, void**, unsigned) {
    return cuModuleLoadData(reinterpret_cast<CUmodule*>(library), image);
}
CUresult cuLibraryUnload(CUlibrary library) { return cuModuleUnload(reinterpret_cast<CUmodule>(library)); }
CUresult cuLibraryGetKernel(CUkernel* kernel, CUlibrary library, const char* name) {
    return cuModuleGetFunction(reinterpret_cast<CUfunction*>(kernel), reinterpret_cast<CUmodule>(library), name);
}
CUresult cuLibraryGetModule(CUmodule* module, CUlibrary library) {
    return *module = reinterpret_cast<CUmodule>(library), CUDA_SUCCESS;
}
CUresult cuKernelGetFunction(CUfunction* function, CUkernel kernel) {
    return *function = reinterpret_cast<CUfunction>(kernel), CUDA_SUCCESS;
}
CUresult cuFuncGetAttribute(int* value, CUfunction_attribute attribute, CUfunction f) {
    switch (attribute) {
        case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = card::MAX_THREADS; break;
        case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = 32; break;
        case CU_FUNC_ATTRIBUTE_PTX_VERSION:
        case CU_FUNC_ATTRIBUTE_BINARY_VERSION: *value = 90; break;
        case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: *value = reinterpret_cast<card::Kernel*>(f)->dynamic_shared_limit; break;
        default: *value = 0;
    }
    return CUDA_SUCCESS;
}
CUresult cuFuncSetAttribute(CUfunction f, CUfunction_attribute attribute, int value) {
    if (attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) {
        if (value < 0 || size_t(value) > card::MAX_SHARED) return error(CUDA_ERROR_INVALID_VALUE, "%d bytes of shared memory", value);
        reinterpret_cast<card::Kernel*>(f)->dynamic_shared_limit = value;
    }
    return CUDA_SUCCESS;
}
CUresult cuFuncSetCacheConfig(CUfunction, CUfunc_cache) { return CUDA_SUCCESS; }
CUresult cuFuncGetName(const char** name, CUfunction f) {
    return *name = reinterpret_cast<card::Kernel*>(f)->name.c_str(), CUDA_SUCCESS;
}
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction, int threads, size_t shared) {
    const size_t by_shared = (228 << 10) / (shared + 1024);
    return *blocks = int(std::min<size_t>({32, size_t(2048 / std::max(threads, 1)), by_shared})), CUDA_SUCCESS;
}
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, CUfunction f, int threads, size_t shared, unsigned) {
    return cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks, f, threads, shared);
}
CUresult cuOccupancyMaxPotentialBlockSize(int* grid, int* block, CUfunction, CUoccupancyB2DSize, size_t, int limit) {
    return *grid = 2 * 132, *block = limit > 0 ? std::min(limit, 1024) : 1024, CUDA_SUCCESS;
}
CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int* grid, int* block, CUfunction f, CUoccupancyB2DSize g, size_t n, int limit, unsigned) {
    return cuOccupancyMaxPotentialBlockSize(grid, block, f, g, n, limit);
}
CUresult cuOccupancyAvailableDynamicSMemPerBlock(size_t* bytes, CUfunction, int blocks, int) {
    return *bytes = std::min<size_t>(card::MAX_SHARED, (228 << 10) / std::max(blocks, 1) - 1024), CUDA_SUCCESS;
}
CUresult cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                        unsigned shared, CUstream stream, void** parameters, void** extra) {
    return launch(f, dim3(gx, gy, gz), dim3(bx, by, bz), shared, stream, parameters, extra);
}
CUresult cuLaunchKernelEx(const CUlaunchConfig* c, CUfunction f, void** parameters, void** extra) {
    return launch(f, dim3(c->gridDimX, c->gridDimY, c->gridDimZ), dim3(c->blockDimX, c->blockDimY, c->blockDimZ),
                  c->sharedMemBytes, c->hStream, parameters, extra);
}

// the rest
CUresult cuGetErrorName(CUresult code, const char** name) {
    switch (code) {
#define NAME(x) case x: *name = #x; break;
        NAME(CUDA_SUCCESS) NAME(CUDA_ERROR_INVALID_VALUE) NAME(CUDA_ERROR_OUT_OF_MEMORY) NAME(CUDA_ERROR_NOT_INITIALIZED)
        NAME(CUDA_ERROR_NO_DEVICE) NAME(CUDA_ERROR_INVALID_DEVICE) NAME(CUDA_ERROR_INVALID_CONTEXT) NAME(CUDA_ERROR_INVALID_HANDLE)
        NAME(CUDA_ERROR_ILLEGAL_STATE) NAME(CUDA_ERROR_NOT_FOUND) NAME(CUDA_ERROR_NOT_SUPPORTED) NAME(CUDA_ERROR_CAPTURED_EVENT)
        NAME(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED) NAME(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)
        NAME(CUDA_ERROR_STREAM_CAPTURE_ISOLATION) NAME(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD)
#undef NAME
        default: *name = "CUDA_ERROR_UNKNOWN";
    }
    return CUDA_SUCCESS;
}
CUresult cuGetErrorString(CUresult code, const char** text) {
    if (code == CUDA_ERROR_OUT_OF_MEMORY) return *text = "out of memory", CUDA_SUCCESS;
    return cuGetErrorName(code, text);
}
CUresult cuProfilerStart() { return CUDA_SUCCESS; }
CUresult cuProfilerStop() { return CUDA_SUCCESS; }
CUresult cuGetProcAddress(const char* name, void** address, int, cuuint64_t, CUdriverProcAddressQueryResult* status) {
    *address = nullptr;
    for (const char* suffix : {"_v2", ""})
        if (!*address) *address = dlsym(RTLD_DEFAULT, (std::string(name) + suffix).c_str());
    if (status) *status = *address ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return *address ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

}  // extern "C"
