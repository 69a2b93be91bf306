// silu(gate) * up, where each row holds its gate, then its up.
#include "common.h"

template <class T> static void gated(T* out, const T* x, long rows, long width, int threads) {
    threads = worth(threads, rows * width * 4);
    parallel(threads, [&](int thread) {
        Share share(rows, thread, threads);
        for (long r = share.begin; r < share.end; r++)
            for (long i = 0; i < width; i += LANES) {
                long count = width - i;
                Vec gate = load(x + 2 * r * width + i, count), up = load(x + (2 * r + 1) * width + i, count);
                Vec active = rounded(gate / (exponential(-gate) + 1.0f), x);
                store(out + r * width + i, active * up, count);
            }
    });
}

OP void gated_float32(float* out, const float* x, long rows, long width, int threads) {
    gated(out, x, rows, width, threads);
}

OP void gated_bfloat16(bf16* out, const bf16* x, long rows, long width, int threads) {
    gated(out, x, rows, width, threads);
}

REPLAYABLE(gated_float32)
REPLAYABLE(gated_bfloat16)
