// Matrices of 8 bits with a scale for each output.
//
// Packed: the units of a panel step by step (product.h), then the scales of its outputs. A unit is four weights, each
// 128 too large. Inputs are filled up to whole units with zeros.
#include "quantise.h"

namespace {

struct Shape {
    long steps, bytes;  // of a panel
    explicit Shape(long inputs) : steps((inputs + 3) / 4), bytes((steps + 1) * PANEL * 4) {}
};

template <class T> void lay(char* packed, const T* rows, long first, long count, long inputs, int threads) {
    Shape shape(inputs);
    each_panel(first, count, inputs, threads, [&](long p, long begin, long end) {
        uint32_t* panel = (uint32_t*)(packed + p * shape.bytes);
        float* scales = (float*)(panel + shape.steps * PANEL);
        long stride = whole(shape.steps * 4) / 4;
        uint32_t* units = (uint32_t*)scratch(0, PANEL * stride * 4);
        for (long c = begin; c < end; c++) {
            uint32_t* row = units + c * stride;
            scales[c] = quantise((int8_t*)row, rows + (p * PANEL + c - first) * inputs, inputs);
            for (long k = 0; k < shape.steps; k++) row[k] ^= 0x80808080;
        }
        put_columns(panel, units, stride, begin, end, shape.steps);
    });
}

template <class O, class T>
void linear(O* out, const T* x, const char* packed, const T* bias, long rows, long inputs, long outputs, int threads) {
    Shape shape(inputs);
    Left left(x, rows, inputs, shape.steps, 1, 128, threads);
    long panels = (outputs + PANEL - 1) / PANEL;
    threads = worth(threads, (rows + 3) * shape.steps * outputs / 32);
    parallel(threads, [&](int thread) {
        Share share(panels, thread, threads);
        for (long p = share.begin; p < share.end; p++) {
            const char* panel = packed + p * shape.bytes;
            const float* scales = (const float*)panel + shape.steps * PANEL;
            product<Bytes>(left.steps + 1, left.stride, rows, (const float*)panel, shape.steps,
                           (const float*)(p + 1 < share.end ? panel + shape.bytes : panel),
                           [&](long row, int column, Ints sums) {
                               long at = p * PANEL + column, count = outputs - at;
                               if (count <= 0) return;
                               Ints whole = sums + Bytes::constant(left.steps[row * left.stride]);
                               Vec total = as_floats(whole) * load(scales + column) * broadcast(left.scales[row]);
                               if (bias) total += load(bias + at, count);
                               store(out + row * outputs + at, total, count);
                           });
        }
    });
}

template <class T> void embed(T* out, const int64_t* tokens, const char* packed, long rows, long inputs, int threads) {
    Shape shape(inputs);
    threads = worth(threads, rows * inputs * 4);
    parallel(threads, [&](int thread) {
        Share share(rows, thread, threads);
        float* wide = (float*)scratch(0, shape.steps * 16);
        for (long r = share.begin; r < share.end; r++) {
            long column = tokens[r] % PANEL;
            const uint8_t* from = (const uint8_t*)packed + tokens[r] / PANEL * shape.bytes + column * 4;
            float scale;
            memcpy(&scale, from + shape.steps * PANEL * 4, 4);
            for (long i = 0; i < shape.steps * 4; i++)
                wide[i] = (float)(from[i / 4 * PANEL * 4 + i % 4] - 128) * scale;
            for (long i = 0; i < inputs; i += LANES) store(out + r * inputs + i, load(wide + i), inputs - i);
        }
    });
}

}  // namespace

#define INT8(T, name)                                                                                                 \
    OP void lay_int8_##name(char* packed, const T* rows, long first, long count, long inputs, int threads) {          \
        lay(packed, rows, first, count, inputs, threads);                                                             \
    }                                                                                                                 \
    OP void linear_int8_##name(T* out, const T* x, const char* packed, const T* bias, long rows, long inputs,         \
                               long outputs, int threads) {                                                           \
        linear(out, x, packed, bias, rows, inputs, outputs, threads);                                                 \
    }                                                                                                                 \
    OP void logits_int8_##name(float* out, const T* x, const char* packed, long rows, long inputs, long outputs,      \
                               int threads) {                                                                         \
        linear(out, x, packed, (const T*)nullptr, rows, inputs, outputs, threads);                                    \
    }                                                                                                                 \
    OP void embed_int8_##name(T* out, const int64_t* tokens, const char* packed, long rows, long inputs,              \
                              int threads) {                                                                          \
        embed(out, tokens, packed, rows, inputs, threads);                                                            \
    }                                                                                                                 \
    REPLAYABLE(linear_int8_##name)                                                                                    \
    REPLAYABLE(logits_int8_##name)                                                                                    \
    REPLAYABLE(embed_int8_##name)
INT8(float, float32)
INT8(bf16, bfloat16)
