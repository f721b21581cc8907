// What all kernels share. The host compiles this text in front of each of them (NVRTC has no folder to include from).
//
// Matrices are row-major. Extents are int (the host refuses larger ones), offsets are size_t. No kernel adds floating-point
// numbers atomically: every sum has one order, so that a result never depends on the order of blocks or threads.
#pragma once

// Threads of every block.
#define THREADS 256
// Depth of the slices that a product goes through shared memory in.
#define DEPTH 16

// Adds one value per thread; every thread gets the sum. A tree of fixed shape. `scratch` has one place per warp; blocks
// call it together.
template <typename T>
__device__ __forceinline__ T block_sum(T value, T* scratch)
{
    for (int apart = 16; apart > 0; apart /= 2) value += __shfl_xor_sync(0xffffffffu, value, apart);
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
    __syncthreads();
    T sum = 0;
    for (int warp = 0; warp < THREADS / 32; warp++) sum += scratch[warp];
    __syncthreads();
    return sum;
}

__device__ __forceinline__ float larger(float a, float b) { return a > b ? a : b; }

__device__ __forceinline__ float block_max(float value, float* scratch)
{
    for (int apart = 16; apart > 0; apart /= 2) value = larger(value, __shfl_xor_sync(0xffffffffu, value, apart));
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
    __syncthreads();
    float most = scratch[0];
    for (int warp = 1; warp < THREADS / 32; warp++) most = larger(most, scratch[warp]);
    __syncthreads();
    return most;
}

// One TILE x TILE tile of a product by a block of THREADS threads: thread (ty, tx) of 16 x 16 gets the elements
// (ty + 16 r, tx + 16 c). `left(row, j)` and `right(j, column)` give values of the tile and 0 outside of the matrices.
// ACROSS says which index neighbouring threads read side by side: 0 for j, 1 for the row or column.
// `Step(a, b, sum)` is what happens to a pair: usually sum + a b.
template <typename T, int TILE, int LEFT_ACROSS, int RIGHT_ACROSS, class Left, class Right, class Step>
__device__ __forceinline__ void tile_product(int depth, const Left& left, const Right& right, const Step& step,
                                             T (&sum)[TILE / 16][TILE / 16])
{
    // One column more than needed: threads that store along j then hit different banks.
    __shared__ T a[DEPTH][TILE + 1];
    __shared__ T b[DEPTH][TILE + 1];
    const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    for (int r = 0; r < TILE / 16; r++)
        for (int c = 0; c < TILE / 16; c++) sum[r][c] = 0;
    for (int from = 0; from < depth; from += DEPTH) {
        for (int i = threadIdx.x; i < TILE * DEPTH; i += THREADS) {
            const int j = LEFT_ACROSS ? i / TILE : i % DEPTH, row = LEFT_ACROSS ? i % TILE : i / DEPTH;
            a[j][row] = from + j < depth ? left(row, from + j) : T(0);
        }
        for (int i = threadIdx.x; i < TILE * DEPTH; i += THREADS) {
            const int j = RIGHT_ACROSS ? i / TILE : i % DEPTH, column = RIGHT_ACROSS ? i % TILE : i / DEPTH;
            b[j][column] = from + j < depth ? right(from + j, column) : T(0);
        }
        __syncthreads();
#pragma unroll
        for (int j = 0; j < DEPTH; j++) {
            T p[TILE / 16], q[TILE / 16];
            for (int r = 0; r < TILE / 16; r++) p[r] = a[j][ty + 16 * r];
            for (int c = 0; c < TILE / 16; c++) q[c] = b[j][tx + 16 * c];
            for (int r = 0; r < TILE / 16; r++)
                for (int c = 0; c < TILE / 16; c++) step(p[r], q[c], sum[r][c]);
        }
        __syncthreads();
    }
}

struct Multiply {
    template <typename T>
    __device__ __forceinline__ void operator()(T a, T b, T& sum) const
    {
        sum += a * b;
    }
};

// A value of a matrix, 0 outside of it.
template <typename T>
struct Bounded {
    const T* values;
    int rows, columns;
    int first_row, first_column;
    __device__ __forceinline__ T operator()(int row, int column) const
    {
        row += first_row;
        column += first_column;
        return row < rows && column < columns ? values[(size_t)row * columns + column] : T(0);
    }
};

// The same with row and column exchanged.
template <typename T>
struct BoundedTransposed {
    Bounded<T> of;
    __device__ __forceinline__ T operator()(int row, int column) const { return of(column, row); }
};

// A text among packed ones. `scores` and `terms` say where its attention scores (heads, n, n) and its terms of positions
// (heads, n, reach) begin; it has n tokens from `start` on, and needs `reach` rows of the table of positions from `first` on.
// `Text` in src/compute/cuda/encoder/mod.rs has this layout.
struct Text {
    unsigned long long scores, terms;
    int start, n, first, reach;
};
