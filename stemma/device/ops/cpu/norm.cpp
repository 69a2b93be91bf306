// Root-mean-square norms, computed in float32: normalised, rounded, then weighted.
#include <math.h>

#include "common.h"

template <class T> static void weigh(T* out, const T* x, const T* weight, long width, Vec squares, float eps) {
    Vec scale = broadcast(1.0f / sqrtf(sum(squares) / (float)width + eps));
    for (long i = 0; i < width; i += LANES) {
        Vec v = rounded(load(x + i, width - i) * scale, x);
        store(out + i, v * load(weight + i, width - i), width - i);
    }
}

template <class T> static void norm_row(T* out, const T* x, const T* weight, long width, float eps) {
    Vec squares = {};
    for (long i = 0; i < width; i += LANES) {
        Vec v = load(x + i, width - i);
        squares = fma(v, v, squares);
    }
    weigh(out, x, weight, width, squares, eps);
}

template <class T>
static void add_norm_row(T* out, T* total, const T* x, const T* skip, const T* weight, long width, float eps) {
    Vec squares = {};
    for (long i = 0; i < width; i += LANES) {
        Vec v = rounded(load(x + i, width - i) + load(skip + i, width - i), x);
        store(total + i, v, width - i);
        squares = fma(v, v, squares);
    }
    weigh(out, total, weight, width, squares, eps);
}

// Without `skip` nothing is added, and `total` is not written.
template <class T>
static void add_norm(T* out, T* total, const T* x, const T* skip, const T* weight, long rows, long width, float eps,
                     int threads) {
    threads = worth(threads, rows * width);
    parallel(threads, [&](int thread) {
        Share share(rows, thread, threads);
        for (long at = share.begin * width; at < share.end * width; at += width)
            if (skip)
                add_norm_row(out + at, total + at, x + at, skip + at, weight, width, eps);
            else
                norm_row(out + at, x + at, weight, width, eps);
    });
}

OP void add_norm_float32(float* out, float* total, const float* x, const float* skip, const float* weight, long rows,
                         long width, float eps, int threads) {
    add_norm(out, total, x, skip, weight, rows, width, eps, threads);
}

OP void add_norm_bfloat16(bf16* out, bf16* total, const bf16* x, const bf16* skip, const bf16* weight, long rows,
                          long width, float eps, int threads) {
    add_norm(out, total, x, skip, weight, rows, width, eps, threads);
}

// Each head is normed, by `weight` for the first `queries` heads and by the one behind it for the others, then turned:
// the pairs (i, i + half) of its first elements, by the angles of its row's position. Heads lie side by side, rows
// `stride` apart.
template <class T>
static void norm_rotate(T* out, const T* x, const T* weight, const float* cos, const float* sin,
                        const int64_t* positions, long rows, long stride, long heads, long queries, long width,
                        long half, float eps, int threads) {
    threads = worth(threads, rows * heads * width);
    parallel(threads, [&](int thread) {
        Share share(rows, thread, threads);
        for (long r = share.begin; r < share.end; r++)
            for (long h = 0; h < heads; h++) {
                const T* from = x + r * stride + h * width;
                T* to = out + (r * heads + h) * width;
                if (weight) {
                    norm_row(to, from, weight + (h < queries ? 0 : width), width, eps);
                } else {
                    memcpy(to, from, width * sizeof(T));
                }
                const float *c = cos + positions[r] * half, *s = sin + positions[r] * half;
                for (long i = 0; i < half; i += LANES) {
                    long count = half - i;
                    Vec cosine = load(c + i, count), sine = load(s + i, count);
                    Vec left = load(to + i, count), right = load(to + half + i, count);
                    Vec a = fma(right, -sine, left * cosine);
                    Vec b = fma(left, sine, right * cosine);
                    store(to + i, a, count);
                    store(to + half + i, b, count);
                }
            }
    });
}

OP void norm_rotate_float32(float* out, const float* x, const float* weight, const float* cos, const float* sin,
                            const int64_t* positions, long rows, long stride, long heads, long queries, long width,
                            long half, float eps, int threads) {
    norm_rotate(out, x, weight, cos, sin, positions, rows, stride, heads, queries, width, half, eps, threads);
}

OP void norm_rotate_bfloat16(bf16* out, const bf16* x, const bf16* weight, const float* cos, const float* sin,
                             const int64_t* positions, long rows, long stride, long heads, long queries, long width,
                             long half, float eps, int threads) {
    norm_rotate(out, x, weight, cos, sin, positions, rows, stride, heads, queries, width, half, eps, threads);
}

REPLAYABLE(add_norm_float32)
REPLAYABLE(add_norm_bfloat16)
REPLAYABLE(norm_rotate_float32)
REPLAYABLE(norm_rotate_bfloat16)
