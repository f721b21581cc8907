// A CUDA driver whose cards are the host: `libcuda.so.1`, and `libnvrtc.so.12`, `libcublas.so.12`, `libcusolver.so.12` in one.
//
// The program under test finds it as it finds NVIDIA's, through the loader's path. Only what the program calls is here.
//   EMULATED_DEVICES     number of cards (1)
//   EMULATED_NAME        the name of all of them (Emulated card N)
//   EMULATED_MEMORY      bytes per card (1 GiB); what does not fit is out of memory
//   EMULATED_LOSE_AFTER  so many launches succeed, then the card is lost
//   EMULATED_ORDER       forward or reverse: the order of threads and blocks
//   EMULATED_LOG         a file that gets the name of every kernel that is launched
//   EMULATED_COPIES      a file that gets the number of bytes of every copy to the card
#include "emulator.h"
#include "kernels.inc"
#include <atomic>
#include <string>

namespace {

const int OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID = 101, BAD_IMAGE = 200, NOT_FOUND = 500, LAUNCH_FAILED = 719;
// Each library has codes of its own; a caller may take any other for undefined behaviour.
const int CUBLAS_EXECUTION_FAILED = 13, CUSOLVER_EXECUTION_FAILED = 6;
std::mutex lock;
std::atomic<bool> lost;
long launches;
thread_local void* context;
struct Card {
    int number;
    size_t used;
};
Card cards[16];
thread_local int card_of_thread;
struct Owner {
    void* data;
    int card;
    size_t bytes;
};
std::vector<Owner> owners;

long number(const char* name, long otherwise)
{
    const char* text = std::getenv(name);
    return text ? std::atol(text) : otherwise;
}
// A line for the file that a variable names, if it does.
void note(const char* variable, const char* line)
{
    const char* path = std::getenv(variable);
    if (!path) return;
    if (FILE* file = std::fopen(path, "a")) std::fprintf(file, "%s\n", line), std::fclose(file);
}
size_t memory() { return (size_t)number("EMULATED_MEMORY", 1L << 30); }
int devices() { return (int)number("EMULATED_DEVICES", 1); }
int status() { return lost ? LAUNCH_FAILED : 0; }

}  // namespace

extern "C" {

int cuInit(unsigned)
{
    emulator::watch_accesses();
    return devices() > 0 ? 0 : NO_DEVICE;
}
int cuDriverGetVersion(int* version) { return *version = 13000, 0; }
int cuDeviceGetCount(int* count) { return *count = devices(), 0; }
int cuDeviceGet(int* device, int ordinal) { return *device = ordinal, ordinal < devices() ? 0 : INVALID; }
int cuDeviceGetName(char* name, int length, int device)
{
    const char* given = std::getenv("EMULATED_NAME");
    std::snprintf(name, length, given ? given : "Emulated card %d", device);
    return 0;
}
int cuDeviceTotalMem_v2(size_t* bytes, int) { return *bytes = memory(), 0; }
int cuDeviceGetAttribute(int* value, int attribute, int)
{
    *value = attribute == 75 ? 8 : attribute == 16 ? 2 : 0;  // sm_80 with two multiprocessors; no memory pools
    return 0;
}
int cuDevicePrimaryCtxRetain(void** made, int device) { return *made = &cards[device], cards[device].number = device, 0; }
int cuDevicePrimaryCtxRelease_v2(int) { return 0; }
int cuCtxSetCurrent(void* wanted)
{
    context = wanted;
    if (wanted) card_of_thread = ((Card*)wanted)->number;
    return 0;
}
int cuCtxGetCurrent(void** found) { return *found = context, 0; }
int cuCtxSynchronize() { return status(); }
int cuStreamCreate(void** stream, unsigned) { return *stream = (void*)1, 0; }
int cuStreamDestroy_v2(void*) { return 0; }
int cuStreamSynchronize(void*) { return status(); }
int cuStreamWaitEvent(void*, void*, unsigned) { return status(); }
int cuEventCreate(void** event, unsigned) { return *event = (void*)1, 0; }
int cuEventDestroy_v2(void*) { return 0; }
int cuEventRecord(void*, void*) { return status(); }
int cuEventSynchronize(void*) { return status(); }
int cuEventQuery(void*) { return status(); }
int cuEventElapsedTime(float* ms, void*, void*) { return *ms = 1, 0; }
int cuEventElapsedTime_v2(float* ms, void*, void*) { return *ms = 1, 0; }
int cuGetErrorName(int code, const char** name)
{
    *name = code == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : code == LAUNCH_FAILED ? "CUDA_ERROR_LAUNCH_FAILED" : "CUDA_ERROR";
    return 0;
}
int cuGetErrorString(int code, const char** text)
{
    *text = code == OUT_OF_MEMORY ? "out of memory" : code == LAUNCH_FAILED ? "unspecified launch failure" : "an error";
    return 0;
}

int cuMemGetInfo_v2(size_t* free, size_t* total)
{
    std::lock_guard<std::mutex> guard(lock);
    *total = memory(), *free = memory() - cards[card_of_thread].used;
    return status();
}
int cuMemAlloc_v2(void** data, size_t bytes)
{
    std::lock_guard<std::mutex> guard(lock);
    if (lost) return LAUNCH_FAILED;
    if (bytes == 0) return 1;
    if (cards[card_of_thread].used + bytes > memory()) return OUT_OF_MEMORY;
    *data = emulator::allocate(bytes);
    if (!*data) return OUT_OF_MEMORY;
    cards[card_of_thread].used += bytes;
    owners.push_back({*data, card_of_thread, bytes});
    return 0;
}
int cuMemFree_v2(void* data)
{
    std::lock_guard<std::mutex> guard(lock);
    for (size_t i = 0; i < owners.size(); i++) {
        if (owners[i].data != data) continue;
        cards[owners[i].card].used -= owners[i].bytes;
        owners.erase(owners.begin() + i);
        return emulator::release(data) ? 0 : INVALID;
    }
    return INVALID;
}
int cuMemcpyHtoDAsync_v2(void* to, const void* from, size_t bytes, void*)
{
    note("EMULATED_COPIES", std::to_string(bytes).c_str());
    return std::memcpy(to, from, bytes), status();
}
int cuMemcpyDtoHAsync_v2(void* to, const void* from, size_t bytes, void*) { return std::memcpy(to, from, bytes), status(); }
int cuMemcpyDtoDAsync_v2(void* to, const void* from, size_t bytes, void*) { return std::memcpy(to, from, bytes), status(); }
int cuMemsetD8Async(void* at, unsigned char value, size_t bytes, void*) { return std::memset(at, value, bytes), status(); }

// A cubin is an ELF file; the emulated compiler's starts alike.
int cuModuleLoadData(void** module, const void* image)
{
    return *module = (void*)1, std::memcmp(image, "\x7f" "ELF", 4) ? BAD_IMAGE : 0;
}
int cuModuleUnload(void*) { return 0; }
int cuModuleGetFunction(const void** function, void*, const char* name)
{
    for (const Kernel& kernel : KERNELS)
        if (!std::strcmp(kernel.name, name)) return *function = &kernel, 0;
    return NOT_FOUND;
}
int cuLaunchKernel(const Kernel* kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned,
                   void*, void** arguments, void**)
{
    std::lock_guard<std::mutex> guard(lock);
    const long most = number("EMULATED_LOSE_AFTER", -1);
    if (lost || (most >= 0 && launches >= most)) return lost.store(true), LAUNCH_FAILED;
    if (gx == 0 || gy == 0 || gz == 0 || gy > 65535 || gz > 65535 || gx > 2147483647u) return 1;
    launches++;
    note("EMULATED_LOG", kernel->name);
    emulator::launch(kernel->name, kernel->call, {gx, gy, gz}, {bx, by, bz}, arguments);
    emulator::check_red_zones();
    return 0;
}

// The compiler.
int nvrtcVersion(int* major, int* minor) { return *major = 12, *minor = 9, 0; }
int nvrtcCreateProgram(void** program, const char*, const char*, int, const char**, const char**) { return *program = (void*)1, 0; }
int nvrtcCompileProgram(void*, int, const char**) { return 0; }
int nvrtcGetCUBINSize(void*, size_t* bytes) { return *bytes = 16, 0; }
int nvrtcGetCUBIN(void*, char* to) { return std::memcpy(to, "\x7f" "ELF emulated..", 16), 0; }
int nvrtcGetProgramLogSize(void*, size_t* bytes) { return *bytes = 1, 0; }
int nvrtcGetProgramLog(void*, char* to) { return *to = 0, 0; }
int nvrtcDestroyProgram(void**) { return 0; }

// The dense libraries, column-major.
int cublasCreate_v2(void** handle) { return *handle = (void*)1, 0; }
int cublasDestroy_v2(void*) { return 0; }
int cublasSetStream_v2(void*, void*) { return 0; }
int cublasGetVersion_v2(void*, int* version) { return *version = 120900, 0; }
}

namespace {
template <typename T>
int gemm(int ta, int tb, int m, int n, int k, const T* alpha, const T* a, int lda, const T* b, int ldb, const T* beta, T* c, int ldc)
{
    if (m < 0 || n < 0 || k < 0 || lda < (ta ? k : m) || ldb < (tb ? n : k) || ldc < m) return 7;
    std::vector<T> sum(m);
    for (int j = 0; j < n; j++) {
        std::fill(sum.begin(), sum.end(), T(0));
        for (int l = 0; l < k; l++) {
            const T factor = tb ? b[(size_t)l * ldb + j] : b[(size_t)j * ldb + l];
            for (int i = 0; i < m; i++) sum[i] += (ta ? a[(size_t)i * lda + l] : a[(size_t)l * lda + i]) * factor;
        }
        for (int i = 0; i < m; i++) {
            T& to = c[(size_t)j * ldc + i];
            to = *alpha * sum[i] + (*beta == 0 ? T(0) : *beta * to);
        }
    }
    return lost ? CUBLAS_EXECUTION_FAILED : 0;
}
}  // namespace

extern "C" {
int cublasSgemm_v2(void*, int ta, int tb, int m, int n, int k, const float* alpha, const float* a, int lda, const float* b, int ldb,
                   const float* beta, float* c, int ldc)
{
    return gemm(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
int cublasDgemm_v2(void*, int ta, int tb, int m, int n, int k, const double* alpha, const double* a, int lda, const double* b,
                   int ldb, const double* beta, double* c, int ldc)
{
    return gemm(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

int cusolverDnCreate(void** handle) { return *handle = (void*)1, 0; }
int cusolverDnDestroy(void*) { return 0; }
int cusolverDnSetStream(void*, void*) { return 0; }
int cusolverDnDsyevd_bufferSize(void*, int, int, int n, const double*, int lda, const double*, int* words)
{
    return *words = n * n + 1, lda < n ? 3 : 0;
}
// Cyclic Jacobi rotations; eigenvalues ascending, vectors in columns. Only the triangle that `upper` names is read.
int cusolverDnDsyevd(void*, int vectors, int upper, int n, double* a, int lda, double* w, double* v, int words, int* info)
{
    if (vectors != 1 || words < n * n || lda < n) return 3;
    auto at = [&](int i, int j) -> double& { return a[(size_t)j * lda + i]; };
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++) (upper ? at(i, j) : at(j, i)) = upper ? at(j, i) : at(i, j);
    for (int i = 0; i < n * n; i++) v[i] = i / n == i % n;
    for (int sweep = 0; sweep < 60; sweep++) {
        double off = 0, all = 0;
        for (int i = 0; i < n; i++)
            for (int j = 0; j < n; j++) (i == j ? all : off) += at(i, j) * at(i, j);
        if (off <= 1e-30 * all) break;
        for (int p = 0; p < n; p++)
            for (int q = p + 1; q < n; q++) {
                if (at(p, q) == 0) continue;
                const double theta = (at(q, q) - at(p, p)) / (2 * at(p, q));
                const double t = (theta < 0 ? -1 : 1) / (std::fabs(theta) + std::sqrt(theta * theta + 1));
                const double c = 1 / std::sqrt(t * t + 1), s = t * c;
                for (int k = 0; k < n; k++) {
                    const double x = at(k, p), y = at(k, q);
                    at(k, p) = c * x - s * y, at(k, q) = s * x + c * y;
                }
                for (int k = 0; k < n; k++) {
                    const double x = at(p, k), y = at(q, k);
                    at(p, k) = c * x - s * y, at(q, k) = s * x + c * y;
                }
                for (int k = 0; k < n; k++) {
                    const double x = v[(size_t)p * n + k], y = v[(size_t)q * n + k];
                    v[(size_t)p * n + k] = c * x - s * y, v[(size_t)q * n + k] = s * x + c * y;
                }
            }
    }
    std::vector<int> order(n);
    for (int i = 0; i < n; i++) order[i] = i;
    for (int i = 1; i < n; i++)
        for (int j = i; j > 0 && at(order[j], order[j]) < at(order[j - 1], order[j - 1]); j--) std::swap(order[j], order[j - 1]);
    for (int i = 0; i < n; i++) w[i] = at(order[i], order[i]);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < n; k++) at(k, i) = v[(size_t)order[i] * n + k];
    return *info = 0, lost ? CUSOLVER_EXECUTION_FAILED : 0;
}
}
