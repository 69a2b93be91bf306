// How a number of a key or a value is kept in a cache: as it is computed with, in another type, or in 8 bits.
//
// Those of 8 bits have a scale for each token and head, behind all of the head in a page, or behind its row.
#pragma once
#include "powers.h"

typedef int8_t Bytes __attribute__((vector_size(LANES)));

inline Vec load(const int8_t* p, long count = LANES) {
    Bytes b = {};
    memcpy(&b, p, count < LANES ? count : LANES);
    return __builtin_convertvector(b, Vec);
}

template <class To, class From> inline void convert(To* to, const From* from, long count) {
    for (long i = 0; i < count; i += LANES) store(to + i, load(from + i, count - i), count - i);
}
template <> inline void convert(bf16* to, const bf16* from, long count) { memcpy(to, from, count * sizeof *to); }
template <> inline void convert(float* to, const float* from, long count) { memcpy(to, from, count * sizeof *to); }
template <> inline void convert(bf16* to, const int8_t* from, long count) {  // exact: 8 bits suffice
    long i = 0;
#if defined(__AVX512BF16__)
    for (; i + 2 * LANES <= count; i += 2 * LANES)
        _mm512_storeu_si512(to + i, (__m512i)_mm512_cvtne2ps_pbh((__m512)load(from + i + LANES), (__m512)load(from + i)));
#else
    for (; i + LANES <= count; i += LANES) {
        Halves h = __builtin_convertvector((Bits)load(from + i) >> 16, Halves);
        memcpy(to + i, &h, sizeof h);
    }
#endif
    for (; i < count; i += LANES) store(to + i, load(from + i, count - i), count - i);
}

// A row as a cache keeps it. Of 8 bits: `scale` times whole numbers up to 127; not a number if any of `from` is none.
template <class P, class T> inline void narrow(P* to, float*, const T* from, long count) { convert(to, from, count); }
template <class T> inline void narrow(int8_t* to, float* scale, const T* from, long count) {
    Vec best = {}, poison = {};
    for (long i = 0; i < count; i += LANES) {
        Vec x = load(from + i, count - i);
        best = greater(best, (Vec)((Bits)x & 0x7fffffff));
        poison = fma(x, Vec{}, poison);
    }
    float most = peak(best), inverse = most > 1e-30f ? 127.0f / most : 0.0f;
    *scale = (most > 1e-30f ? most / 127.0f : 0.0f) + sum(poison);
    for (long i = 0; i < count; i += LANES) {
        Ints whole = (Ints)(load(from + i, count - i) * inverse + 12582912.0f);  // to nearest, in the lowest bits
        Bytes b = __builtin_convertvector(whole, Bytes);
        memcpy(to + i, &b, count - i < LANES ? count - i : LANES);
    }
}
