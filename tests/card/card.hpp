// An emulated GPU: compiles CUDA C++ kernels with g++ and runs them on the CPU, to check that they are correct.
//
//   #include "card.hpp"
//   #include "kernels.cu"
//   card::launch(kernel, dim3(grid), dim3(block), shared_bytes, arguments...);
//
// g++ -std=c++17 -O2 -march=native -fno-strict-aliasing file.cpp -pthread, as kernels access memory through several types.
//
// Every thread of a block is a fiber with its own stack; one OS thread runs one block at a time, from barrier to barrier,
// in a varying order, so that races show as wrong results. Dynamic shared memory starts as NaN patterns and is followed by
// a guard zone. Asynchronous copies complete as late as possible in blocks with an even index and at once in those with an
// odd one, so that both a missing wait and a missing barrier show.
//
// Not detected: reads outside of global memory, bank conflicts, uninitialised static shared memory, missing fences between
// blocks. Tensor cores round differently: here they accumulate in float32 with fused multiply-adds, in order of k.
//
// Environment: EMU_THREADS=n (OS threads, default: all cores), EMU_CP_ASYNC=late|early|both (default: both).
#pragma once

#include <sys/mman.h>

#include <assert.h>
#include <immintrin.h>
#include <math.h>  // besides <cmath>: nvcc, too, has the overloads of abs, isnan and so on without std::
#include <stdlib.h>

#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>
#include <tuple>
#include <type_traits>
#include <vector>

#pragma GCC diagnostic ignored "-Wunknown-pragmas"  // #pragma unroll
#pragma GCC diagnostic ignored "-Wattributes"

#define CARD_EMULATED 1

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
// An OS thread runs one block at a time, so thread-local variables belong to a block.
#define __shared__ static thread_local

// ---------------------------------------------------------------------------------------------------- vector types

#define CARD_VECTORS(T, name)                                                                                     \
    struct alignas(2 * sizeof(T)) name##2 { T x, y; };                                                            \
    struct name##3 { T x, y, z; };                                                                                \
    struct alignas(4 * sizeof(T) > 16 ? 16 : 4 * sizeof(T)) name##4 { T x, y, z, w; };                            \
    inline name##2 make_##name##2(T x, T y) { return {x, y}; }                                                    \
    inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }                                            \
    inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
CARD_VECTORS(float, float)
CARD_VECTORS(double, double)
CARD_VECTORS(int, int)
CARD_VECTORS(unsigned, uint)
CARD_VECTORS(short, short)
CARD_VECTORS(unsigned short, ushort)
CARD_VECTORS(signed char, char)
CARD_VECTORS(unsigned char, uchar)
CARD_VECTORS(long long, longlong)
CARD_VECTORS(unsigned long long, ulonglong)
#undef CARD_VECTORS

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
    constexpr size_t count() const { return size_t(x) * y * z; }
};

inline thread_local uint3 threadIdx{}, blockIdx{};
inline thread_local uint3 blockDim{}, gridDim{};
constexpr int warpSize = 32;

// --------------------------------------------------------------------------------------------------- blocks as fibers

namespace card {

[[noreturn]] inline __attribute__((format(printf, 1, 2))) void fail(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "emulated GPU: block (%u,%u,%u) thread (%u,%u,%u): ", blockIdx.x, blockIdx.y, blockIdx.z,
            threadIdx.x, threadIdx.y, threadIdx.z);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    abort();
}

// Saves the callee-saved registers on this stack and its pointer in `*from`, then resumes the stack `to`.
inline __attribute__((naked, noinline)) void switch_stack(void** /*from*/, void* /*to*/) {
    asm volatile(
        "pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
        "movq %rsp, (%rdi)\n movq %rsi, %rsp\n"
        "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n ret\n");
}

constexpr unsigned MAX_THREADS = 1024, MAX_WARPS = MAX_THREADS / 32, FULL = 0xffffffffu;
constexpr size_t MAX_SHARED = 227 << 10, GUARD = 1024, STACK = 64 << 10;

// A warp operation on the arguments of all lanes in the bit set `lanes`, run once all of them have arrived.
using Collective = void (*)(void* const arguments[32], unsigned lanes);

struct Grid {
    void (*run_thread)(const void* call);
    const void* call;
    dim3 grid, block;
    size_t shared;
};

struct Copy {
    void* to;
    const void* from;  // or null, to write zeros
    unsigned group;
};

struct Fiber {
    void* stack_pointer;
    char* stack;  // null until it first runs
    uint3 index;
    unsigned number, groups;
    bool done;
    std::vector<Copy> copies;
};

struct Warp {
    unsigned live, ready;  // bit sets of lanes
    // The collective that each lane waits in:
    unsigned masks[32];
    Collective operations[32];
    void* arguments[32];
    // The waiting lanes. Not beside the other bit sets, because loading two words at once stalls if one was just stored.
    unsigned waiting;
};

// Runs one block at a time on one OS thread.
class Processor {
public:
    static Processor& current() {
        if (!pointer) {
            static thread_local Processor processor;
            pointer = &processor;
        }
        return *pointer;
    }

    void run(const Grid& work, size_t block_number) {
        grid = &work;
        blockDim = {work.block.x, work.block.y, work.block.z};
        gridDim = {work.grid.x, work.grid.y, work.grid.z};
        blockIdx = {unsigned(block_number % work.grid.x), unsigned(block_number / work.grid.x % work.grid.y),
                    unsigned(block_number / work.grid.x / work.grid.y)};
        late_copies = copy_mode() == 'b' ? block_number % 2 == 0 : copy_mode() == 'l';
        start_block();
        // One block in four switches warps between any two collectives; the others run a warp up to its next barrier,
        // which is faster.
        interleave = blocks_run++ % 4 == 3;
        while (live) {
            const unsigned order = orders++;
            bool progress = false;
            for (unsigned i = 0; i < MAX_WARPS; i++) {
                const unsigned warp = permute(i, order);
                if (warp < warps_used) progress |= run_warp(warp);
            }
            if (!progress) deadlock();
        }
        end_block();
    }

    void barrier(int predicate) {
        warps[running->number / 32].ready &= ~(1u << running->number % 32);
        at_barrier++;
        votes += predicate != 0;
        if (!open_barrier()) yield();
    }
    int barrier_votes() const { return barrier_result; }

    void collective(unsigned mask, Collective operation, void* arguments) {
        Warp& warp = warps[running->number / 32];
        const unsigned lane = running->number % 32, bit = 1u << lane;
        if (!(mask & bit)) fail("a lane takes part in a warp operation whose mask 0x%08x leaves it out", mask);
        warp.masks[lane] = mask;
        warp.operations[lane] = operation;
        warp.arguments[lane] = arguments;
        warp.ready &= ~bit;
        warp.waiting |= bit;
        if (!finish_collective(warp, mask)) yield();
    }

    unsigned lane() const { return running->number % 32; }
    unsigned active() const { return warps[running->number / 32].live; }

    void copy(void* to, const void* from) {
        check_shared(to, 16);
        const Copy copy{to, from, running->groups};
        if (late_copies)
            running->copies.push_back(copy);
        else
            land(copy);
    }
    void commit() { running->groups++; }
    void wait(unsigned keep) {
        Fiber& self = *running;
        size_t kept = 0;
        for (const Copy& copy : self.copies) {
            if (copy.group < self.groups && self.groups - copy.group > keep)
                land(copy);
            else
                self.copies[kept++] = copy;
        }
        self.copies.resize(kept);
    }

    char* shared() { return shared_memory; }

    // Fails if an access is to a thread's stack or exceeds the block's dynamic shared memory. Static shared memory is
    // elsewhere and not checked.
    void check_shared(const void* address, size_t bytes) {
        const char* at = static_cast<const char*>(address);
        if (at < shared_memory || at >= shared_memory + MAX_SHARED + GUARD) {
            if (at >= stacks && at < stacks + STACK_STRIDE * MAX_THREADS)
                fail("an address in a thread's local memory is used as one in shared memory");
            return;
        }
        if (at + bytes > shared_memory + grid->shared)
            fail("shared memory at byte %zu of %zu is used", size_t(at - shared_memory), grid->shared);
    }

private:
    // Stacks at multiples of 4096 would all compete for the same cache lines.
    static constexpr size_t STACK_STRIDE = STACK + 11 * 64;
    static constexpr uint64_t CANARY = 0x5aa5c33c96696996;
    inline static thread_local Processor* pointer = nullptr;

    const Grid* grid = nullptr;
    char *stacks, *shared_memory;
    std::vector<char*> free_stacks;
    std::vector<Fiber> fibers{MAX_THREADS};
    Warp warps[MAX_WARPS];
    Fiber* running = nullptr;
    void* scheduler = nullptr;
    unsigned live = 0, warps_used = 0, at_barrier = 0, votes = 0;
    unsigned warp_running = 0, round = 0, order = 0;  // of lanes; round: the bit set of lanes still to run in it
    unsigned orders = 0, blocks_run = 0;
    int barrier_result = 0;
    bool late_copies = true, interleave = false;

    Processor() {
        stacks = reserve(STACK_STRIDE * MAX_THREADS);
        shared_memory = reserve(MAX_SHARED + GUARD);
        for (unsigned i = MAX_THREADS; i-- > 0;) {
            free_stacks.push_back(stacks + i * STACK_STRIDE);
        }
    }
    ~Processor() {
        munmap(stacks, STACK_STRIDE * MAX_THREADS);
        munmap(shared_memory, MAX_SHARED + GUARD);
        pointer = nullptr;
    }

    static char* reserve(size_t bytes) {
        void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) fail("no memory for the stacks of a block");
        madvise(memory, bytes, MADV_HUGEPAGE);  // with small pages, the stacks of a block exceed the TLB
        return static_cast<char*>(memory);
    }

    static char copy_mode() {
        static const char* mode = getenv("EMU_CP_ASYNC");
        return mode ? mode[0] : 'b';
    }

    // A permutation of 0 to 31 for each order: forward, backward, or multiples of an odd number.
    static unsigned permute(unsigned i, unsigned order) {
        switch (order % 4) {
            case 0: return i;
            case 1: return 31 - i;
            default: return (i * (order / 2 * 6 + 5) + order) % 32;
        }
    }

    void start_block() {
        const unsigned count = grid->block.count();
        warps_used = (count + 31) / 32;
        live = count;
        at_barrier = votes = 0;
        unsigned number = 0;
        for (unsigned z = 0; z < grid->block.z; z++)
            for (unsigned y = 0; y < grid->block.y; y++)
                for (unsigned x = 0; x < grid->block.x; x++, number++) {
                    Fiber& fiber = fibers[number];
                    fiber.done = false;
                    fiber.stack = nullptr;
                    fiber.index = {x, y, z};
                    fiber.number = number;
                    fiber.groups = 0;
                    if (!fiber.copies.empty()) fiber.copies.clear();
                }
        for (unsigned i = 0; i < warps_used; i++) {
            const unsigned lanes = count - i * 32 >= 32 ? FULL : (1u << count % 32) - 1;
            warps[i].live = warps[i].ready = lanes;
            warps[i].waiting = 0;
        }
        if (grid->shared) {
            memset(shared_memory, 0xff, grid->shared);
            memset(shared_memory + grid->shared, 0xa5, GUARD);
        }
    }

    void end_block() {
        if (!grid->shared) return;
        for (size_t i = 0; i < GUARD; i++)
            if (shared_memory[grid->shared + i] != char(0xa5))
                fail("the block wrote behind its %zu bytes of shared memory, at byte %zu", grid->shared,
                     grid->shared + i);
    }

    bool run_warp(unsigned number) {
        warp_running = number;
        begin_round();
        bool any = false;
        while (Fiber* fiber = next()) {
            any = true;
            enter(*fiber);
            switch_stack(&scheduler, fiber->stack_pointer);
            if (running->done) finish(*running);
        }
        return any;
    }

    void begin_round() {
        round = warps[warp_running].ready;
        order = orders++;
    }

    // Returns the next ready lane of this warp, or null. Each lane runs once per round.
    Fiber* next() {
        const Warp& warp = warps[warp_running];
        if (!(round & warp.ready)) {
            if (interleave || !warp.ready) return nullptr;
            begin_round();
        }
        const unsigned lanes = round & warp.ready;
        unsigned lane;
        switch (order % 3) {
            case 0: lane = __builtin_ctz(lanes); break;
            case 1: lane = 31 - __builtin_clz(lanes); break;
            default: {  // forward, starting anywhere
                const unsigned from = order / 3 * 11 % 32;
                lane = (__builtin_ctz(lanes >> from | lanes << (32 - from) % 32) + from) % 32;
            }
        }
        round &= ~(1u << lane);
        return &fibers[warp_running * 32 + lane];
    }

    void enter(Fiber& fiber) {
        if (!fiber.stack) start(fiber);
        running = &fiber;
        threadIdx = fiber.index;
    }

    // Switches to the next lane directly rather than through the scheduler: it usually stopped at the same place, which
    // branch prediction benefits from.
    void yield() {
        Fiber& self = *running;
        void* to = scheduler;
        if (Fiber* fiber = next()) {
            enter(*fiber);
            to = fiber->stack_pointer;
        }
        switch_stack(&self.stack_pointer, to);
    }

    // Gives a thread the stack of the last one that returned, so that threads without barriers all share one.
    void start(Fiber& fiber) {
        fiber.stack = free_stacks.back();
        free_stacks.pop_back();
        memcpy(fiber.stack, &CANARY, sizeof CANARY);
        // switch_stack pops six registers and the return address; above it, the stack is aligned as after a call.
        void** top = reinterpret_cast<void**>((reinterpret_cast<uintptr_t>(fiber.stack) + STACK) & ~uintptr_t(15)) - 2;
        top[1] = nullptr;
        top[0] = reinterpret_cast<void*>(&Processor::thread_main);
        memset(top - 6, 0, 6 * sizeof(void*));
        fiber.stack_pointer = top - 6;
    }

    static void thread_main() {
        Processor& processor = *pointer;
        processor.grid->run_thread(processor.grid->call);
        Fiber& self = *processor.running;
        self.done = true;
        switch_stack(&self.stack_pointer, processor.scheduler);
        fail("a thread that had returned was run again");
    }

    void finish(Fiber& fiber) {
        if (memcmp(fiber.stack, &CANARY, sizeof CANARY)) fail("a thread overran its stack of %zu bytes", STACK);
        free_stacks.push_back(fiber.stack);
        Warp& warp = warps[fiber.number / 32];
        const unsigned lane = 1u << fiber.number % 32;
        warp.live &= ~lane;
        warp.ready &= ~lane;
        live--;
        // This may have been the last lane that others waited for.
        open_barrier();
        for (unsigned waiting = warp.waiting; waiting; waiting &= waiting - 1)
            finish_collective(warp, warp.masks[__builtin_ctz(waiting)]);
    }

    bool open_barrier() {
        if (!live || at_barrier < live) return false;
        barrier_result = votes;
        at_barrier = votes = 0;
        for (unsigned i = 0; i < warps_used; i++) warps[i].ready = warps[i].live;
        return true;
    }

    // Runs the operation once all lanes of `mask` have arrived.
    bool finish_collective(Warp& warp, unsigned mask) {
        const unsigned lanes = mask & warp.live;
        if ((warp.waiting & lanes) != lanes || !lanes) return false;
        const Collective operation = warp.operations[__builtin_ctz(lanes)];
        unsigned same_mask = 0, same_operation = 0;
        for (unsigned i = 0; i < 32; i++) {
            same_mask |= unsigned(warp.masks[i] == mask) << i;
            same_operation |= unsigned(warp.operations[i] == operation) << i;
        }
        if ((same_mask & lanes) != lanes) return false;
        if ((same_operation & lanes) != lanes) fail("lanes of a warp meet in different operations");
        operation(warp.arguments, lanes);
        warp.waiting &= ~lanes;
        warp.ready |= lanes;
        return true;
    }

    void land(const Copy& copy) {
        if (copy.from)
            memcpy(copy.to, copy.from, 16);
        else
            memset(copy.to, 0, 16);
    }

    [[noreturn]] void deadlock() {
        for (unsigned i = 0; i < warps_used; i++)
            fprintf(stderr, "warp %u: lanes alive 0x%08x, of them in a warp operation 0x%08x, at a barrier 0x%08x\n", i,
                    warps[i].live, warps[i].waiting, warps[i].live & ~warps[i].waiting);
        fail("deadlock: %u of %u threads wait at __syncthreads, the others in warp operations", at_barrier, live);
    }
};

// The OS threads that run the blocks of a grid: the launching thread and helpers.
class Device {
public:
    static Device& get() {
        static Device* device = new Device;  // never freed, as its threads may outlive main
        return *device;
    }

    void run(const Grid& work) {
        const size_t threads = work.block.count(), blocks = work.grid.count();
        if (!threads || threads > MAX_THREADS || work.block.z > 64) fail("a block of %zu threads", threads);
        if (!blocks || work.grid.x > 0x7fffffffu || work.grid.y > 65535 || work.grid.z > 65535)
            fail("a grid of %u x %u x %u blocks", work.grid.x, work.grid.y, work.grid.z);
        if (work.shared > MAX_SHARED) fail("%zu bytes of shared memory", work.shared);
        std::lock_guard<std::mutex> one_at_a_time(launching);
        total = blocks;
        backward = !backward;
        next = 0;
        const bool share = blocks > 1 && helpers > 0;
        if (share) {
            std::lock_guard<std::mutex> lock(mutex);
            grid = &work;
            busy = helpers;
            generation++;
            started.notify_all();
        }
        run_blocks(work);
        if (share) {
            std::unique_lock<std::mutex> lock(mutex);
            finished.wait(lock, [&] { return busy == 0; });
        }
    }

private:
    std::mutex launching, mutex;
    std::condition_variable started, finished;
    const Grid* grid = nullptr;
    size_t total = 0;
    std::atomic<size_t> next{0};
    unsigned generation = 0, busy = 0, helpers = 0;
    bool backward = true;

    Device() {
        const char* setting = getenv("EMU_THREADS");
        const int threads = setting ? atoi(setting) : int(std::thread::hardware_concurrency());
        for (helpers = 0; int(helpers) + 1 < threads; helpers++) std::thread([this] { help(); }).detach();
    }

    void help() {
        unsigned seen = 0;
        while (true) {
            const Grid* work;
            {
                std::unique_lock<std::mutex> lock(mutex);
                started.wait(lock, [&] { return generation != seen; });
                seen = generation;
                work = grid;
            }
            run_blocks(*work);
            std::lock_guard<std::mutex> lock(mutex);
            if (--busy == 0) finished.notify_one();
        }
    }

    void run_blocks(const Grid& work) {
        Processor& processor = Processor::current();
        for (size_t i; (i = next++) < total;) processor.run(work, backward ? total - 1 - i : i);
    }
};

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, Arguments... arguments) {
    using Call = std::pair<void (*)(Parameters...), std::tuple<std::decay_t<Parameters>...>>;
    const Call call{kernel, {static_cast<std::decay_t<Parameters>>(arguments)...}};
    Device::get().run({[](const void* call) {
                           const Call& it = *static_cast<const Call*>(call);
                           std::apply(it.first, it.second);
                       },
                       &call, grid, block, shared_bytes});
}

// Allocates global memory, aligned for vector accesses.
inline void* alloc_global(size_t bytes) { return aligned_alloc(128, (bytes + 127) / 128 * 128); }

inline void free_global(void* memory) { free(memory); }

template <class T>
T* dynamic_shared() {
    return reinterpret_cast<T*>(Processor::current().shared());
}

// Calls operation(arguments of all lanes, bit set of lanes) once for the whole warp.
template <class Argument, void (*operation)(Argument* const[32], unsigned)>
void collective(unsigned mask, Argument& argument) {
    Processor::current().collective(
        mask,
        [](void* const arguments[32], unsigned lanes) {
            operation(reinterpret_cast<Argument* const*>(arguments), lanes);
        },
        &argument);
}

}  // namespace card

// ------------------------------------------------------------------------------------- barriers and warp operations

inline void __syncthreads() { card::Processor::current().barrier(0); }
inline int __syncthreads_count(int predicate) {
    card::Processor::current().barrier(predicate);
    return card::Processor::current().barrier_votes();
}
inline int __syncthreads_or(int predicate) { return __syncthreads_count(predicate) != 0; }
inline int __syncthreads_and(int predicate) { return __syncthreads_count(!predicate) == 0; }
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() {}
inline unsigned __activemask() { return card::Processor::current().active(); }

namespace card {

struct Nothing {};
inline void meet(Nothing* const[32], unsigned) {}

struct Vote {
    int predicate;
    unsigned result;
};
inline void ballot(Vote* const votes[32], unsigned lanes) {
    unsigned result = 0;
    for (unsigned i = 0; i < 32; i++)
        if (lanes >> i & 1 && votes[i]->predicate) result |= 1u << i;
    for (unsigned i = 0; i < 32; i++)
        if (lanes >> i & 1) votes[i]->result = result;
}

template <class T>
struct Shuffle {
    T value, result;
    unsigned source;
};
// The value of an inactive lane is undefined: here all bits are set, which is NaN for a float.
template <class T>
void shuffle(Shuffle<T>* const shuffles[32], unsigned lanes) {
    for (unsigned i = 0; i < 32; i++) {
        if (!(lanes >> i & 1)) continue;
        const unsigned source = shuffles[i]->source;
        if (lanes >> source & 1)
            shuffles[i]->result = shuffles[source]->value;
        else
            memset(static_cast<void*>(&shuffles[i]->result), 0xff, sizeof(T));
    }
}
template <class T>
T shuffle_from(unsigned mask, T value, unsigned source) {
    static_assert(std::is_trivially_copyable<T>::value && sizeof(T) <= 8, "one or two registers");
    Shuffle<T> argument{value, value, source % 32};
    collective<Shuffle<T>, shuffle<T>>(mask, argument);
    return argument.result;
}

}  // namespace card

inline void __syncwarp(unsigned mask = card::FULL) {
    card::Nothing nothing;
    card::collective<card::Nothing, card::meet>(mask, nothing);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
    card::Vote vote{predicate, 0};
    card::collective<card::Vote, card::ballot>(mask, vote);
    return vote.result;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, !predicate) == 0; }

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
    const unsigned lane = card::Processor::current().lane();
    return card::shuffle_from(mask, value, (lane & ~(width - 1)) | (source & (width - 1)));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32) {
    const unsigned lane = card::Processor::current().lane(), source = lane ^ lanes;
    return card::shuffle_from(mask, value, source < (lane & ~(width - 1)) + width ? source : lane);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    const unsigned lane = card::Processor::current().lane();
    return card::shuffle_from(mask, value, (lane & (width - 1)) >= delta ? lane - delta : lane);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    const unsigned lane = card::Processor::current().lane();
    return card::shuffle_from(mask, value, (lane & (width - 1)) + delta < unsigned(width) ? lane + delta : lane);
}

// ------------------------------------------------------------------------------------------------------------ atomics

namespace card {
// Atomic for OS threads, too, as several run the blocks of a grid.
template <class T, class Update>
T atomic(T* address, Update update) {
    T old, changed;
    __atomic_load(address, &old, __ATOMIC_RELAXED);
    do changed = update(old);
    while (!__atomic_compare_exchange(address, &old, &changed, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
    return old;
}
template <class T>
struct same {
    using type = T;
};
}  // namespace card

template <class T>
T atomicAdd(T* address, typename card::same<T>::type value) {
    return card::atomic(address, [&](T old) { return T(old + value); });
}
template <class T>
T atomicMax(T* address, typename card::same<T>::type value) {
    return card::atomic(address, [&](T old) { return old < value ? value : old; });
}
template <class T>
T atomicMin(T* address, typename card::same<T>::type value) {
    return card::atomic(address, [&](T old) { return value < old ? value : old; });
}
template <class T>
T atomicExch(T* address, typename card::same<T>::type value) {
    return card::atomic(address, [&](T) { return value; });
}
template <class T>
T atomicCAS(T* address, typename card::same<T>::type expected, typename card::same<T>::type value) {
    return card::atomic(address, [&](T old) { return old == expected ? value : old; });
}

// --------------------------------------------------------------------------------------------------------------- math

template <class A, class B, class = std::enable_if_t<std::is_arithmetic<A>::value && std::is_arithmetic<B>::value>>
constexpr std::common_type_t<A, B> min(A a, B b) {
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point<T>::value) return std::fmin(T(a), T(b));  // ignores NaN
    return T(b) < T(a) ? T(b) : T(a);
}
template <class A, class B, class = std::enable_if_t<std::is_arithmetic<A>::value && std::is_arithmetic<B>::value>>
constexpr std::common_type_t<A, B> max(A a, B b) {
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point<T>::value) return std::fmax(T(a), T(b));
    return T(a) < T(b) ? T(b) : T(a);
}

inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
inline double rsqrt(double x) { return 1 / std::sqrt(x); }
inline float normcdff(float x) { return 0.5f * std::erfc(-x * 0.707106781186547524f); }
inline double normcdf(double x) { return 0.5 * std::erfc(-x * 0.70710678118654752440); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __tanhf(float x) { return tanhf(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1 / x; }
inline float __frsqrt_rn(float x) { return 1 / std::sqrt(x); }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline float __saturatef(float x) { return x > 0 ? x < 1 ? x : 1 : 0; }  // NaN gives 0
// The optimisation barrier prevents fusion with a neighbouring operation.
inline float __fmul_rn(float x, float y) {
    float z = x * y;
    asm volatile("" : "+x"(z));
    return z;
}
inline float __fadd_rn(float x, float y) {
    asm volatile("" : "+x"(x));
    return x + y;
}

namespace card {
template <class To, class From>
To bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "same size");
    To to;
    memcpy(static_cast<void*>(&to), &from, sizeof to);
    return to;
}
}  // namespace card
inline int __float_as_int(float x) { return card::bits<int>(x); }
inline unsigned __float_as_uint(float x) { return card::bits<unsigned>(x); }
inline float __int_as_float(int x) { return card::bits<float>(x); }
inline float __uint_as_float(unsigned x) { return card::bits<float>(x); }
inline long long __double_as_longlong(double x) { return card::bits<long long>(x); }
inline double __longlong_as_double(long long x) { return card::bits<double>(x); }
inline int __float2int_rn(float x) { return int(rintf(x)); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __umulhi(unsigned x, unsigned y) { return uint64_t(x) * y >> 32; }

template <class T>
T __ldg(const T* address) {
    return *address;
}
template <class T>
T __ldcs(const T* address) {
    return *address;
}
template <class T>
void __stcs(T* address, T value) {
    *address = value;
}

// --------------------------------------------------------------------------------------------------------------- half

namespace card {
// Without AVX512-FP16, compilers call a function to convert _Float16, which is many times slower than F16C.
#ifdef __F16C__
inline uint16_t half_bits(float value) { return _cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT); }
inline float half_value(uint16_t bits) { return _cvtsh_ss(bits); }
#else
inline uint16_t half_bits(float value) { return bits<uint16_t>(_Float16(value)); }
inline float half_value(uint16_t x) { return bits<_Float16>(x); }
#endif
}  // namespace card

struct __half {
    uint16_t x;
    __half() = default;
    __half(float value) : x(card::half_bits(value)) {}
    __half(double value) : x(card::bits<uint16_t>(_Float16(value))) {}  // rounded once
    template <class T, class = std::enable_if_t<std::is_integral<T>::value>>
    __half(T value) : __half(double(value)) {}
    operator float() const { return card::half_value(x); }
};
typedef __half half;
static_assert(sizeof(__half) == 2 && std::is_trivial<__half>::value, "layout of the GPU");

inline float __half2float(__half x) { return x; }
inline __half __float2half(float x) { return x; }
inline __half __float2half_rn(float x) { return x; }
inline __half __double2half(double x) { return x; }
inline uint16_t __half_as_ushort(__half x) { return x.x; }
inline __half __ushort_as_half(uint16_t x) { return card::bits<__half>(x); }

// A float32 sum, product, quotient or root rounds to the same half as the exact result.
#define CARD_OPERATORS(T)                                                  \
    inline T operator+(T a, T b) { return float(a) + float(b); }           \
    inline T operator-(T a, T b) { return float(a) - float(b); }           \
    inline T operator*(T a, T b) { return float(a) * float(b); }           \
    inline T operator/(T a, T b) { return float(a) / float(b); }           \
    inline T operator-(T a) { return -float(a); }                          \
    inline T& operator+=(T& a, T b) { return a = a + b; }                  \
    inline T& operator-=(T& a, T b) { return a = a - b; }                  \
    inline T& operator*=(T& a, T b) { return a = a * b; }                  \
    inline T& operator/=(T& a, T b) { return a = a / b; }                  \
    inline bool operator==(T a, T b) { return float(a) == float(b); }      \
    inline bool operator!=(T a, T b) { return float(a) != float(b); }      \
    inline bool operator<(T a, T b) { return float(a) < float(b); }        \
    inline bool operator>(T a, T b) { return float(a) > float(b); }        \
    inline bool operator<=(T a, T b) { return float(a) <= float(b); }      \
    inline bool operator>=(T a, T b) { return float(a) >= float(b); }
CARD_OPERATORS(__half)

struct alignas(4) __half2 {
    __half x, y;
};
typedef __half2 half2;
inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
inline __half2 make_half2(__half x, __half y) { return {x, y}; }
inline __half2 __floats2half2_rn(float x, float y) { return {x, y}; }
inline __half2 __float22half2_rn(float2 v) { return {v.x, v.y}; }
inline __half2 __half2half2(__half x) { return {x, x}; }
inline float2 __half22float2(__half2 v) { return {v.x, v.y}; }
inline float __low2float(__half2 v) { return v.x; }
inline float __high2float(__half2 v) { return v.y; }
inline __half __low2half(__half2 v) { return v.x; }
inline __half __high2half(__half2 v) { return v.y; }
inline __half2 __hadd2(__half2 a, __half2 b) { return {a.x + b.x, a.y + b.y}; }
inline __half2 __hmul2(__half2 a, __half2 b) { return {a.x * b.x, a.y * b.y}; }
// In double, the product is exact and the sum accurate enough for one rounding to half.
inline __half __hfma(__half a, __half b, __half c) { return double(float(a)) * double(float(b)) + double(float(c)); }
inline __half2 __hfma2(__half2 a, __half2 b, __half2 c) { return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)}; }

// --------------------------------------------------------- tensor cores, ldmatrix and asynchronous copies (sm_80 and up)

namespace card {

struct Mma {
    float* d;
    const uint32_t *a, *b;
};
inline void widen(float* to, const uint16_t* from, unsigned count) {
    unsigned i = 0;
#ifdef __F16C__
    for (; i + 8 <= count; i += 8)
        _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
#endif
    for (; i < count; i++) to[i] = half_value(from[i]);
}
inline void multiply(Mma* const lane[32], unsigned lanes) {
    if (lanes != FULL) fail("mma needs all 32 lanes of a warp, there are 0x%08x", lanes);
    typedef float Row __attribute__((vector_size(32)));
    uint16_t half_a[16][16], half_b[16][8];
    float a[16][16];
    union {
        Row row[16];
        float at[16][8];
    } b, d;
    for (unsigned i = 0; i < 32; i++) {
        const Mma& p = *lane[i];
        const unsigned g = i / 4, t = i % 4 * 2;
        memcpy(&half_a[g][t], &p.a[0], 4);
        memcpy(&half_a[g + 8][t], &p.a[1], 4);
        memcpy(&half_a[g][t + 8], &p.a[2], 4);
        memcpy(&half_a[g + 8][t + 8], &p.a[3], 4);
        half_b[t][g] = uint16_t(p.b[0]);
        half_b[t + 1][g] = uint16_t(p.b[0] >> 16);
        half_b[t + 8][g] = uint16_t(p.b[1]);
        half_b[t + 9][g] = uint16_t(p.b[1] >> 16);
        memcpy(&d.at[g][t], p.d, 8);
        memcpy(&d.at[g + 8][t], p.d + 2, 8);
    }
    widen(a[0], half_a[0], 16 * 16);
    widen(b.at[0], half_b[0], 16 * 8);
    for (unsigned m = 0; m < 16; m += 4) {  // four sums at a time, to hide the latency of the additions
        Row s0 = d.row[m], s1 = d.row[m + 1], s2 = d.row[m + 2], s3 = d.row[m + 3];
        for (unsigned k = 0; k < 16; k++) {
            s0 += a[m][k] * b.row[k];
            s1 += a[m + 1][k] * b.row[k];
            s2 += a[m + 2][k] * b.row[k];
            s3 += a[m + 3][k] * b.row[k];
        }
        d.row[m] = s0, d.row[m + 1] = s1, d.row[m + 2] = s2, d.row[m + 3] = s3;
    }
    for (unsigned i = 0; i < 32; i++) {
        const unsigned g = i / 4, t = i % 4 * 2;
        memcpy(lane[i]->d, &d.at[g][t], 8);
        memcpy(lane[i]->d + 2, &d.at[g + 8][t], 8);
    }
}
// mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32, accumulating into `d`.
inline void mma_m16n8k16_f16(float d[4], const uint32_t a[4], const uint32_t b[2]) {
    Mma mma{d, a, b};
    collective<Mma, multiply>(FULL, mma);
}

struct Load {
    uint32_t* registers;
    const void* row;
};
// Lane i passes the address of row i % 8 of matrix i / 8, and receives elements 2 * (i % 4) and 2 * (i % 4) + 1 of row i / 4
// of each matrix or, transposed, of column i / 4.
template <unsigned count, bool transposed>
void load_matrices(Load* const lane[32], unsigned lanes) {
    if (lanes != FULL) fail("ldmatrix needs all 32 lanes of a warp, there are 0x%08x", lanes);
    Processor& processor = Processor::current();
    for (unsigned m = 0; m < count; m++) {
        const uint16_t* row[8];
        for (unsigned r = 0; r < 8; r++) {
            row[r] = static_cast<const uint16_t*>(lane[m * 8 + r]->row);
            if (reinterpret_cast<uintptr_t>(row[r]) % 16) fail("ldmatrix: lane %u's address is not aligned", m * 8 + r);
            processor.check_shared(row[r], 16);
        }
        for (unsigned i = 0; i < 32; i++) {
            const unsigned g = i / 4, t = i % 4 * 2;
            const uint32_t low = transposed ? row[t][g] : row[g][t], high = transposed ? row[t + 1][g] : row[g][t + 1];
            lane[i]->registers[m] = low | high << 16;
        }
    }
}
template <unsigned count, bool transposed>
void ldmatrix(uint32_t* registers, const void* row) {
    Load load{registers, row};
    collective<Load, load_matrices<count, transposed>>(FULL, load);
}
inline void ldmatrix_x4(uint32_t r[4], const void* shared) { ldmatrix<4, false>(r, shared); }
inline void ldmatrix_x4_trans(uint32_t r[4], const void* shared) { ldmatrix<4, true>(r, shared); }
inline void ldmatrix_x2(uint32_t r[2], const void* shared) { ldmatrix<2, false>(r, shared); }
inline void ldmatrix_x2_trans(uint32_t r[2], const void* shared) { ldmatrix<2, true>(r, shared); }

// cp.async of 16 bytes. This thread sees them after its wait, the rest of the block after a barrier that follows the wait.
inline void cp_async16(void* shared, const void* global, bool valid = true) {
    if (reinterpret_cast<uintptr_t>(shared) % 16) fail("cp.async: the shared address is not aligned");
    if (valid && reinterpret_cast<uintptr_t>(global) % 16) fail("cp.async: the global address is not aligned");
    Processor::current().copy(shared, valid ? global : nullptr);
}
inline void cp_async_commit() { Processor::current().commit(); }
// Waits for all but the last N committed groups.
template <int N>
void cp_async_wait() {
    Processor::current().wait(N);
}

}  // namespace card
