// What attention needs of vectors for its softmax, in as few instructions as the processor has for it.
#pragma once
#include <math.h>

#include "common.h"

// The larger of each; b where one of them is a NaN.
inline Vec greater(Vec a, Vec b) {
#if defined(__AVX512F__)
    return (Vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (Vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return select(a > b, a, b);
#endif
}

// The largest lane.
inline float peak(Vec x) {
#if defined(__AVX512F__)
    return _mm512_reduce_max_ps((__m512)x);
#else
    return most(x);
#endif
}

// 2^x for x <= 0, within 3 ulp; exactly 1 at 0, exactly 0 below -150; a NaN stays one.
inline Vec power_of_two(Vec x) {
    Vec magic = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
    Vec y = greater(broadcast(-200.0f), x), shifted = y + magic, r = y - (shifted - magic);
    Vec p = broadcast(1.32647273e-3f);
    p = fma(p, r, broadcast(9.67151299e-3f));
    p = fma(p, r, broadcast(5.55073358e-2f));
    p = fma(p, r, broadcast(2.40222424e-1f));
    p = fma(p, r, broadcast(6.93147004e-1f));
    p = fma(p, r, broadcast(1.0f));
#if defined(__AVX512F__)
    return (Vec)_mm512_scalef_ps((__m512)p, (__m512)(shifted - magic));
#else
    return select(y < -126.0f, Vec{}, (Vec)((Ints)p + ((Ints)shifted << 23)));
#endif
}
