// activation(gate) * up, where each row holds its gate, then its up.
#include "common.h"

namespace {

struct Silu {
    static Vec of(Vec x) { return x / (exponential(-x) + 1.0f); }
};
struct Relu {
    static Vec of(Vec x) { return select(x > 0, x, select(x == x, Vec{}, x)); }
};
// tanh(u) = 1 - 2 / (e^2u + 1)
struct GeluTanh {
    static Vec of(Vec x) {
        Vec u = fma(x * x * 0.044715f, x, x) * 0.7978845608f;
        return x - x / (exponential(u * 2.0f) + 1.0f);
    }
};
// erf within 1.5e-7: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26.
struct Gelu {
    static Vec of(Vec x) {
        Vec z = x * 0.7071067812f, size = larger(z, -z);
        Vec t = 1.0f / fma(size, broadcast(0.3275911f), broadcast(1.0f)), p = broadcast(1.061405429f);
        p = fma(p, t, broadcast(-1.453152027f));
        p = fma(p, t, broadcast(1.421413741f));
        p = fma(p, t, broadcast(-0.284496736f));
        p = fma(p, t, broadcast(0.254829592f));
        Vec tail = p * t * exponential(-size * size);  // of |z|, doubled
        return x * select(z < 0, tail, 2.0f - tail) * 0.5f;
    }
};

template <class Active, class T> void gated(T* out, const T* x, long rows, long width, int threads) {
    threads = worth(threads, rows * width * 4);
    parallel(threads, [&](int thread) {
        Share share(rows, thread, threads);
        for (long r = share.begin; r < share.end; r++)
            for (long i = 0; i < width; i += LANES) {
                long count = width - i;
                Vec gate = load(x + 2 * r * width + i, count), up = load(x + (2 * r + 1) * width + i, count);
                store(out + r * width + i, rounded(Active::of(gate), x) * up, count);
            }
    });
}

// `activation` counts in the order of ACTIVATIONS (bodies.py).
template <class T> void gated(T* out, const T* x, long rows, long width, long activation, int threads) {
    switch (activation) {
        case 0: return gated<Silu>(out, x, rows, width, threads);
        case 1: return gated<Gelu>(out, x, rows, width, threads);
        case 2: return gated<GeluTanh>(out, x, rows, width, threads);
        default: return gated<Relu>(out, x, rows, width, threads);
    }
}

}  // namespace

OP void gated_float32(float* out, const float* x, long rows, long width, long activation, int threads) {
    gated(out, x, rows, width, activation, threads);
}

OP void gated_bfloat16(bf16* out, const bf16* x, long rows, long width, long activation, int threads) {
    gated(out, x, rows, width, activation, threads);
}

REPLAYABLE(gated_float32)
REPLAYABLE(gated_bfloat16)
