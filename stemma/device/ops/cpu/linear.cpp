// x @ weight.T + bias over packed weights, any number of rows.
//
// Packed: PANEL outputs stand together, step by step (product.h). Outputs are filled up to whole panels and inputs to
// whole units with zeros. The packed matrix takes the memory of the plain one when nothing had to be filled.
#include "product.h"

// In place. `memory` holds whole panels of `steps` units for each output, in rows.
OP void pack(uint32_t* memory, long panels, long steps, int threads) {
    threads = worth(threads, panels * PANEL * steps);
    parallel(threads, [&](int thread) {
        Share share(panels, thread, threads);
        uint32_t* turned = (uint32_t*)scratch(0, steps * PANEL * 4);
        for (long p = share.begin; p < share.end; p++) {
            turn(turned, memory + p * steps * PANEL, steps, PANEL, steps);
            memcpy(memory + p * steps * PANEL, turned, steps * PANEL * 4);
        }
    });
}

// Sums are rounded to what `out` holds.
template <class Kind, class T, class Out>
static void linear(Out* out, const T* x, const float* packed, const T* bias, long rows, long inputs, long outputs,
                   int threads) {
    long steps = (inputs * sizeof(T) + 3) / 4, panels = (outputs + PANEL - 1) / PANEL;
    const typename Kind::X* left = (const typename Kind::X*)x;
    if (sizeof(typename Kind::X) != 4 || inputs * sizeof(T) % 4) {
        auto* wide = (typename Kind::X*)scratch(1, rows * steps * sizeof *left);
        for (long r = 0; r < rows; r++) as_steps(wide + r * steps, x + r * inputs, inputs, steps);
        left = wide;
    }
    threads = worth(threads, (rows + 3) * steps * outputs / 32);
    parallel(threads, [&](int thread) {
        Share share(panels, thread, threads);
        for (long p = share.begin; p < share.end; p++) {
            const float* panel = packed + p * steps * PANEL;
            product<Kind>(left, steps, rows, panel, steps, panel + (p + 1 < share.end ? steps * PANEL : 0),
                          [&](long row, int column, Vec sums) {
                              long at = p * PANEL + column, count = outputs - at;
                              if (count <= 0) return;
                              if (bias) sums += load(bias + at, count);
                              store(out + row * outputs + at, sums, count);
                          });
        }
    });
}

OP void linear_float32(float* out, const float* x, const float* packed, const float* bias, long rows, long inputs,
                       long outputs, int threads) {
    linear<Floats>(out, x, packed, bias, rows, inputs, outputs, threads);
}

OP void linear_bfloat16(bf16* out, const bf16* x, const float* packed, const bf16* bias, long rows, long inputs,
                        long outputs, int threads) {
    linear<Pairs>(out, x, packed, bias, rows, inputs, outputs, threads);
}

// The scores of a head stay in float32.
OP void logits_float32(float* out, const float* x, const float* packed, long rows, long inputs, long outputs,
                       int threads) {
    linear<Floats>(out, x, packed, (const float*)nullptr, rows, inputs, outputs, threads);
}

OP void logits_bfloat16(float* out, const bf16* x, const float* packed, long rows, long inputs, long outputs,
                        int threads) {
    linear<Pairs>(out, x, packed, (const bf16*)nullptr, rows, inputs, outputs, threads);
}

REPLAYABLE(logits_float32)
REPLAYABLE(logits_bfloat16)
REPLAYABLE(linear_float32)
REPLAYABLE(linear_bfloat16)
