// What encoders do between their matrix products. float32, as on the CPU; texts are packed, not padded.
//
// bias_activation  x[i][c] = f(x[i][c] + bias[c])                                     grid (rows * width / 256)
// gated            out[i][c] = f(x[i][c]) x[i][width + c]                             grid (rows * width / 256)
// add_norm         out = LayerNorm or RMSNorm of x + residual, times scale, plus shift; population variance plus epsilon
//                  grid (rows), block 256: a block per row, two passes, sums in a tree of fixed shape
// masked_softmax   for every head and token i of neighbouring texts, in place:
//                  scores[h][i][j] += bias[first_head + h][longest - 1 + j - i]       where a relative bias is given
//                                   + to[h][i][row(i, j)] + from[h][j][row(i, j)]     DeBERTa's disentangled terms
//                  then softmax over the visible tokens; the others become 0. row(i, j) = rows[middle + i - j] - first.
//                  visible: all (0), |i - j| <= window (1), j <= i (2), j <= i and i - j < window (3)
//                  grid (tokens, heads), block 256: a block per row; text_of[token] is its text
// gather_rows      out[i][c] = table[rows[i]][c]                                      grid (rows * width / 256)
// add_rows         out[i] = x[i] + y[i % period]: matrices, or one row added to all   grid (values / 256)
// neighbour_rows   out[i][o width + c] = x[i + o - kernel / 2][c], 0 beyond the text  grid (rows * kernel * width / 256)
// rotate_half      rotary positions: halves (a, b) of the first `heads` heads of a row become (a cos - b sin, b cos + a sin)
//                  grid (rows * heads * size / 2 / 256)
//
// f: 0 none, 1 GELU (erf), 2 GELU (tanh), 3 ReLU, 4 SiLU, 5 quick GELU, 6 tanh.
// Largest tested: a text of 270 tokens, width 1025. Tested under emulation only.

__device__ __forceinline__ float activated(float x, int kind)
{
    switch (kind) {
    case 1: return x * 0.5f * (1.0f + erff(x * 0.70710678f));
    case 2: return x / (1.0f + expf(-2.0f * 0.7978846f * (x + 0.044715f * x * x * x)));
    case 3: return x > 0.0f ? x : 0.0f;
    case 4: return x / (1.0f + expf(-x));
    case 5: return x / (1.0f + expf(-1.702f * x));
    case 6: return tanhf(x);
    default: return x;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    bias_activation(float* x, const float* bias, int kind, unsigned long long count, int width)
{
    const size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < count) x[i] = activated(x[i] + (bias ? bias[i % width] : 0.0f), kind);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    gated(const float* x, int kind, unsigned long long count, int width, float* out)
{
    const size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= count) return;
    const float* row = x + i / width * 2 * width;
    out[i] = activated(row[i % width], kind) * row[width + i % width];
}

extern "C" __global__ void __launch_bounds__(THREADS)
    add_norm(const float* x, const float* residual, const float* scale, const float* shift, int rms, float epsilon,
             int width, float* out)
{
    __shared__ float scratch[THREADS / 32];
    const size_t row = (size_t)blockIdx.x * width;
    float sum = 0;
    for (int c = threadIdx.x; c < width; c += THREADS) {
        const float value = x[row + c] + (residual ? residual[row + c] : 0.0f);
        out[row + c] = value;
        sum += value;
    }
    const float mean = rms ? 0.0f : block_sum(sum, scratch) / (float)width;
    float square = 0;
    // Each thread reads what it wrote itself.
    for (int c = threadIdx.x; c < width; c += THREADS) {
        const float d = out[row + c] - mean;
        square += d * d;
    }
    const float inverse = 1.0f / sqrtf(block_sum(square, scratch) / (float)width + epsilon);
    for (int c = threadIdx.x; c < width; c += THREADS)
        out[row + c] = (out[row + c] - mean) * inverse * scale[c] + (shift ? shift[c] : 0.0f);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    masked_softmax(float* scores, const Text* texts, const int* text_of, int first_head, int mask, int window,
                   const float* bias, int longest, const float* to, const float* from, const int* rows, int middle)
{
    __shared__ float scratch[THREADS / 32];
    const Text text = texts[text_of[blockIdx.x]];
    const int n = text.n, i = (int)blockIdx.x + texts[0].start - text.start, head = blockIdx.y;
    const int start = mask == 1 ? (i > window ? i - window : 0) : mask == 3 ? (i + 1 > window ? i + 1 - window : 0) : 0;
    const int end = mask == 0 ? n : mask == 1 ? (window < n - 1 - i ? i + window + 1 : n) : i + 1;
    float* row = scores + text.scores + ((size_t)head * n + i) * n;
    float most = __int_as_float(0xff800000);
    for (int j = threadIdx.x; j < n; j += THREADS) {
        if (j < start || j >= end) continue;
        float value = row[j];
        if (bias) value += bias[(size_t)(first_head + head) * (2 * longest - 1) + longest - 1 + j - i];
        const int place = rows ? rows[middle + i - j] - text.first : 0;
        if (to) value += to[text.terms + ((size_t)head * n + i) * text.reach + place];
        if (from) value += from[text.terms + ((size_t)head * n + j) * text.reach + place];
        row[j] = value;
        most = larger(most, value);
    }
    most = block_max(most, scratch);
    float sum = 0;
    for (int j = threadIdx.x; j < n; j += THREADS) {
        const float value = j >= start && j < end ? expf(row[j] - most) : 0.0f;
        row[j] = value;
        sum += value;
    }
    const float factor = 1.0f / block_sum(sum, scratch);
    for (int j = threadIdx.x; j < n; j += THREADS) row[j] *= factor;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    rotate_half(float* x, const float* turns, const int* position, unsigned long long count, int columns, int heads, int size)
{
    const size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= count) return;
    const int half = size / 2;
    const size_t per_row = (size_t)heads * half, row = i / per_row;
    const int head = (int)(i % per_row) / half, at = (int)(i % per_row) % half;
    const float* turn = turns + (size_t)position[row] * size;
    float* a = x + row * columns + (size_t)head * size + at;
    float* b = a + half;
    const float first = *a, second = *b, cosine = turn[at], sine = turn[half + at];
    *a = first * cosine - second * sine;
    *b = second * cosine + first * sine;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    gather_rows(const float* table, const unsigned int* rows, unsigned long long count, int width, float* out)
{
    const size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < count) out[i] = table[(size_t)rows[i / width] * width + i % width];
}

extern "C" __global__ void __launch_bounds__(THREADS)
    add_rows(const float* x, const float* y, unsigned long long count, unsigned long long period, float* out)
{
    const size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < count) out[i] = x[i] + y[period == count ? i : i % period];
}

extern "C" __global__ void __launch_bounds__(THREADS)
    neighbour_rows(const float* x, const Text* texts, const int* text_of, unsigned long long count, int width, int kernel,
                   float* out)
{
    const size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= count) return;
    const int columns = kernel * width, token = (int)(i / columns), c = (int)(i % columns);
    const Text text = texts[text_of[token]];
    const int from = token + c / width - kernel / 2;
    out[i] = from >= text.start && from < text.start + text.n ? x[(size_t)from * width + c % width] : 0.0f;
}
