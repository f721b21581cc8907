// Kernels that are wrong on purpose: what the emulator is there to notice. Run with the name of a fault; the exit status is
// 97 where it was noticed. `race` prints what the kernel computed: another value in reverse order.
#include "emulator.h"

static void beyond(float* x, int n) { x[threadIdx.x + (threadIdx.x == 255) * (n - 255)] = 1; }
static void before(float* x, int n) { x[(int)threadIdx.x - 1 + n - n] = 1; }
static void unmet(float* x, int)
{
    if (threadIdx.x % 2) return;
    __syncthreads();
    x[threadIdx.x] = 1;
}
static void half_shuffled(float* x, int)
{
    if (threadIdx.x < 16) x[threadIdx.x] = __shfl_xor_sync(0xffffu, (float)threadIdx.x, 1);
}
static void race(float* x, int)
{
    static float shared[256];
    shared[threadIdx.x] = (float)threadIdx.x;
    x[threadIdx.x] = shared[255 - threadIdx.x];  // no barrier in between
}
static void fine(float* x, int)
{
    static float shared[256];
    shared[threadIdx.x] = (float)threadIdx.x;
    __syncthreads();
    x[threadIdx.x] = shared[255 - threadIdx.x];
}

int main(int, char** arguments)
{
    emulator::watch_accesses();
    struct {
        const char* name;
        void (*call)(void**);
    } all[] = {
#define FAULT(name) {#name, [](void** a) { emulator::call(name, a); }}
        FAULT(beyond), FAULT(before), FAULT(unmet), FAULT(half_shuffled), FAULT(race), FAULT(fine)};
    for (auto& fault : all) {
        if (std::strcmp(fault.name, arguments[1])) continue;
        float* x = (float*)emulator::allocate(256 * sizeof(float));
        for (int i = 0; i < 256; i++) x[i] = 0;
        int n = 256;
        void* with[] = {&x, &n};
        emulator::launch(fault.name, fault.call, {1, 1, 1}, {256, 1, 1}, with);
        emulator::check_red_zones();
        double sum = 0;
        for (int i = 0; i < 256; i++) sum += x[i] * i * i;
        std::printf("%.1f\n", sum);
        return 0;
    }
    return 2;
}
