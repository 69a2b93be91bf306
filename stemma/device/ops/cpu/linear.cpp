// x @ weight.T + bias over packed weights, any number of rows; and rows of such a table.
//
// Packed: PANEL outputs stand together, step by step (product.h). Outputs are filled up to whole panels and inputs to
// whole units with zeros. It takes the memory of the plain one when nothing has to be filled.
#include <type_traits>

#include "lay.h"
#include "tiles.h"

template <class T>
static void lay(uint32_t* packed, const T* rows, long first, long count, long inputs, int threads) {
    long steps = (inputs * sizeof(T) + 3) / 4;
    each_panel(first, count, inputs, threads, [&](long p, long begin, long end) {
        uint32_t* units = (uint32_t*)scratch(0, PANEL * steps * 4);
        for (long c = begin; c < end; c++) {
            units[c * steps + steps - 1] = 0;
            memcpy(units + c * steps, rows + (p * PANEL + c - first) * inputs, inputs * sizeof(T));
        }
        put_columns(packed + p * steps * PANEL, units, steps, begin, end, steps);
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
            auto put = [&](long row, int column, Vec sums) {
                long at = p * PANEL + column, count = outputs - at;
                if (count <= 0) return;
                if (bias) sums += load(bias + at, count);
                store(out + row * outputs + at, sums, count);
            };
            if constexpr (HAS_TILES && std::is_same<Kind, Pairs>::value)
                tile_product<PairTiles>(left, steps, rows, panel, steps, put);
            else
                product<Kind>(left, steps, rows, panel, steps, panel + (p + 1 < share.end ? steps * PANEL : 0), put);
        }
    });
}

template <class T> static void embed(T* out, const int64_t* tokens, const uint32_t* packed, long rows, long inputs, int threads) {
    long bytes = inputs * sizeof(T), steps = (bytes + 3) / 4;
    threads = worth(threads, rows * steps * 4);
    parallel(threads, [&](int thread) {
        Share share(rows, thread, threads);
        for (long r = share.begin; r < share.end; r++) {
            const uint32_t* from = packed + tokens[r] / PANEL * steps * PANEL + tokens[r] % PANEL;
            for (long k = 0; k < steps; k++) {
                long left = bytes - k * 4;
                memcpy((char*)(out + r * inputs) + k * 4, from + k * PANEL, left < 4 ? left : 4);
            }
        }
    });
}

#define PLAIN(Kind, T, name)                                                                                          \
    OP void lay_plain_##name(uint32_t* packed, const T* rows, long first, long count, long inputs, int threads) {     \
        lay(packed, rows, first, count, inputs, threads);                                                             \
    }                                                                                                                 \
    OP void linear_plain_##name(T* out, const T* x, const float* packed, const T* bias, long rows, long inputs,       \
                                long outputs, int threads) {                                                          \
        linear<Kind>(out, x, packed, bias, rows, inputs, outputs, threads);                                           \
    }                                                                                                                 \
    OP void logits_plain_##name(float* out, const T* x, const float* packed, long rows, long inputs, long outputs,    \
                                int threads) {                                                                        \
        linear<Kind>(out, x, packed, (const T*)nullptr, rows, inputs, outputs, threads);                              \
    }                                                                                                                 \
    OP void embed_plain_##name(T* out, const int64_t* tokens, const uint32_t* packed, long rows, long inputs,         \
                               int threads) {                                                                         \
        embed(out, tokens, packed, rows, inputs, threads);                                                            \
    }                                                                                                                 \
    REPLAYABLE(linear_plain_##name)                                                                                   \
    REPLAYABLE(logits_plain_##name)                                                                                   \
    REPLAYABLE(embed_plain_##name)
PLAIN(Floats, float, float32)
PLAIN(Pairs, bf16, bfloat16)
