// Permutation tests over a family: how often a permutation reaches each member's own statistic, and the largest of each
// permutation.
//
// sign_flip_scores: patterns of signs over units, the numbers first .. first + count of a sequence.
//   u[p][c]    = (sum_u sign[p][u] scaled[u][c])^2       scaled: differences over sqrt(n sum d^2), so that 0 <= u <= 1
//   counts[c] += number of patterns with u >= least[c]
//   largest[p] = max over members of u, or of t^2 = (n - 1) u / (1 - u) where members differ in n
//   Random signs are the bits of ChaCha with 8 rounds under the seed's key, the pattern's number as its stream: the
//   generator of the CPU (Bernstein 2008, "ChaCha, a variant of Salsa20"; 64-bit counter and stream), bit by bit. Exact
//   patterns are the bits of number + 1, the first unit left alone.
//   grid (members / 256, patterns / 8), block 256: a thread holds one member and eight sums.
//
// relabel_scores: permutations of units given as lists (Freedman-Lane: residuals are moved, then contrasted).
//   along[p][c] = sum_i direction[0][i] e[order[p][i]][c], lost[p][c] = sum_(d > 0) (sum_i direction[d][i] e[order[p][i]][c])^2
//   t^2 = estimate^2 spread freedom / (squares[c] - lost - along estimate), estimate = along / spread
//   grid (outcomes / 256, permutations), block 256.
//
// All in float64; counts are integers, the largest is a maximum: neither depends on the order of blocks.
// Largest tested: 1025 units, 100,000 members, 1000 patterns (not at once). Tested under emulation only.

#define PATTERNS 8

__device__ __forceinline__ unsigned int rotated(unsigned int x, int by) { return (x << by) | (x >> (32 - by)); }

__device__ __forceinline__ void quarter(unsigned int* s, int a, int b, int c, int d)
{
    s[a] += s[b], s[d] = rotated(s[d] ^ s[a], 16);
    s[c] += s[d], s[b] = rotated(s[b] ^ s[c], 12);
    s[a] += s[b], s[d] = rotated(s[d] ^ s[a], 8);
    s[c] += s[d], s[b] = rotated(s[b] ^ s[c], 7);
}

// Block `counter` of a stream: 16 words.
__device__ __forceinline__ void chacha8(const unsigned int* key, unsigned long long counter, unsigned long long stream,
                                        unsigned int* out)
{
    unsigned int start[16] = {0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u};
    for (int i = 0; i < 8; i++) start[4 + i] = key[i];
    start[12] = (unsigned int)counter, start[13] = (unsigned int)(counter >> 32);
    start[14] = (unsigned int)stream, start[15] = (unsigned int)(stream >> 32);
    unsigned int s[16];
    for (int i = 0; i < 16; i++) s[i] = start[i];
    for (int round = 0; round < 4; round++) {
        quarter(s, 0, 4, 8, 12), quarter(s, 1, 5, 9, 13), quarter(s, 2, 6, 10, 14), quarter(s, 3, 7, 11, 15);
        quarter(s, 0, 5, 10, 15), quarter(s, 1, 6, 11, 12), quarter(s, 2, 7, 8, 13), quarter(s, 3, 4, 9, 14);
    }
    for (int i = 0; i < 16; i++) out[i] = s[i] + start[i];
}

// Not negative: their bits are ordered as they are.
__device__ __forceinline__ void raise_to(unsigned long long* most, double value)
{
    atomicMax(most, (unsigned long long)__double_as_longlong(value));
}

__device__ __forceinline__ double infinite() { return __longlong_as_double(0x7ff0000000000000LL); }

// The largest of a block; thread 0 has it.
__device__ __forceinline__ double block_largest(double own)
{
    __shared__ double parts[THREADS];
    parts[threadIdx.x] = own;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half && parts[threadIdx.x + half] > parts[threadIdx.x])
            parts[threadIdx.x] = parts[threadIdx.x + half];
        __syncthreads();
    }
    const double most = parts[0];
    __syncthreads();
    return most;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    sign_flip_scores(const unsigned int* key, int exact, unsigned long long first, unsigned long long count, int units,
                     int members, const double* scaled, const double* n, const double* least, int uniform,
                     unsigned int* counts, unsigned long long* largest)
{
    __shared__ unsigned int bits[PATTERNS][16];
    const int c = blockIdx.x * THREADS + threadIdx.x;
    const unsigned long long from = (unsigned long long)blockIdx.y * PATTERNS;
    double sum[PATTERNS] = {0};
    for (int chunk = 0; chunk * 512 < units; chunk++) {
        if (threadIdx.x < PATTERNS) {
            const unsigned long long number = first + from + threadIdx.x;
            if (exact) {
                // The first unit keeps its sign: bit 0 is 0. At most 64 units are ever exact.
                const unsigned long long pattern = (number + 1) << 1;
                for (int w = 0; w < 16; w++) bits[threadIdx.x][w] = w < 2 ? (unsigned int)(pattern >> (32 * w)) : 0;
            } else {
                chacha8(key, chunk, number, bits[threadIdx.x]);
            }
        }
        __syncthreads();
        const int end = units - chunk * 512 < 512 ? units - chunk * 512 : 512;
        for (int u = 0; u < end && c < members; u++) {
            const double value = scaled[(size_t)(chunk * 512 + u) * members + c];
            for (int p = 0; p < PATTERNS; p++) sum[p] += bits[p][u / 32] >> (u % 32) & 1u ? -value : value;
        }
        __syncthreads();
    }
    unsigned int reached = 0;
    for (int p = 0; p < PATTERNS; p++) {
        if (from + p >= count) break;
        double size = 0;
        if (c < members) {
            const double u = sum[p] * sum[p];
            reached += u >= least[c];
            size = uniform ? u : u >= 1.0 - 1e-12 ? infinite() : (n[c] - 1.0) * u / (1.0 - u);
        }
        const double most = block_largest(size);
        if (threadIdx.x == 0) raise_to(largest + from + p, most);
    }
    if (c < members && reached) atomicAdd(counts + c, reached);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    relabel_scores(const unsigned int* orders, const double* directions, int further, int units, int outcomes,
                   const double* e, const double* squares, const unsigned char* varies, const double* least, double spread,
                   double freedom, unsigned int* counts, unsigned long long* largest)
{
    const int c = blockIdx.x * THREADS + threadIdx.x;
    const unsigned int* order = orders + (size_t)blockIdx.y * units;
    double size = 0;
    if (c < outcomes && varies[c]) {
        double along = 0, lost = 0;
        for (int d = 0; d <= further; d++) {
            double sum = 0;
            for (int i = 0; i < units; i++)
                sum += directions[(size_t)d * units + i] * e[(size_t)order[i] * outcomes + c];
            if (d == 0) along = sum;
            else lost += sum * sum;
        }
        const double estimate = along / spread, rest = squares[c] - lost - along * estimate;
        size = rest <= 1e-12 * squares[c] ? infinite() : estimate * estimate * spread * freedom / rest;
        if (size >= least[c]) atomicAdd(counts + c, 1u);
    }
    const double most = block_largest(size);
    if (threadIdx.x == 0) raise_to(largest + blockIdx.y, most);
}
