// Numbers kept as integers: how they are made, and how their products are summed.
//
// x is kept as rint(x * levels / m), m being the largest magnitude of its row. Sums of products of such numbers are
// integers, so they are exact in any order, and equal bits come from every instruction set.
#pragma once
#include "product.h"

typedef int8_t Octets __attribute__((vector_size(LANES)));
typedef int16_t Shorts __attribute__((vector_size(LANES * 2)));

inline Ints greater(Ints a, Ints b) {
#if defined(__AVX512F__)
    return (Ints)_mm512_max_epi32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (Ints)_mm256_max_epi32((__m256i)a, (__m256i)b);
#else
    Ints above = a > b;
    return (a & above) | (b & ~above);
#endif
}
inline int32_t peak(Ints x) {
#if defined(__AVX512F__)
    return _mm512_reduce_max_epi32((__m512i)x);
#else
    int32_t top = x[0];
    for (int i = 1; i < LANES; i++) top = x[i] > top ? x[i] : top;
    return top;
#endif
}

// The largest magnitude of what at(0), at(LANES) and so on are; a NaN, if there is one, is the largest of all.
template <class F> inline float magnitude_of(long count, F&& at) {
    Ints most = {};
    for (long i = 0; i < count; i += LANES) most = greater(most, (Ints)((Bits)at(i) & 0x7fffffff));
    int32_t top = peak(most);
    float found;
    memcpy(&found, &top, 4);
    return found;
}
template <class T> inline float magnitude(const T* x, long count) {
    return magnitude_of(count, [&](long i) { return load(x + i, count - i); });
}

// `levels` / most; 0 where nothing can be told apart.
inline float inverse(float levels, float most) { return most >= 1e-30f && most <= 3e38f ? levels / most : 0.0f; }

// To the nearest integer, ties to even; for magnitudes below 2^22.
inline Ints nearest(Vec x) { return (Ints)(x + 12582912.0f) - 0x4b400000; }

inline Vec as_floats(Ints x) { return __builtin_convertvector(x, Vec); }
inline Vec as_floats(Vec x) { return x; }

inline long whole(long count) { return (count + LANES - 1) / LANES * LANES; }

// Integers up to `levels` of the type of `to`. Fills whole(count) of them, zeros behind the last; returns what 1 stands
// for: not a number, or infinite, when any of them is.
template <class Vector, class To, class F> inline float quantise_as(To* to, long count, float levels, F&& at) {
    float most = magnitude_of(count, at), scale = inverse(levels, most);
    for (long i = 0; i < count; i += LANES) {
        Vector q = __builtin_convertvector(nearest(at(i) * scale), Vector);
        memcpy(to + i, &q, sizeof q);
    }
    return most / levels;
}
template <class T> inline float quantise(int8_t* to, const T* x, long count) {
    return quantise_as<Octets>(to, count, 127.0f, [&](long i) { return load(x + i, count - i); });
}
template <class T> inline float quantise(int16_t* to, const T* x, long count, float levels) {
    return quantise_as<Shorts>(to, count, levels, [&](long i) { return load(x + i, count - i); });
}

// sum + two products of 16 bits.
inline Ints add_pairs(Ints sum, Ints a, Ints b) {
#if defined(__AVX512VNNI__)
    return (Ints)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
#elif defined(__AVX512BW__)
    return sum + (Ints)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return sum + (Ints)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__x86_64__)
    return sum + (Ints)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
    return sum + ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16);
#endif
}

// A unit of two numbers of 8 bits meets two of 16 bits: it is widened on its way from memory.
struct Narrow {
    typedef int32_t X;
    typedef Ints Sum;
    typedef uint16_t Stored;
    static Ints take(const Stored* p) {
#if defined(__AVX512BW__)
        return (Ints)_mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i*)p));
#elif defined(__AVX2__)
        return (Ints)_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)p));
#else
        typedef int8_t Numbers __attribute__((vector_size(LANES * 2)));
        typedef int16_t Wide __attribute__((vector_size(LANES * 4)));
        Numbers numbers;
        memcpy(&numbers, p, sizeof numbers);
        return (Ints)__builtin_convertvector(numbers, Wide);
#endif
    }
    static Ints step(Ints sum, Ints unit, X x) { return add_pairs(sum, unit, x - Ints{}); }
};
