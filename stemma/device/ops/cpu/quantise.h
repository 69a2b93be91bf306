// Numbers of 8 bits: how rows become them, and how they enter a sum.
//
// Their sums are exact (integers.h). Weights are stored without a sign, as processors want one side; what that adds to a
// sum is known from the row alone and taken off.
#pragma once
#include "integers.h"
#include "lay.h"
#include "tiles.h"

inline int sum(const int8_t* x, long count) {
    int total = 0;
    for (long i = 0; i < count; i++) total += x[i];
    return total;
}

// Four weights in [0, 255] meet the four numbers in [-127, 127] that a step of a row holds.
#if defined(__AVX512VNNI__)
struct Bytes {
    typedef int32_t X;
    static Ints add(Ints sum, Ints unit, X x) {
        return (Ints)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)unit, _mm512_set1_epi32(x));
    }
    static Ints constant(X x) { return (Ints)_mm512_set1_epi32(x); }
};
inline Bytes::X as_step(const int8_t* x) {
    int32_t step;
    memcpy(&step, x, 4);
    return step;
}
inline Bytes::X as_constant(int32_t x) { return x; }
#else
struct Bytes {
    struct X {
        int32_t even, odd;  // numbers 0 and 2, numbers 1 and 3, each in 16 bits
    };
    static Ints add(Ints sum, Ints unit, X x) {
        sum = add_pairs(sum, unit & 0x00ff00ff, x.even - Ints{});
        return add_pairs(sum, (Ints)((Bits)unit >> 8) & 0x00ff00ff, x.odd - Ints{});
    }
    static Ints constant(X x) { return x.even - Ints{}; }
};
inline Bytes::X as_step(const int8_t* x) {
    auto pair = [](int low, int high) { return (int32_t)((uint32_t)(uint16_t)low | (uint32_t)high << 16); };
    return {pair(x[0], x[2]), pair(x[1], x[3])};
}
inline Bytes::X as_constant(int32_t x) { return {x, 0}; }
#endif

// The rows of a product as steps, in memory of this thread: each group of `group` steps behind a constant, which takes
// off what weights that are `offset` too large add to its sum.
struct Left {
    Bytes::X* steps;
    float* scales;
    long stride;

    template <class T> Left(const T* x, long rows, long width, long group, long groups, int offset, int threads) {
        stride = groups * (group + 1);
        scales = (float*)scratch(1, rows * (4 + stride * sizeof(Bytes::X)) + 64);
        steps = (Bytes::X*)(scales + (rows + 15) / 16 * 16);
        threads = worth(threads, rows * width);
        parallel(threads, [&](int thread) {
            Share share(rows, thread, threads);
            long padded = groups * group * 4;
            int8_t* bytes = (int8_t*)scratch(0, whole(padded));
            memset(bytes + width / 4 * 4, 0, padded - width / 4 * 4);
            for (long r = share.begin; r < share.end; r++) {
                scales[r] = quantise(bytes, x + r * width, width);
                Bytes::X* to = steps + r * stride;
                for (long g = 0; g < groups; g++) {
                    const int8_t* from = bytes + g * group * 4;
                    *to++ = as_constant(-offset * sum(from, group * 4));
                    for (long k = 0; k < group; k++) *to++ = as_step(from + k * 4);
                }
            }
        });
    }
};

// A format is a kind of product with a Shape of its panels, whose last bytes are the scales of their outputs; how it
// reads an output is `widen`.
template <class Format, class O, class T>
void linear(O* out, const T* x, const char* packed, const T* bias, long rows, long inputs, long outputs, int threads) {
    typename Format::Shape shape(inputs);
    Left left(x, rows, inputs, shape.group, shape.groups, Format::OFFSET, threads);
    long panels = (outputs + PANEL - 1) / PANEL;
    threads = worth(threads, (rows + 3) * inputs * outputs / 128);
    parallel(threads, [&](int thread) {
        Share share(panels, thread, threads);
        for (long p = share.begin; p < share.end; p++) {
            const char *panel = packed + p * shape.bytes, *behind = panel + shape.bytes;
            const float* scales = (const float*)behind - PANEL;
            auto put = [&](long row, int column, Ints sums) {
                long at = p * PANEL + column, count = outputs - at;
                if (count <= 0) return;
                Vec total = as_floats(sums) * load(scales + column) * broadcast(left.scales[row]);
                if (bias) total += load(bias + at, count);
                store(out + row * outputs + at, total, count);
            };
            if constexpr (HAS_TILES && Format::IS_FOR_TILES)
                tile_product<ByteTiles>(left.steps + 1, left.stride, rows, panel, shape.group,
                                        [&](long row, int column, Ints sums) {
                                            put(row, column, sums + Bytes::constant(left.steps[row * left.stride]));
                                        });
            else
                product<Format>(left.steps, left.stride, rows, (const float*)panel, shape.bytes / Format::STEP_BYTES,
                                (const float*)(p + 1 < share.end ? behind : panel), put);
        }
    });
}

template <class Format, class T>
void embed(T* out, const int64_t* tokens, const char* packed, long rows, long inputs, int threads) {
    typename Format::Shape shape(inputs);
    threads = worth(threads, rows * inputs * 4);
    parallel(threads, [&](int thread) {
        Share share(rows, thread, threads);
        float* wide = (float*)scratch(0, shape.groups * shape.group * 16);
        for (long r = share.begin; r < share.end; r++) {
            const char* panel = packed + tokens[r] / PANEL * shape.bytes;
            long column = tokens[r] % PANEL;
            Format::widen(wide, panel, column, shape);
            Vec scale = broadcast(((const float*)(panel + shape.bytes))[column - PANEL]);
            for (long i = 0; i < inputs; i += LANES)
                store(out + r * inputs + i, load(wide + i, inputs - i) * scale, inputs - i);
        }
    });
}

#define QUANTISED(Format, format, T, name)                                                                            \
    OP void lay_##format##_##name(char* packed, const T* rows, long first, long count, long inputs, int threads) {    \
        lay(packed, rows, first, count, inputs, threads);                                                             \
    }                                                                                                                 \
    OP void linear_##format##_##name(T* out, const T* x, const char* packed, const T* bias, long rows, long inputs,   \
                                     long outputs, int threads) {                                                     \
        linear<Format>(out, x, packed, bias, rows, inputs, outputs, threads);                                         \
    }                                                                                                                 \
    OP void logits_##format##_##name(float* out, const T* x, const char* packed, long rows, long inputs,              \
                                     long outputs, int threads) {                                                     \
        linear<Format>(out, x, packed, (const T*)nullptr, rows, inputs, outputs, threads);                            \
    }                                                                                                                 \
    OP void embed_##format##_##name(T* out, const int64_t* tokens, const char* packed, long rows, long inputs,        \
                                    int threads) {                                                                    \
        embed<Format>(out, tokens, packed, rows, inputs, threads);                                                    \
    }                                                                                                                 \
    REPLAYABLE(linear_##format##_##name)                                                                              \
    REPLAYABLE(logits_##format##_##name)                                                                              \
    REPLAYABLE(embed_##format##_##name)
