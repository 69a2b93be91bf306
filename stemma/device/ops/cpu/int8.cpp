// Matrices of 8 bits with a scale for each output.
//
// Packed: the units of a panel step by step (product.h), then the scales of its outputs. A unit is four weights, each
// 128 too large. Inputs are filled up to whole units with zeros.
#include "quantise.h"

namespace {

struct Int8 : Steps<Int8> {
    typedef Bytes::X X;
    typedef Ints Sum;
    static constexpr int OFFSET = 128;
    static constexpr bool IS_FOR_TILES = true;
#if !defined(__AVX512VNNI__)
    static constexpr int MANY = VECS > 2 ? 2 : 1;
#endif
    struct Shape {
        long group, groups = 1, bytes;  // steps, all in one group; bytes of a panel
        explicit Shape(long inputs) : group((inputs + 3) / 4), bytes((group + 1) * STEP_BYTES) {}
    };

    static Ints step(Ints sum, Vec unit, X x) { return Bytes::add(sum, (Ints)unit, x); }

    template <int R, int V>
    static void sums(const X* const* x, const float* panel, int column, long steps, Ints (&sum)[R][V], Ahead ahead) {
        const X* behind[R];
        for (int r = 0; r < R; r++) {
            for (int v = 0; v < V; v++) sum[r][v] = Bytes::constant(x[r][0]);
            behind[r] = x[r] + 1;
        }
        multiply<Int8, R, V>(behind, panel + column, PANEL, steps - 1, sum, ahead);
    }

    static void widen(float* to, const char* panel, long column, const Shape& shape) {
        const uint8_t* from = (const uint8_t*)panel + column * 4;
        for (long k = 0; k < shape.group; k++, from += STEP_BYTES)
            for (int i = 0; i < 4; i++) *to++ = (float)(from[i] - OFFSET);
    }
};

template <class T> void lay(char* packed, const T* rows, long first, long count, long inputs, int threads) {
    Int8::Shape shape(inputs);
    each_panel(first, count, inputs, threads, [&](long p, long begin, long end) {
        uint32_t* panel = (uint32_t*)(packed + p * shape.bytes);
        float* scales = (float*)(panel + shape.group * PANEL);
        long stride = whole(shape.group * 4) / 4;
        uint32_t* units = (uint32_t*)scratch(0, PANEL * stride * 4);
        for (long c = begin; c < end; c++) {
            uint32_t* row = units + c * stride;
            scales[c] = quantise((int8_t*)row, rows + (p * PANEL + c - first) * inputs, inputs);
            for (long k = 0; k < shape.group; k++) row[k] ^= 0x80808080;
        }
        put_columns(panel, units, stride, begin, end, shape.group);
    });
}

}  // namespace

QUANTISED(Int8, int8, float, float32)
QUANTISED(Int8, int8, bf16, bfloat16)
