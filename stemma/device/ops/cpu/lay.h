// From the rows of a matrix to panels of units.
#pragma once
#include "product.h"

// Calls write(panel, begin, end) for all panels of the outputs [first, first + count): its columns [begin, end).
template <class Write> inline void each_panel(long first, long count, long inputs, int threads, Write&& write) {
    long before = first / PANEL, behind = (first + count + PANEL - 1) / PANEL;
    threads = worth(threads, count * inputs);
    parallel(threads, [&](int thread) {
        Share share(behind - before, thread, threads);
        for (long p = before + share.begin; p < before + share.end; p++) {
            long begin = first - p * PANEL, end = first + count - p * PANEL;
            write(p, begin > 0 ? begin : 0, end < PANEL ? end : PANEL);
        }
    });
}

// Columns [begin, end) of a panel from rows of units, `stride` apart.
inline void put_columns(uint32_t* panel, const uint32_t* units, long stride, long begin, long end, long steps) {
    if (begin == 0 && end == PANEL) return turn(panel, units, stride, PANEL, steps);
    for (long k = 0; k < steps; k++)
        for (long c = begin; c < end; c++) panel[k * PANEL + c] = units[c * stride + k];
}
