// Gram matrices of training sets from those of their cells (the rows of a fold, or parts of it), with no row touched again.
//
//   G[i][j]  = sum over the cells of a training set of gram[cell][i][j]                       j <= i
//   out[i][j] = (G[i][j] - n mean[i] mean[j]) factor[i] factor[j]                             lower triangle; 0 above
//   right[i][t] = (sum over cells of product[cell][i][t] - n mean[i] ymean[t]) factor[i]
//
// A training set is the sum of its cells and not "all less the held-out ones": it costs as little and nothing cancels.
// The host looks at the diagonal (fold_gram with n = 0 and factors of 1) and multiplies out what centring would cancel.
//
// fold_gram_*      grams (cells, p, p), list of cells -> (p, p). grid (p / 16, p / 16), block 256 = 16 x 16.
// fold_products_*  products (cells, p, t), list of cells -> (p, t). grid (t / 256, p), block 256.
// Sums in the type of the matrices, centring in float64. Largest tested: p = 1025, t = 100,000. Tested under emulation only.

template <typename T>
__device__ __forceinline__ void fold_gram(const T* grams, const unsigned int* cells, int used, int p, double n,
                                          const double* mean, const double* factor, T* out)
{
    const int i = blockIdx.y * 16 + threadIdx.x / 16, j = blockIdx.x * 16 + threadIdx.x % 16;
    if (i >= p || j >= p) return;
    const size_t at = (size_t)i * p + j;
    if (j > i) {
        out[at] = T(0);
        return;
    }
    T sum = 0;
    for (int cell = 0; cell < used; cell++) sum += grams[(size_t)cells[cell] * p * p + at];
    out[at] = T(((double)sum - n * mean[i] * mean[j]) * factor[i] * factor[j]);
}

template <typename T>
__device__ __forceinline__ void fold_products(const T* products, const unsigned int* cells, int used, int p, int targets,
                                              double n, const double* mean, const double* factor, const double* ymean,
                                              T* out)
{
    const int t = blockIdx.x * THREADS + threadIdx.x, i = blockIdx.y;
    if (t >= targets) return;
    const size_t at = (size_t)i * targets + t;
    T sum = 0;
    for (int cell = 0; cell < used; cell++) sum += products[(size_t)cells[cell] * p * targets + at];
    out[at] = T(((double)sum - n * mean[i] * ymean[t]) * factor[i]);
}

#define FOLD_GRAM(NAME, PRODUCTS, T)                                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                              \
        NAME(const T* grams, const unsigned int* cells, int used, int p, double n, const double* mean,                 \
             const double* factor, T* out)                                                                             \
    {                                                                                                                  \
        fold_gram<T>(grams, cells, used, p, n, mean, factor, out);                                                     \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                              \
        PRODUCTS(const T* products, const unsigned int* cells, int used, int p, int targets, double n,                 \
                 const double* mean, const double* factor, const double* ymean, T* out)                                \
    {                                                                                                                  \
        fold_products<T>(products, cells, used, p, targets, n, mean, factor, ymean, out);                              \
    }
FOLD_GRAM(fold_gram_f32, fold_products_f32, float)
FOLD_GRAM(fold_gram_f64, fold_products_f64, double)
