// The ridge path: squared errors of held-out rows for every alpha and target, the choice of alpha, and the final fit.
//
//   prediction[a][i][t] = sum_j P[i][j] / (s[j] + alpha[a]) Q[j][t]           j < k, i < m held-out rows, t < targets
//   sse[a][t]          += sum_i (prediction[a][i][t] - truth[i][t])^2         float64
//   noise[a][t]        += sum_j W[a][j] Q[j][t]^2                             what float32 may have moved (see the host)
//
// Nothing of size alphas x rows x targets exists: a block holds TILE targets and one alpha, goes over the rows TILE at a
// time, and keeps one float64 sum per target. The weights 1 / (s + alpha) multiply P on its way into shared memory.
//
// ridge_errors_*        P (m, k), weights (alphas, k), Q (k, t), truth float64 (m, t) -> sse float64 (alphas, t), added to;
//                       where `moments` is given, also sums of p, p^2 and p y (3, alphas, t), added to.
//                       grid (targets / TILE, alphas), block 256. Products in the type of P, sums over rows in float64.
// ridge_noise           W float32 (alphas, k), Q float32 (k, t) -> noise float64 (alphas, t), added to; float32 sums over j.
//                       grid (targets / 256, alphas / 8), block 256: a thread holds one target and eight alphas.
// ridge_choose          sse (alphas, t) -> index of the smallest, within 1e-12 of it the largest index. grid (t / 256).
// ridge_refit_*         as ridge_errors, with each target's own alpha: P, Q, s float64 (k), alpha index (t), alphas ->
//                       prediction (m, t) and sums of (p - y)^2, p, p^2, p y (4, t). grid (targets / TILE), block 256.
// ridge_coefficients_*  float64: Q = U' R: U (d, k), R (d, t) -> Q (k, t). grid (targets / TILE, k / TILE), block 256.
// ridge_narrow          float64 -> float32, one thread per value.
//
// Largest tested: m = 1025, k = 1025, t = 100,000 (not at once), 25 alphas. Tested under emulation only: no card was to be had.
// No tensor cores: TF32 alone breaks the error bound that decides which targets are searched again in float64.

template <typename T>
struct Weighted {
    Bounded<T> p;
    const T* weights;
    __device__ __forceinline__ T operator()(int row, int j) const { return p(row, j) * weights[j]; }
};

template <typename T>
struct Shrunk {
    Bounded<T> q;
    const double* values;
    const double* alphas;
    const unsigned int* chosen;
    __device__ __forceinline__ T operator()(int j, int column) const
    {
        const int target = q.first_column + column;
        if (target >= q.columns) return T(0);
        return T((double)q(j, column) / (values[j] + alphas[chosen[target]]));
    }
};

// Sums over the rows of a tile, per column, in a fixed order; thread c < TILE gets the sum of column c.
template <int TILE>
__device__ __forceinline__ double column_sum(const double (&own)[TILE / 16])
{
    __shared__ double parts[16][TILE];
    const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    for (int c = 0; c < TILE / 16; c++) parts[ty][tx + 16 * c] = own[c];
    __syncthreads();
    double sum = 0;
    if (threadIdx.x < TILE)
        for (int lane = 0; lane < 16; lane++) sum += parts[lane][threadIdx.x];
    __syncthreads();
    return sum;
}

template <typename T, int TILE>
__device__ __forceinline__ void ridge_errors(const T* p, const T* weights, const T* q, const double* truth, int m, int k,
                                             int targets, int alphas, double* sse, double* moments)
{
    const int R = TILE / 16;
    const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    const int first = blockIdx.x * TILE, alpha = blockIdx.y;
    double own[4][R];
    for (int kind = 0; kind < 4; kind++)
        for (int c = 0; c < R; c++) own[kind][c] = 0;
    const Bounded<T> right = {q, k, targets, 0, first};
    for (int row = 0; row < m; row += TILE) {
        const Weighted<T> left = {{p, m, k, row, 0}, weights + (size_t)alpha * k};
        T sum[R][R];
        tile_product<T, TILE, 0, 1>(k, left, right, Multiply(), sum);
        for (int r = 0; r < R; r++) {
            const int i = row + ty + 16 * r;
            if (i >= m) continue;
            for (int c = 0; c < R; c++) {
                const int t = first + tx + 16 * c;
                if (t >= targets) continue;
                const double predicted = (double)sum[r][c], y = truth[(size_t)i * targets + t], d = predicted - y;
                own[0][c] += d * d;
                if (moments) {
                    own[1][c] += predicted;
                    own[2][c] += predicted * predicted;
                    own[3][c] += predicted * y;
                }
            }
        }
    }
    const int t = first + threadIdx.x;
    const size_t at = (size_t)alpha * targets + t;
    for (int kind = 0; kind < (moments ? 4 : 1); kind++) {
        const double sum = column_sum<TILE>(own[kind]);
        if (threadIdx.x < TILE && t < targets) {
            double* to = kind == 0 ? sse + at : moments + (size_t)(kind - 1) * alphas * targets + at;
            *to += sum;
        }
    }
}

#define RIDGE_ERRORS(NAME, T, TILE)                                                                                   \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                              \
        NAME(const T* p, const T* weights, const T* q, const double* truth, int m, int k, int targets, int alphas,     \
             double* sse, double* moments)                                                                             \
    {                                                                                                                  \
        ridge_errors<T, TILE>(p, weights, q, truth, m, k, targets, alphas, sse, moments);                              \
    }
RIDGE_ERRORS(ridge_errors_f32_64, float, 64)
RIDGE_ERRORS(ridge_errors_f32_32, float, 32)
RIDGE_ERRORS(ridge_errors_f64_64, double, 64)
RIDGE_ERRORS(ridge_errors_f64_32, double, 32)

#define NOISE_ALPHAS 8

extern "C" __global__ void __launch_bounds__(THREADS)
    ridge_noise(const float* weights, const float* q, int k, int targets, int alphas, double* noise)
{
    const int t = blockIdx.x * THREADS + threadIdx.x, first = blockIdx.y * NOISE_ALPHAS;
    if (t >= targets) return;
    float sum[NOISE_ALPHAS] = {0};
    for (int j = 0; j < k; j++) {
        const float value = q[(size_t)j * targets + t], square = value * value;
        for (int a = 0; a < NOISE_ALPHAS; a++)
            if (first + a < alphas) sum[a] += weights[(size_t)(first + a) * k + j] * square;
    }
    for (int a = 0; a < NOISE_ALPHAS; a++)
        if (first + a < alphas) noise[(size_t)(first + a) * targets + t] += (double)sum[a];
}

extern "C" __global__ void __launch_bounds__(THREADS)
    ridge_choose(const double* sse, int alphas, int targets, unsigned int* chosen)
{
    const int t = blockIdx.x * THREADS + threadIdx.x;
    if (t >= targets) return;
    double least = sse[t];
    // A comparison with NaN is false: NaN is never the smallest unless all are.
    for (int a = 1; a < alphas; a++) {
        const double e = sse[(size_t)a * targets + t];
        if (e < least || least != least) least = e;
    }
    int best = alphas - 1;
    for (int a = alphas - 1; a >= 0; a--) {
        if (sse[(size_t)a * targets + t] <= least * (1.0 + 1e-12)) {
            best = a;
            break;
        }
    }
    chosen[t] = best;
}

template <typename T, int TILE>
__device__ __forceinline__ void ridge_refit(const T* p, const double* values, const T* q, const double* alphas,
                                            const unsigned int* chosen, const double* truth, int m, int k, int targets,
                                            T* predicted, double* sums)
{
    const int R = TILE / 16;
    const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    const int first = blockIdx.x * TILE;
    double own[4][R];
    for (int kind = 0; kind < 4; kind++)
        for (int c = 0; c < R; c++) own[kind][c] = 0;
    const Shrunk<T> right = {{q, k, targets, 0, first}, values, alphas, chosen};
    for (int row = 0; row < m; row += TILE) {
        const Bounded<T> left = {p, m, k, row, 0};
        T sum[R][R];
        tile_product<T, TILE, 0, 1>(k, left, right, Multiply(), sum);
        for (int r = 0; r < R; r++) {
            const int i = row + ty + 16 * r;
            if (i >= m) continue;
            for (int c = 0; c < R; c++) {
                const int t = first + tx + 16 * c;
                if (t >= targets) continue;
                const size_t at = (size_t)i * targets + t;
                const double value = (double)sum[r][c], y = truth[at], d = value - y;
                predicted[at] = sum[r][c];
                own[0][c] += d * d;
                own[1][c] += value;
                own[2][c] += value * value;
                own[3][c] += value * y;
            }
        }
    }
    const int t = first + threadIdx.x;
    for (int kind = 0; kind < 4; kind++) {
        const double sum = column_sum<TILE>(own[kind]);
        if (threadIdx.x < TILE && t < targets) sums[(size_t)kind * targets + t] = sum;
    }
}

#define RIDGE_REFIT(NAME, T, TILE)                                                                                    \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                              \
        NAME(const T* p, const double* values, const T* q, const double* alphas, const unsigned int* chosen,           \
             const double* truth, int m, int k, int targets, T* predicted, double* sums)                               \
    {                                                                                                                  \
        ridge_refit<T, TILE>(p, values, q, alphas, chosen, truth, m, k, targets, predicted, sums);                     \
    }
RIDGE_REFIT(ridge_refit_f32_64, float, 64)
RIDGE_REFIT(ridge_refit_f32_32, float, 32)
RIDGE_REFIT(ridge_refit_f64_64, double, 64)
RIDGE_REFIT(ridge_refit_f64_32, double, 32)

template <int TILE>
__device__ __forceinline__ void ridge_coefficients(const double* vectors, const double* right, int d, int k, int targets,
                                                   double* q)
{
    const int R = TILE / 16;
    const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    const int first = blockIdx.x * TILE, row = blockIdx.y * TILE;
    const BoundedTransposed<double> left = {{vectors, d, k, 0, row}};
    const Bounded<double> of = {right, d, targets, 0, first};
    double sum[R][R];
    tile_product<double, TILE, 1, 1>(d, left, of, Multiply(), sum);
    for (int r = 0; r < R; r++) {
        const int j = row + ty + 16 * r;
        for (int c = 0; c < R; c++) {
            const int t = first + tx + 16 * c;
            if (j < k && t < targets) q[(size_t)j * targets + t] = sum[r][c];
        }
    }
}

#define RIDGE_COEFFICIENTS(NAME, TILE)                                                                                \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                              \
        NAME(const double* vectors, const double* right, int d, int k, int targets, double* q)                         \
    {                                                                                                                  \
        ridge_coefficients<TILE>(vectors, right, d, k, targets, q);                                                    \
    }
RIDGE_COEFFICIENTS(ridge_coefficients_f64_64, 64)
RIDGE_COEFFICIENTS(ridge_coefficients_f64_32, 32)

extern "C" __global__ void __launch_bounds__(THREADS) ridge_narrow(const double* from, unsigned long long count, float* to)
{
    const size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < count) to[i] = (float)from[i];
}
