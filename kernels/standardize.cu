// Columns of X z-scored on some of its rows.
//
//   mean[c]   = sum over kept rows of x[i][c] / n
//   factor[c] = 1 / sd[c], sd[c]^2 = sum over kept rows of (x[i][c] - mean[c])^2 / n; 0 where sd <= 1e-12 largest |x|
//   z[o][c]   = (x[rows[o]][c] - mean[c]) factor[c]
//
// column_moments_*  x (rows, columns), keep (rows; 0 leaves a row out) -> mean, factor float64 (columns).
//                   grid (columns / 32), block 256 = 32 columns x 8 lanes of rows; a warp reads 32 neighbouring values.
//                   Two passes, all sums in float64; eight partial sums per column, added in a fixed order.
// standardise_*     x (rows, columns), list of rows (out), mean, factor -> z (out, columns). grid (out * columns / 256).
//
// Largest tested: 1025 x 1025; 33 x 100,000. Tested under emulation only.

#define LANES 8

__device__ __forceinline__ double lanes_sum(double own)
{
    __shared__ double parts[LANES][33];
    const int column = threadIdx.x % 32, lane = threadIdx.x / 32;
    parts[lane][column] = own;
    __syncthreads();
    double sum = 0;
    for (int l = 0; l < LANES; l++) sum += parts[l][column];
    __syncthreads();
    return sum;
}

__device__ __forceinline__ double lanes_max(double own)
{
    __shared__ double parts[LANES][33];
    const int column = threadIdx.x % 32, lane = threadIdx.x / 32;
    parts[lane][column] = own;
    __syncthreads();
    double most = 0;
    for (int l = 0; l < LANES; l++) most = parts[l][column] > most ? parts[l][column] : most;
    __syncthreads();
    return most;
}

template <typename T>
__device__ __forceinline__ void column_moments(const T* x, const unsigned char* keep, int rows, int columns, double* mean,
                                               double* factor)
{
    const int c = blockIdx.x * 32 + threadIdx.x % 32, lane = threadIdx.x / 32;
    const bool inside = c < columns;
    double sum = 0, most = 0, count = 0;
    for (int i = lane; i < rows; i += LANES) {
        if (!keep[i]) continue;
        count += 1;
        const double value = inside ? (double)x[(size_t)i * columns + c] : 0;
        sum += value;
        most = fabs(value) > most ? fabs(value) : most;
    }
    const double n = lanes_sum(count);
    const double average = n > 0 ? lanes_sum(sum) / n : lanes_sum(0.0);
    const double largest = lanes_max(most);
    double square = 0;
    for (int i = lane; i < rows; i += LANES) {
        if (!keep[i]) continue;
        const double d = (inside ? (double)x[(size_t)i * columns + c] : 0) - average;
        square += d * d;
    }
    const double sd = n > 0 ? sqrt(lanes_sum(square) / n) : lanes_sum(0.0);
    if (lane == 0 && inside) {
        mean[c] = average;
        factor[c] = sd > 1e-12 * largest ? 1.0 / sd : 0.0;
    }
}

template <typename T>
__device__ __forceinline__ void standardise(const T* x, const unsigned int* rows, unsigned long long count, int columns,
                                            const double* mean, const double* factor, T* z)
{
    const size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= count) return;
    const size_t row = i / columns, c = i % columns;
    z[i] = T(((double)x[(size_t)rows[row] * columns + c] - mean[c]) * factor[c]);
}

#define STANDARDIZE(MOMENTS, NAME, T)                                                                                 \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                              \
        MOMENTS(const T* x, const unsigned char* keep, int rows, int columns, double* mean, double* factor)            \
    {                                                                                                                  \
        column_moments<T>(x, keep, rows, columns, mean, factor);                                                       \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                              \
        NAME(const T* x, const unsigned int* rows, unsigned long long count, int columns, const double* mean,          \
             const double* factor, T* z)                                                                               \
    {                                                                                                                  \
        standardise<T>(x, rows, count, columns, mean, factor, z);                                                      \
    }
STANDARDIZE(column_moments_f32, standardise_f32, float)
STANDARDIZE(column_moments_f64, standardise_f64, double)
