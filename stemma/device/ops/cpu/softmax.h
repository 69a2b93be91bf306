// What a draw and log-probabilities share: blocks of a row, its largest logit, and the weights e^(x - largest).
//
// A row is worked on in blocks, whose sums are added in ascending order. A sum has 16 columns whatever the width of a
// vector, so that not even the instruction set can be seen in the bits.
#pragma once
#include <math.h>

#include <initializer_list>

#include "integers.h"

typedef double Doubles __attribute__((vector_size(BYTES)));
typedef float HalfVec __attribute__((vector_size(BYTES / 2)));

constexpr long BLOCK = 2048;
constexpr int COLUMNS = 16;
constexpr int HALF = LANES / 2;

inline long blocks_of(long count) { return (count + BLOCK - 1) / BLOCK; }

// Calls work(block, begin, end) for each block of a row, on several threads where that is worth it.
template <class F> inline void each_block(long count, int threads, F&& work) {
    long blocks = blocks_of(count);
    threads = worth(threads, count);
    parallel(threads, [&](int thread) {
        Share share(blocks, thread, threads);
        for (long b = share.begin; b < share.end; b++)
            work(b, b * BLOCK, count < (b + 1) * BLOCK ? count : (b + 1) * BLOCK);
    });
}

// A vector of which only `count` elements are there; the others are minus infinity.
inline Vec load_or_never(const float* p, long count) {
    if (count >= LANES) return load(p);
    float lanes[LANES];
    for (float& lane : lanes) lane = -INFINITY;
    memcpy(lanes, p, count * 4);
    return load(lanes);
}

// Whether a <= b in any lane.
inline bool any_at_most(Vec a, Vec b) {
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LE_OQ) != 0;
#elif defined(__AVX2__)
    return _mm256_movemask_ps((__m256)(a <= b)) != 0;
#else
    Ints mask = a <= b;
    uint64_t words[2];
    memcpy(words, &mask, sizeof words);
    return words[0] | words[1];
#endif
}

inline float next_float(float x) { return nextafterf(x, INFINITY); }

// The lower half of a vector (0), or the upper (1).
inline Doubles widened(Vec x, int half) {
#if defined(__AVX512F__)
    return (Doubles)_mm512_cvtps_pd(half ? _mm512_extractf32x8_ps((__m512)x, 1) : _mm512_castps512_ps256((__m512)x));
#else
    HalfVec halves[2];
    memcpy(halves, &x, sizeof x);
    return __builtin_convertvector(halves[half], Doubles);
#endif
}

constexpr int LINES = 4;  // of COLUMNS, added in float32

// A sum of weights in columns. each(i, there) is that of the elements from i on, LANES of them, of which `there` are there.
struct Sum {
    Doubles columns[2 * COLUMNS / LANES] = {};

    void add_to(int c, Vec few) {
        columns[2 * c / LANES] += widened(few, 0);
        columns[2 * c / LANES + 1] += widened(few, 1);
    }

    template <class F> void add(long count, F&& each) {
        constexpr std::integral_constant<long, LANES> ALL = {};  // no vector of whole lines needs to ask
        long i = 0;
        for (; i + LINES * COLUMNS <= count; i += LINES * COLUMNS)
            for (int c = 0; c < COLUMNS; c += LANES) {
                Vec few = {};
                for (int line = 0; line < LINES; line++) few += each(i + line * COLUMNS + c, ALL);
                add_to(c, few);
            }
        for (int c = 0; c < COLUMNS && i < count; c += LANES) {
            Vec few = {};
            for (long at = i + c; at < count; at += COLUMNS) few += each(at, count - at);
            add_to(c, few);
        }
    }

    double total() const {
        double sum = 0;
        for (const Doubles& column : columns)
            for (int lane = 0; lane < HALF; lane++) sum += column[lane];
        return sum;
    }
};

// a * b + c with one rounding, also where no instruction does that.
inline Vec fused(Vec a, Vec b, Vec c) {
#if defined(__AVX2__) || defined(__aarch64__)
    return fma(a, b, c);
#else
    Vec sums;  // the second rounding, from double, shows once in 2^29
    for (int i = 0; i < LANES; i++) sums[i] = (float)((double)a[i] * b[i] + c[i]);
    return sums;
#endif
}

// e^y of y <= 0 within 2 ulp, exactly 1 at 0, and 0 where it would be below 1.7e-38.
inline Vec weight(Vec y) {
    Vec magic = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer, which its lowest bits then are
    Vec shifted = fused(y, broadcast(1.44269504f), magic);
    Vec n = shifted - magic;
    Vec r = fused(n, broadcast(-0.693145752f), y);
    r = fused(n, broadcast(-1.42860677e-6f), r);
    Vec p = fused(r, broadcast(1.9875691e-4f), broadcast(1.3981999e-3f));
    p = fused(p, r, broadcast(8.3334519e-3f));
    p = fused(p, r, broadcast(4.1665796e-2f));
    p = fused(p, r, broadcast(1.6666665e-1f));
    p = fused(p, r, broadcast(5.0000001e-1f));
    p = fused(p, r * r, r + 1.0f);
    Vec scaled = (Vec)((Bits)p + ((Bits)shifted << 23));
    return select(y < -87.0f, Vec{}, scaled);
}

// The sum of the weights of a block; put(i, weights, there) takes LANES elements at a time.
template <class Put> inline double weigh(const float* x, long count, float largest, float divisor, Put&& put) {
    Sum mass;
    mass.add(count, [&](long i, auto there) {
        Vec weights = weight((load_or_never(x + i, there) - largest) / divisor);
        put(i, weights, there);
        return weights;
    });
    return mass.total();
}

struct Largest {
    float value;
    bool is_finite;  // all of them
};

inline Largest largest_of(const float* x, long count) {
    constexpr int CHAINS = 4;
    Vec most_of[CHAINS], zeros[CHAINS] = {};
    for (Vec& m : most_of) m = broadcast(-INFINITY);
    long i = 0;
    for (; i + CHAINS * LANES <= count; i += CHAINS * LANES)
        for (int c = 0; c < CHAINS; c++) {
            Vec v = load(x + i + c * LANES);
            most_of[c] = larger(v, most_of[c]);  // a NaN is not larger
            zeros[c] += v * 0.0f;                // no zero when v is not finite
        }
    for (int c = 1; c < CHAINS; c++) {
        most_of[0] = larger(most_of[c], most_of[0]);
        zeros[0] += zeros[c];
    }
    Largest found = {most(most_of[0]), sum(zeros[0]) == 0};
    for (; i < count; i++) {
        found.value = x[i] > found.value ? x[i] : found.value;
        found.is_finite &= x[i] * 0.0f == 0;
    }
    return found;
}

// -ln u within 1e-9 of its value, of operations that have one right rounding; those of the plain-torch reference.
inline double minus_log(double u) {
    int exponent;
    double mantissa = frexp(u, &exponent);
    if (mantissa < 0.70710678118654757) {  // now around 1, where the series is short
        mantissa *= 2;
        exponent--;
    }
    double s = (mantissa - 1) / (mantissa + 1), square = s * s, series = 1.0 / 11;
    for (double odd : {9.0, 7.0, 5.0, 3.0, 1.0}) series = series * square + 1 / odd;
    return exponent * -0.69314718055994529 - 2 * s * series;
}
