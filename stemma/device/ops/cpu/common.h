// What all native bodies share: vectors of the width that the build asks for, bfloat16, tails, the pool of threads.
//
// A body may not let a row's bits depend on other rows or on the number of threads: every sum has one order, an
// element is computed by the same instructions wherever it stands, and contraction of products into sums is written
// (fma), never left to the compiler.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX2__)
#define BYTES 32
#else
#define BYTES 16
#endif

typedef float Vec __attribute__((vector_size(BYTES)));
typedef uint32_t Bits __attribute__((vector_size(BYTES)));
typedef int32_t Ints __attribute__((vector_size(BYTES)));
typedef uint16_t Halves __attribute__((vector_size(BYTES / 2)));

constexpr int LANES = BYTES / 4;
constexpr int PANEL = 64;  // outputs of a packed panel, keys of a block of attention

struct bf16 {
    uint16_t bits;
};

inline Vec broadcast(float x) { return x - Vec{}; }
inline Vec select(Ints mask, Vec yes, Vec no) { return mask ? yes : no; }
inline Vec larger(Vec a, Vec b) { return select(a > b, a, b); }

inline Vec fma(Vec a, Vec b, Vec c) {
#if defined(__AVX512F__)
    return (Vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
    return (Vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
    return (Vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

// Positions [start, start + count) of a row are computed; `draws`: the token behind them is drawn.
struct SpanOfRow {
    int64_t row, start, count, draws;
};

// A whole vector from memory, to memory.
inline Vec load(const float* p) {
    Vec x;
    memcpy(&x, p, sizeof x);
    return x;
}
inline Vec load(const bf16* p) {
    Halves h;
    memcpy(&h, p, sizeof h);
    return (Vec)(__builtin_convertvector(h, Bits) << 16);
}
inline void store(float* p, Vec x) { memcpy(p, &x, sizeof x); }
// Rounded to nearest, ties to even; a bfloat16 is the upper half of each lane, whatever stands in the lower one.
inline Bits halved(Vec x) {
    Bits u = (Bits)x;
    return x == x ? u + 0x7fff + (u >> 16 & 1) : u | 0x400000;
}
inline void store(bf16* p, Vec x) {
    Halves h = __builtin_convertvector(halved(x) >> 16, Halves);
    memcpy(p, &h, sizeof h);
}
// The first `count` lanes; the others read as zero.
template <class T> inline Vec load(const T* p, long count) {
    if (count >= LANES) return load(p);
    T lanes[LANES] = {};
    memcpy(lanes, p, count * sizeof(T));
    return load(lanes);
}
template <class T> inline void store(T* p, Vec x, long count) {
    if (count >= LANES) return store(p, x);
    T lanes[LANES];
    store(lanes, x);
    memcpy(p, lanes, count * sizeof(T));
}
// What x becomes when it is kept as a T.
inline Vec rounded(Vec x, const float*) { return x; }
inline Vec rounded(Vec x, const bf16*) { return (Vec)(halved(x) & 0xffff0000); }
inline float widened(float x) { return x; }
inline float widened(bf16 x) {
    uint32_t u = (uint32_t)x.bits << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

// Lanes in ascending order.
inline float sum(Vec x) {
    float s = x[0];
    for (int i = 1; i < LANES; i++) s += x[i];
    return s;
}
inline float most(Vec x) {
    float m = x[0];
    for (int i = 1; i < LANES; i++) m = x[i] > m ? x[i] : m;
    return m;
}

// e^x within 2 ulp; exactly 1 at 0, 0 below -87.3, infinite above 88.7; a NaN stays one.
inline Vec exponential(Vec x) {
    const float low = -87.33654f, high = 88.72283f;
#if defined(__AVX512F__)
    Vec y = (Vec)_mm512_min_ps(_mm512_set1_ps(high), _mm512_max_ps(_mm512_set1_ps(low), (__m512)x));
#else
    Vec y = select(x < low, broadcast(low), select(x > high, broadcast(high), x));
#endif
    Vec magic = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
    Vec n = (fma(y, broadcast(1.44269504f), magic)) - magic;
    Vec r = fma(n, broadcast(-0.693145752f), y);
    r = fma(n, broadcast(-1.42860677e-6f), r);
    Vec p = broadcast(1.9875691e-4f);
    p = fma(p, r, broadcast(1.3981999e-3f));
    p = fma(p, r, broadcast(8.3334519e-3f));
    p = fma(p, r, broadcast(4.1665796e-2f));
    p = fma(p, r, broadcast(1.6666665e-1f));
    p = fma(p, r, broadcast(5.0000001e-1f));
    p = fma(p, r * r, r + 1.0f);
#if defined(__AVX512F__)
    Vec scaled = (Vec)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    Ints half = __builtin_convertvector(n, Ints) >> 1;  // in two steps: 2^128 is no float
    Ints rest = __builtin_convertvector(n, Ints) - half;
    Vec scaled = p * (Vec)((half + 127) << 23) * (Vec)((rest + 127) << 23);
#endif
    scaled = select(x < low, Vec{}, select(x > high, broadcast(__builtin_inff()), scaled));
    return select(x == x, scaled, x);
}

// A share of [0, count) for one of several threads: contiguous, in ascending order.
struct Share {
    long begin, end;
    Share(long count, int thread, int threads) : begin(count * thread / threads), end(count * (thread + 1) / threads) {}
};

// How many threads are worth waking: `work` is in the time that an element of a norm takes.
inline int worth(int threads, long work) {
    long most = work / 2048;
    return most < 1 ? 1 : most < threads ? (int)most : threads;
}

// Calls work(thread) once for each thread in [0, threads), the caller's own being 0; returns when all are done.
void run_on_threads(int threads, void (*work)(void* with, int thread), void* with);

template <class F> inline void parallel(int threads, F&& work) {
    if (threads <= 1) return work(0);
    run_on_threads(threads, [](void* with, int thread) { (*(F*)with)(thread); }, &work);
}

// Memory of this thread that keeps its size between calls; what was in it is lost. `slot` tells users apart.
void* scratch(int slot, size_t bytes);

#define OP extern "C" __attribute__((visibility("default")))

// A call that was written down: every argument is 8 bytes, whatever its type.
template <class A> inline A argument(int64_t bits) {
    if constexpr (sizeof(A) == 8) {
        return (A)bits;
    } else {
        A value;
        memcpy(&value, &bits, sizeof value);
        return value;
    }
}
template <class... A, size_t... I>
inline void call(void (*op)(A...), const int64_t* arguments, std::index_sequence<I...>) {
    op(argument<A>(arguments[I])...);
}
template <class... A> inline void call(void (*op)(A...), const int64_t* arguments) {
    call(op, arguments, std::index_sequence_for<A...>());
}
// Beside an op NAME that a step makes stands NAME_replayed, which takes such arguments.
#define REPLAYABLE(name) \
    OP void name##_replayed(const int64_t* arguments) { call(name, arguments); }
