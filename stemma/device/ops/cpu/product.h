// Products of rows with a packed panel of PANEL columns, the heart of linear and of attention.
//
// A panel is made of units of 4 bytes: one float, or two neighbours of bfloat16 along the summed dimension. It holds
// the units of step 0 of all its columns, then those of step 1, and so on. A sum runs over the steps in ascending
// order in a single accumulator per (row, column), so it does not depend on how many rows are computed together.
#pragma once
#include "common.h"

#if defined(__AVX512F__)
constexpr int ROWS = 6, VECS = 4;  // accumulators that fit into the registers
#elif defined(__AVX2__)
constexpr int ROWS = 4, VECS = 2;
#else
constexpr int ROWS = 2, VECS = 4;
#endif

// Where to prefetch from while a panel is worked on: `lines` of 64 bytes at each step.
struct Ahead {
    const char* from;
    int lines;
    int stride;  // bytes to move on at each step
};

template <class Kind, int R, int V, class Sum>
inline void multiply(const typename Kind::X* const* x, const float* panel, long pitch, long steps, Sum (&sum)[R][V],
                     Ahead ahead) {
    for (long k = 0; k < steps; k++, panel += pitch) {
        Vec unit[V];
        for (int v = 0; v < V; v++) unit[v] = load(panel + v * LANES);
        for (int i = 0; i < ahead.lines; i++) __builtin_prefetch(ahead.from + i * 64, 0, 2);
        ahead.from += ahead.stride;
        for (int r = 0; r < R; r++)
            for (int v = 0; v < V; v++) sum[r][v] = Kind::step(sum[r][v], unit[v], x[r][k]);
    }
}

// A kind whose sums are taken step by step. Vectors of a panel's columns that are summed together: ALONE for one row,
// MANY for several.
template <class Kind> struct Steps {
    static constexpr int STEP_BYTES = PANEL * 4, ALONE = PANEL / LANES, MANY = VECS;
    template <int R, int V, class X, class Sum>
    static void sums(const X* const* x, const float* panel, int column, long steps, Sum (&sum)[R][V], Ahead ahead) {
        multiply<Kind, R, V>(x, panel + column, PANEL, steps, sum, ahead);
    }
};

// How the numbers of a unit enter the sum.
struct Floats : Steps<Floats> {
    typedef float X;  // one step of a row
    typedef Vec Sum;
    typedef float Stored;
    static Vec take(const Stored* p) { return load(p); }
    static Vec step(Vec sum, Vec unit, float x) { return fma(broadcast(x), unit, sum); }
};
#if defined(__AVX512BF16__)
struct Pairs : Steps<Pairs> {
    typedef uint32_t X;
    typedef Vec Sum;
    typedef float Stored;
    static Vec take(const Stored* p) { return load(p); }
    static Vec step(Vec sum, Vec unit, uint32_t x) {
        return (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)unit, (__m512bh)_mm512_set1_epi32((int)x));
    }
};
#else
struct Pairs : Steps<Pairs> {  // widened rows: two floats for each step
    struct X {
        float first, second;
    };
    typedef Vec Sum;
    typedef float Stored;
    static Vec take(const Stored* p) { return load(p); }
    static Vec step(Vec sum, Vec unit, X x) {
        sum = fma(broadcast(x.first), (Vec)((Bits)unit << 16), sum);
        return fma(broadcast(x.second), (Vec)((Bits)unit & 0xffff0000), sum);
    }
};
#endif

// R rows by all columns of a panel, V vectors in a pass; put(row, column, sums) takes LANES columns at a time.
template <class Kind, int R, int V, class Put>
inline void rows_by_panel(const typename Kind::X* const* x, const float* panel, long steps, Ahead ahead, Put&& put) {
    for (int column = 0; column < PANEL; column += V * LANES, ahead.from += steps * ahead.stride) {
        typename Kind::Sum sums[R][V] = {};
        Kind::template sums<R, V>(x, panel, column, steps, sums, ahead);
        for (int r = 0; r < R; r++)
            for (int v = 0; v < V; v++) put(r, column + v * LANES, sums[r][v]);
    }
}

// Any number of rows, `stride` apart, by one panel. `next` is what will be read after this panel.
template <class Kind, class Put>
inline void product(const typename Kind::X* x, long stride, long rows, const float* panel, long steps,
                    const float* next, Put&& put) {
    // Alone, a pass streams the panel and looks a little ahead; of several, each fetches its part of the next panel.
    constexpr int OF_MANY = PANEL / LANES / Kind::MANY, OF_ONE = PANEL / LANES / Kind::ALONE;
    const long left = rows % ROWS, passes = rows / ROWS * OF_MANY + (left == 0 ? 0 : left == 1 ? OF_ONE : OF_MANY);
    Ahead ahead = {(const char*)panel + 1280, Kind::STEP_BYTES / 64, Kind::STEP_BYTES};
    if (passes > 1) {
        int part = (int)((Kind::STEP_BYTES + passes - 1) / passes);
        ahead = {(const char*)next, (part + 63) / 64, part};
    }
    for (long row = 0; row < rows; row += ROWS, ahead.from += OF_MANY * steps * ahead.stride) {
        const typename Kind::X* at[ROWS];
        for (int r = 0; r < ROWS; r++) at[r] = x + (row + r < rows ? row + r : row) * stride;
        auto own = [&](int r, int column, typename Kind::Sum sums) { put(row + r, column, sums); };
        switch (rows - row) {
            case 1: rows_by_panel<Kind, 1, Kind::ALONE>(at, panel, steps, ahead, own); break;
            case 2: rows_by_panel<Kind, 2, Kind::MANY>(at, panel, steps, ahead, own); break;
#if defined(__AVX2__)
            case 3: rows_by_panel<Kind, 3, Kind::MANY>(at, panel, steps, ahead, own); break;
#endif
#if defined(__AVX512F__)
            case 4: rows_by_panel<Kind, 4, Kind::MANY>(at, panel, steps, ahead, own); break;
            case 5: rows_by_panel<Kind, 5, Kind::MANY>(at, panel, steps, ahead, own); break;
#endif
            default: rows_by_panel<Kind, ROWS, Kind::MANY>(at, panel, steps, ahead, own);
        }
    }
}

// Rows of numbers as steps of a Kind, `stride` steps apart, zeros behind the last number.
inline void as_steps(float* to, const float* from, long width, long steps) {
    memcpy(to, from, width * 4);
    (void)steps;
}
inline void as_steps(Pairs::X* to, const bf16* from, long width, long steps) {
#if defined(__AVX512BF16__)
    to[steps - 1] = 0;
    memcpy(to, from, width * 2);
#else
    to[steps - 1].second = 0;
    float* out = (float*)to;
    for (long i = 0; i < width; i += LANES) store(out + i, load(from + i, width - i), width - i);
#endif
}

// The columns of a panel from rows of units: what `from` has as [PANEL, steps] becomes [steps, PANEL].
inline void turn(uint32_t* to, const uint32_t* from, long stride, long columns, long steps) {
#if defined(__AVX512F__)
    for (long c = 0; c < PANEL; c += 16)
        for (long k = 0; k < steps; k += 16) {
            __m512i r[16], t[16];
            __mmask16 mask = steps - k >= 16 ? 0xffff : (__mmask16)((1 << (steps - k)) - 1);
            for (int i = 0; i < 16; i++)
                r[i] = c + i < columns ? _mm512_maskz_loadu_epi32(mask, from + (c + i) * stride + k)
                                       : _mm512_setzero_si512();
            for (int i = 0; i < 16; i += 2) {
                t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
                t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
            }
            for (int i = 0; i < 16; i += 4) {
                r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
                r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
                r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
                r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
            }
            for (int j = 0; j < 4; j++) {
                __m512i a = _mm512_shuffle_i32x4(r[j], r[j + 4], 0x88), b = _mm512_shuffle_i32x4(r[j], r[j + 4], 0xdd);
                __m512i e = _mm512_shuffle_i32x4(r[j + 8], r[j + 12], 0x88);
                __m512i f = _mm512_shuffle_i32x4(r[j + 8], r[j + 12], 0xdd);
                t[j] = _mm512_shuffle_i32x4(a, e, 0x88);
                t[j + 4] = _mm512_shuffle_i32x4(b, f, 0x88);
                t[j + 8] = _mm512_shuffle_i32x4(a, e, 0xdd);
                t[j + 12] = _mm512_shuffle_i32x4(b, f, 0xdd);
            }
            for (int i = 0; i < 16 && k + i < steps; i++) _mm512_storeu_si512(to + (k + i) * PANEL + c, t[i]);
        }
#else
    for (long k = 0; k < steps; k++)
        for (long c = 0; c < PANEL; c++) to[k * PANEL + c] = c < columns ? from[c * stride + k] : 0;
#endif
}
