// Rows of a packed table, and of a plain one.
#include "common.h"

// `units` of 4 bytes make a row; the last may be half a one, so `bytes` are copied.
OP void embed(char* out, const int64_t* tokens, const uint32_t* packed, long rows, long units, long bytes,
              int threads) {
    threads = worth(threads, rows * units * 4);
    parallel(threads, [&](int thread) {
        Share share(rows, thread, threads);
        for (long r = share.begin; r < share.end; r++) {
            const uint32_t* from = packed + tokens[r] / PANEL * units * PANEL + tokens[r] % PANEL;
            for (long k = 0; k < units; k++) {
                long left = bytes - k * 4;
                memcpy(out + r * bytes + k * 4, from + k * PANEL, left < 4 ? left : 4);
            }
        }
    });
}

OP void take(char* out, const char* from, const int64_t* places, long rows, long bytes, int threads) {
    threads = worth(threads, rows * bytes / 4);
    parallel(threads, [&](int thread) {
        Share share(rows, thread, threads);
        for (long r = share.begin; r < share.end; r++) memcpy(out + r * bytes, from + places[r] * bytes, bytes);
    });
}

REPLAYABLE(embed)
REPLAYABLE(take)
