// Inner products and squared distances between the rows of two matrices, for RSA and CKA.
//
//   out[i][j] = sum_c a[i][c] b[j][c]              pairwise_products_*
//   out[i][j] = sum_c (a[i][c] - b[j][c])^2        pairwise_distances_*: no difference of large numbers
//
// a (n, p), b (m, p) -> out float64 (n, m). grid (m / 32, n / 32), block 256; products and sums in float64 whatever the
// type of the values. Largest tested: 1025 x 1025, p = 1000. Tested under emulation only.

struct Apart {
    __device__ __forceinline__ void operator()(double a, double b, double& sum) const { sum += (a - b) * (a - b); }
};

template <typename T>
struct Wide {
    Bounded<T> of;
    __device__ __forceinline__ double operator()(int row, int j) const { return (double)of(row, j); }
};

template <typename T>
struct WideTransposed {
    Bounded<T> of;
    __device__ __forceinline__ double operator()(int j, int column) const { return (double)of(column, j); }
};

template <typename T, class Step>
__device__ __forceinline__ void pairwise(const T* a, const T* b, int n, int m, int p, const Step& step, double* out)
{
    const int TILE = 32;
    const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    const int row = blockIdx.y * TILE, column = blockIdx.x * TILE;
    const Wide<T> left = {{a, n, p, row, 0}};
    const WideTransposed<T> right = {{b, m, p, column, 0}};
    double sum[TILE / 16][TILE / 16];
    tile_product<double, TILE, 0, 0>(p, left, right, step, sum);
    for (int r = 0; r < TILE / 16; r++)
        for (int c = 0; c < TILE / 16; c++) {
            const int i = row + ty + 16 * r, j = column + tx + 16 * c;
            if (i < n && j < m) out[(size_t)i * m + j] = sum[r][c];
        }
}

#define PAIRWISE(NAME, T, STEP)                                                                                       \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                              \
        NAME(const T* a, const T* b, int n, int m, int p, double* out)                                                 \
    {                                                                                                                  \
        pairwise<T>(a, b, n, m, p, STEP(), out);                                                                       \
    }
PAIRWISE(pairwise_products_f32, float, Multiply)
PAIRWISE(pairwise_products_f64, double, Multiply)
PAIRWISE(pairwise_distances_f32, float, Apart)
PAIRWISE(pairwise_distances_f64, double, Apart)
