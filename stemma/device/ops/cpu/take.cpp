// Rows of a table that is not packed.
#include "common.h"

OP void take(char* out, const char* from, const int64_t* places, long rows, long bytes, int threads) {
    threads = worth(threads, rows * bytes / 4);
    parallel(threads, [&](int thread) {
        Share share(rows, thread, threads);
        for (long r = share.begin; r < share.end; r++) memcpy(out + r * bytes, from + places[r] * bytes, bytes);
    });
}

REPLAYABLE(take)
