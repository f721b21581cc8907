// The matrix products of encoders, where cuBLAS is not found or has no form for them. float32.
//
// linear_*             out[i][j] = sum_c x[i][c] w[j][c]           x (m, k), w (n, k) -> (m, n)
//                      grid (n / TILE, m / TILE)
// attention_scores_*   for every head and neighbouring texts of any lengths, in one launch:
//                      out[h][i][j] = scale sum_c a[i][c] b[j][c]
//                      a: the texts' rows of a matrix, `size` columns of it per head from column `a_at` on; b: likewise their
//                      rows (places = 0), or the rows first .. first + reach of a table of positions (places = 1), with
//                      b_heads heads, of which neighbouring heads of a share one
//                      out: at the text's `scores` (n, n), or at its `terms` (n, reach), for head after head
// attention_context_*  out[i][h size + c] = sum_j scores[h][i][j] v[j][c]                 v as b, out (tokens, width)
//
// attention_*: grid (tiles of the longest text, texts * heads); a block beyond the tiles of its own text does nothing. `heads`
// counts those of this launch, from `first_head` of `all_heads` on.
// TILE is 32 or 64, block 256 = 16 x 16, each thread 2 x 2 or 4 x 4 values; sums run over c (or j) upwards in float32.
// Largest tested: 1025 x 1025, 270 tokens. Tested under emulation only.

template <int TILE>
__device__ __forceinline__ void linear(const float* x, const float* w, int m, int n, int k, float* out)
{
    const int R = TILE / 16, tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    const int row = blockIdx.y * TILE, column = blockIdx.x * TILE;
    const Bounded<float> left = {x, m, k, row, 0};
    const BoundedTransposed<float> right = {{w, n, k, column, 0}};
    float sum[R][R];
    tile_product<float, TILE, 0, 0>(k, left, right, Multiply(), sum);
    for (int r = 0; r < R; r++)
        for (int c = 0; c < R; c++) {
            const int i = row + ty + 16 * r, j = column + tx + 16 * c;
            if (i < m && j < n) out[(size_t)i * n + j] = sum[r][c];
        }
}

// A value of some columns of a matrix, 0 outside of them.
struct Part {
    const float* values;
    int rows, columns, stride, first_row, first_column;
    __device__ __forceinline__ float operator()(int row, int column) const
    {
        row += first_row;
        column += first_column;
        return row < rows && column < columns ? values[(size_t)row * stride + column] : 0.0f;
    }
};

struct PartTransposed {
    Part of;
    __device__ __forceinline__ float operator()(int row, int column) const { return of(column, row); }
};

// Of `heads` heads of which `groups` have keys and values of their own, the group that serves a head.
__device__ __forceinline__ int group_of(int head, int groups, int heads) { return head * groups / heads; }

template <int TILE>
__device__ __forceinline__ void attention_scores(const float* a, int a_columns, int a_at, const float* b, int b_columns,
                                                 int b_at, int b_heads, int first_head, int heads, int all_heads, int size,
                                                 float scale, const Text* texts, int places, float* out)
{
    const int R = TILE / 16, tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    const Text text = texts[blockIdx.y / heads];
    const int own = blockIdx.y % heads, head = first_head + own;
    const int n = text.n, m = places ? text.reach : text.n;
    const int across = (m + TILE - 1) / TILE;
    const int row = (int)blockIdx.x / across * TILE, column = (int)blockIdx.x % across * TILE;
    if (row >= n) return;
    const Part left = {a + (size_t)text.start * a_columns + a_at + head * size, n, size, a_columns, row, 0};
    const float* others = b + (size_t)(places ? text.first : text.start) * b_columns + b_at;
    const PartTransposed right = {{others + group_of(head, b_heads, all_heads) * size, m, size, b_columns, column, 0}};
    float sum[R][R];
    tile_product<float, TILE, 0, 0>(size, left, right, Multiply(), sum);
    float* to = out + (places ? text.terms : text.scores) + (size_t)own * n * m;
    for (int r = 0; r < R; r++)
        for (int c = 0; c < R; c++) {
            const int i = row + ty + 16 * r, j = column + tx + 16 * c;
            if (i < n && j < m) to[(size_t)i * m + j] = scale * sum[r][c];
        }
}

template <int TILE>
__device__ __forceinline__ void attention_context(const float* scores, const float* v, int v_columns, int v_at, int v_heads,
                                                  int first_head, int heads, int all_heads, int size, const Text* texts,
                                                  float* out)
{
    const int R = TILE / 16, tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    const Text text = texts[blockIdx.y / heads];
    const int own = blockIdx.y % heads, head = first_head + own, n = text.n;
    const int across = (size + TILE - 1) / TILE;
    const int row = (int)blockIdx.x / across * TILE, column = (int)blockIdx.x % across * TILE;
    if (row >= n) return;
    const Part left = {scores + text.scores + (size_t)own * n * n, n, n, n, row, 0};
    const float* values = v + (size_t)text.start * v_columns + v_at + group_of(head, v_heads, all_heads) * size;
    const Part right = {values, n, size, v_columns, 0, column};
    float sum[R][R];
    tile_product<float, TILE, 0, 1>(n, left, right, Multiply(), sum);
    for (int r = 0; r < R; r++)
        for (int c = 0; c < R; c++) {
            const int i = row + ty + 16 * r, j = column + tx + 16 * c;
            if (i < n && j < size) out[(size_t)(text.start + i) * all_heads * size + head * size + j] = sum[r][c];
        }
}

#define PRODUCTS(TILE, LINEAR, SCORES, CONTEXT)                                                                       \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                              \
        LINEAR(const float* x, const float* w, int m, int n, int k, float* out)                                        \
    {                                                                                                                  \
        linear<TILE>(x, w, m, n, k, out);                                                                              \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                              \
        SCORES(const float* a, int a_columns, int a_at, const float* b, int b_columns, int b_at, int b_heads,          \
               int first_head, int heads, int all_heads, int size, float scale, const Text* texts, int places,         \
               float* out)                                                                                             \
    {                                                                                                                  \
        attention_scores<TILE>(a, a_columns, a_at, b, b_columns, b_at, b_heads, first_head, heads, all_heads, size,    \
                               scale, texts, places, out);                                                             \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                              \
        CONTEXT(const float* scores, const float* v, int v_columns, int v_at, int v_heads, int first_head, int heads,  \
                int all_heads, int size, const Text* texts, float* out)                                                \
    {                                                                                                                  \
        attention_context<TILE>(scores, v, v_columns, v_at, v_heads, first_head, heads, all_heads, size, texts, out);  \
    }
PRODUCTS(32, linear_32, attention_scores_32, attention_context_32)
PRODUCTS(64, linear_64, attention_scores_64, attention_context_64)
