// CUDA threads on the host: every thread of a block is a fiber with a stack of its own, blocks run one after the other.
//
// What it checks beside the arithmetic:
//  - buffers end at a page that must not be touched, and begin behind a red zone: an access outside of all buffers stops the
//    program with the kernel, block and thread, one before a buffer is found when the launch is over;
//  - threads run forwards or backwards (EMULATED_ORDER=reverse), blocks too: a race gives other bytes;
//  - a barrier that some threads of a block never reach is an error;
//  - new memory is NaN, not 0.
#pragma once
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cmath>
#include <mutex>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(n)

namespace emulator {

struct Index {
    unsigned x, y, z;
};
enum State { READY, AT_BARRIER, AT_SHUFFLE, DONE };

struct Fiber {
    jmp_buf place;
    ucontext_t start;
    State state;
    bool started;
    Index index;
    char* stack;
};

const size_t STACK = 64 << 10;
const unsigned MOST = 1024;
static Fiber fibers[MOST];
static Fiber* current;
static Index block, blocks, threads;
static jmp_buf scheduler;
static void (*body)(void**);
static void** arguments;
static const char* kernel = "none";
static uint64_t slots[MOST];

inline void stop(const char* what)
{
    std::fprintf(stderr, "emulated kernel %s, block (%u, %u, %u), thread (%u, %u, %u): %s\n", kernel, block.x, block.y, block.z,
                 current ? current->index.x : 0, current ? current->index.y : 0, current ? current->index.z : 0, what);
    _exit(97);
}

inline void yield(State state)
{
    current->state = state;
    if (!_setjmp(current->place)) _longjmp(scheduler, 1);
}

// A fiber serves one thread of every block.
inline void entry()
{
    for (;;) {
        body(arguments);
        yield(DONE);
    }
}

inline void resume(Fiber& fiber)
{
    current = &fiber;
    if (_setjmp(scheduler)) return;
    if (fiber.started) _longjmp(fiber.place, 1);
    fiber.started = true;
    setcontext(&fiber.start);
}

inline bool reversed()
{
    const char* order = std::getenv("EMULATED_ORDER");
    return order && !std::strcmp(order, "reverse");
}

inline void run_block(bool backwards)
{
    const unsigned count = threads.x * threads.y * threads.z;
    for (unsigned i = 0; i < count; i++) {
        Fiber& fiber = fibers[i];
        if (!fiber.stack) {
            fiber.stack = (char*)std::malloc(STACK);
            getcontext(&fiber.start);
            fiber.start.uc_stack.ss_sp = fiber.stack;
            fiber.start.uc_stack.ss_size = STACK;
            fiber.start.uc_link = nullptr;
            makecontext(&fiber.start, (void (*)())entry, 0);
        }
        fiber.state = READY;
        fiber.index = {i % threads.x, i / threads.x % threads.y, i / threads.x / threads.y};
    }
    for (;;) {
        for (unsigned i = 0; i < count; i++) {
            Fiber& fiber = fibers[backwards ? count - 1 - i : i];
            if (fiber.state == READY) resume(fiber);
        }
        unsigned done = 0, barrier = 0;
        bool released = false;
        for (unsigned warp = 0; warp < count; warp += 32) {
            unsigned end = warp + 32 < count ? warp + 32 : count, shuffling = 0;
            for (unsigned i = warp; i < end; i++) {
                done += fibers[i].state == DONE;
                barrier += fibers[i].state == AT_BARRIER;
                shuffling += fibers[i].state == AT_SHUFFLE;
            }
            if (shuffling == end - warp) {
                for (unsigned i = warp; i < end; i++) fibers[i].state = READY;
                released = true;
            } else if (shuffling) {
                current = &fibers[warp];
                stop("a shuffle that not all threads of the warp reach");
            }
        }
        if (done == count) return;
        if (barrier == count) {
            for (unsigned i = 0; i < count; i++) fibers[i].state = READY;
        } else if (!released) {
            stop("a barrier that not all threads of the block reach");
        }
    }
}

inline void launch(const char* name, void (*function)(void**), Index grid, Index of, void** with)
{
    kernel = name, body = function, arguments = with, blocks = grid, threads = of;
    if (of.x * of.y * of.z > MOST) stop("too many threads");
    const bool backwards = reversed();
    const uint64_t count = (uint64_t)grid.x * grid.y * grid.z;
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t at = backwards ? count - 1 - i : i;
        block = {(unsigned)(at % grid.x), (unsigned)(at / grid.x % grid.y), (unsigned)(at / grid.x / grid.y)};
        run_block(backwards);
    }
    current = nullptr;
}

// Buffers between a red zone and a page that must not be touched.
struct Buffer {
    char* map;
    size_t mapped;
    char* data;
    size_t bytes;
};
static std::vector<Buffer> buffers;

inline void* allocate(size_t bytes)
{
    const size_t page = 4096, pages = (bytes + page - 1) / page * page;
    char* map = (char*)mmap(nullptr, pages + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == (char*)MAP_FAILED) return nullptr;
    mprotect(map, page, PROT_NONE);
    mprotect(map + page + pages, page, PROT_NONE);
    std::memset(map + page, 0xff, pages);
    buffers.push_back({map, pages + 2 * page, map + page + pages - bytes, bytes});
    return buffers.back().data;
}

// Whether nobody wrote before a buffer.
inline bool whole(const Buffer& buffer)
{
    for (const char* at = buffer.map + 4096; at < buffer.data; at++)
        if (*at != (char)0xff) return false;
    return true;
}

inline void check_red_zones()
{
    for (const Buffer& buffer : buffers)
        if (!whole(buffer)) stop("wrote before a buffer");
}

inline bool release(void* data)
{
    for (size_t i = 0; i < buffers.size(); i++) {
        if (buffers[i].data != data) continue;
        munmap(buffers[i].map, buffers[i].mapped);
        buffers.erase(buffers.begin() + i);
        return true;
    }
    return false;
}

inline void outside(int)
{
    stop("access outside of every buffer");
}

inline void watch_accesses()
{
    static char stack[64 << 10];
    stack_t other = {};
    other.ss_sp = stack, other.ss_size = sizeof stack;
    sigaltstack(&other, nullptr);
    struct sigaction action = {};
    action.sa_handler = outside;
    action.sa_flags = SA_ONSTACK;
    sigaction(SIGSEGV, &action, nullptr);
    sigaction(SIGILL, &action, nullptr);
}

template <typename T>
T exchange(T value, unsigned partner)
{
    const unsigned lane = (unsigned)(current - fibers);
    static_assert(sizeof(T) <= 8, "a shuffled value");
    std::memcpy(&slots[lane], &value, sizeof(T));
    yield(AT_SHUFFLE);
    std::memcpy(&value, &slots[lane / 32 * 32 + partner], sizeof(T));
    yield(AT_SHUFFLE);
    return value;
}

template <class... A, size_t... I>
void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>)
{
    kernel(*(A*)arguments[I]...);
}
template <class... A>
void call(void (*kernel)(A...), void** arguments)
{
    call(kernel, arguments, std::index_sequence_for<A...>());
}

}  // namespace emulator

#define threadIdx (emulator::current->index)
#define blockIdx emulator::block
#define gridDim emulator::blocks
#define blockDim emulator::threads

inline void __syncthreads() { emulator::yield(emulator::AT_BARRIER); }
template <typename T>
T __shfl_xor_sync(unsigned, T value, int lanes)
{
    return emulator::exchange(value, ((unsigned)(emulator::current - emulator::fibers) % 32) ^ (unsigned)lanes);
}
inline unsigned atomicAdd(unsigned* at, unsigned value) { return std::exchange(*at, *at + value); }
inline unsigned long long atomicMax(unsigned long long* at, unsigned long long value)
{
    return std::exchange(*at, *at > value ? *at : value);
}
inline long long __double_as_longlong(double value)
{
    long long bits;
    std::memcpy(&bits, &value, 8);
    return bits;
}
inline double __longlong_as_double(long long bits)
{
    double value;
    std::memcpy(&value, &bits, 8);
    return value;
}
inline float __int_as_float(unsigned bits)
{
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}
