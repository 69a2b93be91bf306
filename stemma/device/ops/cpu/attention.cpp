// Paged attention for any number of queries of any number of rows.
//
// Keys are taken in blocks of PANEL positions, at fixed absolute positions, in ascending order, with a running maximum.
// A block of which a query sees nothing changes nothing of its answer, so queries of different reach share a tile.
// Work is (span, tile of queries, key head); a key head's queries stand together, so a block is read once for all.
#include <math.h>

#include "product.h"

namespace {

struct Span {
    int64_t start, count, token, page;  // positions, the first one's place in the step, the first page's in the table
};

template <class T, class P> struct Kinds {
    typedef Floats Kind;
    typedef float Number;  // keys are widened to it
};
template <> struct Kinds<bf16, bf16> {
    typedef Pairs Kind;
    typedef bf16 Number;
};

template <class To, class From> inline void convert(To* to, const From* from, long width) {
    for (long i = 0; i < width; i += LANES) store(to + i, load(from + i, width - i), width - i);
}
template <> inline void convert(bf16* to, const bf16* from, long width) { memcpy(to, from, width * sizeof *to); }
template <> inline void convert(float* to, const float* from, long width) { memcpy(to, from, width * sizeof *to); }

inline long multiple(long x, long of) { return (x + of - 1) / of * of; }

template <class T, class P> struct Attention {
    typedef typename Kinds<T, P>::Kind Kind;
    typedef typename Kinds<T, P>::Number Number;
    typedef typename Kind::X X;

    T* out;
    const T *q, *k, *v;
    P *keys, *values;
    const int64_t *slots, *pages;
    const Span* spans;
    long num_spans, q_stride, k_stride, v_stride, heads, kv_heads, width, page_size, window;
    float scale;
    long group = heads / kv_heads;
    long tile = 48 / group ? 48 / group : 1;  // queries
    long steps = (width * sizeof(Number) + 3) / 4;
    long wide = multiple(width, VECS * LANES);  // of values

    // What a thread works on.
    struct Desk {
        X* q;            // [rows, steps]
        Number* near;    // keys of a block, [PANEL, whole units]
        float* panel;    // the same, packed
        float* values;   // [PANEL, wide]
        float* shares;   // [rows, PANEL]: scores, then what is made of them
        float* answer;   // [rows, wide], not yet divided by `weight`
        float *maximum, *weight, *fade;  // [rows]
    };

    void write(long token) const {
        long row = kv_heads * width;
        convert(keys + slots[token] * row, k + token * k_stride, row);
        convert(values + slots[token] * row, v + token * v_stride, row);
    }

    Desk desk() const {
        long rows = tile * group;
        size_t parts[] = {rows * steps * sizeof(X), PANEL * steps * 4ul, PANEL * steps * 4ul, PANEL * wide * 4ul,
                          rows * PANEL * 4ul,       rows * wide * 4ul,   rows * 4ul,          rows * 4ul,
                          rows * 4ul};
        char* at[9];
        size_t bytes = 0;
        for (int i = 0; i < 9; i++) bytes += multiple(parts[i], 64);
        at[0] = (char*)scratch(2, bytes);
        for (int i = 1; i < 9; i++) at[i] = at[i - 1] + multiple(parts[i - 1], 64);
        return {(X*)at[0],     (Number*)at[1], (float*)at[2], (float*)at[3], (float*)at[4],
                (float*)at[5], (float*)at[6],  (float*)at[7], (float*)at[8]};
    }

    // The first position that a query sees.
    long oldest(long position) const { return window && position >= window ? position - window + 1 : 0; }

    // Calls run(span, first query, queries, first block, end of blocks, head) for this thread's share of the cost.
    template <class F> void each(int thread, int threads, F&& run) const {
        long cost = 0, all = 0;
        for (int pass = 0; pass < 2; pass++)
            for (long s = 0; s < num_spans; s++)
                for (long first = 0; first < spans[s].count; first += tile) {
                    long queries = spans[s].count - first < tile ? spans[s].count - first : tile;
                    long begin = oldest(spans[s].start + first) / PANEL;
                    long end = (spans[s].start + first + queries + PANEL - 1) / PANEL;
                    for (long head = 0; head < kv_heads; head++) {
                        long own = (end - begin) * (queries * group + 16);
                        if (pass == 0) {
                            all += own;
                            continue;
                        }
                        if ((cost + own / 2) * threads / all == thread) run(spans[s], first, queries, begin, end, head);
                        cost += own;
                    }
                }
    }

    // Where positions lie, one after the other, for one head.
    struct Walk {
        const Attention& all;
        const int64_t* page;
        long offset, left, head;
        Walk(const Attention& all, const Span& span, long position, long head)
            : all(all), page(all.pages + span.page + position / all.page_size), offset(position % all.page_size),
              left(span.start + span.count - position), head(head) {}
        long here() const { return ((*page * all.page_size + offset) * all.kv_heads + head) * all.width; }
        void step() {
            left--;
            if (++offset == all.page_size) offset = 0, page++;
        }
    };

    void prefetch(const P* row) const {
        for (long i = 0; i < width * (long)sizeof(P); i += 64) __builtin_prefetch((const char*)row + i, 0, 2);
    }

    // Keys and values of a block; what lies behind the end of its row reads as zero, whatever was left there.
    // Memory answers late: each position asks for that of `next`, which is read after this block.
    void fetch(const Desk& desk, Walk block, Walk next) const {
        for (long j = 0; j < PANEL; j++, block.step(), next.step()) {
            Number* key = desk.near + j * (steps * 4 / sizeof(Number));
            float* value = desk.values + j * wide;
            if (next.left > 0) {
                long then = next.here();
                prefetch(keys + then);
                prefetch(values + then);
            }
            if (block.left <= 0) {
                memset(key, 0, steps * 4);
                memset(value, 0, wide * 4);
                continue;
            }
            long at = block.here();
            if (width * sizeof(Number) % 4) key[width] = Number{};
            convert(key, keys + at, width);
            for (long i = 0; i < wide; i += LANES)
                store(value + i, i < width ? load(values + at + i, width - i) : Vec{});
        }
        turn((uint32_t*)desk.panel, (const uint32_t*)desk.near, steps, PANEL, steps);
    }

    // Scores to shares: [low, high) of the block is seen.
    void soften(const Desk& desk, long row, long low, long high) const {
        float* score = desk.shares + row * PANEL;
        Ints lane;
        for (int i = 0; i < LANES; i++) lane[i] = i;
        Vec none = broadcast(-INFINITY), best = none;
        for (int j = 0; j < PANEL; j += LANES) {
            Ints at = lane + j;
            Ints seen = (at >= (int)low) & (at < (int)high);
            Vec x = select(seen, load(score + j) * scale, none);
            best = larger(x, best);
            store(score + j, x);
        }
        float before = desk.maximum[row], now = most(best);
        if (!(now > before)) now = before;
        bool nothing = now == -INFINITY;
        Vec total = {}, top = broadcast(nothing ? 0.0f : now);
        for (int j = 0; j < PANEL; j += LANES) {
            Vec share = select(load(score + j) == none, Vec{}, exponential(load(score + j) - top));
            total += share;
            store(score + j, share);
        }
        float fade = nothing ? 1.0f : before == -INFINITY ? 0.0f : exponential(broadcast(before - now))[0];
        desk.fade[row] = fade;
        desk.maximum[row] = now;
        desk.weight[row] = desk.weight[row] * fade + sum(total);
    }

    template <int R> void mix(const Desk& desk, long row) const {
        const float* shares[R];
        for (int r = 0; r < R; r++) shares[r] = desk.shares + (row + r) * PANEL;
        for (long column = 0; column < wide; column += VECS * LANES) {
            Vec sums[R][VECS] = {};
            multiply<Floats, R, VECS>(shares, desk.values + column, wide, PANEL, sums, Ahead{});
            for (int r = 0; r < R; r++)
                for (int i = 0; i < VECS; i++) {
                    float* answer = desk.answer + (row + r) * wide + column + i * LANES;
                    store(answer, fma(load(answer), broadcast(desk.fade[row + r]), sums[r][i]));
                }
        }
    }

    void unit(const Desk& desk, const Span& span, long first, long queries, long begin, long end, long head) const {
        long rows = queries * group;
        for (long r = 0; r < rows; r++) {
            const T* from = q + (span.token + first + r / group) * q_stride + (head * group + r % group) * width;
            Number wider[sizeof(Number) == sizeof(T) ? 1 : 1024];
            if constexpr (sizeof(Number) == sizeof(T)) {
                as_steps(desk.q + r * steps, (const Number*)from, width, steps);
            } else {
                for (long i = 0; i < width; i += 1024) {
                    long count = width - i < 1024 ? width - i : 1024;
                    convert(wider, from + i, count);
                    as_steps(desk.q + r * steps + i, wider, count, count);
                }
            }
            desk.maximum[r] = -INFINITY;
            desk.weight[r] = 0;
            memset(desk.answer + r * wide, 0, wide * 4);
        }
        for (long block = begin; block < end; block++) {
            bool is_last = block + 1 == end;
            Walk next(*this, span, (is_last ? begin : block + 1) * PANEL, is_last ? (head + 1) % kv_heads : head);
            fetch(desk, Walk(*this, span, block * PANEL, head), next);
            product<Kind>(desk.q, steps, rows, desk.panel, steps, desk.panel,
                          [&](long row, int column, Vec sums) { store(desk.shares + row * PANEL + column, sums); });
            for (long r = 0; r < rows; r++) {
                long position = span.start + first + r / group, base = block * PANEL;
                long low = oldest(position) - base, high = position + 1 - base;
                soften(desk, r, low < 0 ? 0 : low > PANEL ? PANEL : low, high > PANEL ? PANEL : high);
            }
            long r = 0;
            for (; r + ROWS <= rows; r += ROWS) mix<ROWS>(desk, r);
            for (; r < rows; r++) mix<1>(desk, r);
        }
        for (long r = 0; r < rows; r++) {
            T* to = out + (span.token + first + r / group) * heads * width + (head * group + r % group) * width;
            Vec weight = broadcast(desk.weight[r]);
            for (long i = 0; i < width; i += LANES)
                store(to + i, load(desk.answer + r * wide + i) / weight, width - i);
        }
    }

    void run(long tokens, int threads) const {
        int writers = worth(threads, tokens * kv_heads * width);
        parallel(writers, [&](int thread) {
            Share share(tokens, thread, writers);
            for (long t = share.begin; t < share.end; t++) write(t);
        });
        long keys_read = 0;
        for (long s = 0; s < num_spans; s++) keys_read += spans[s].start + spans[s].count;
        threads = worth(threads, keys_read * kv_heads * width / 2);
        parallel(threads, [&](int thread) {
            Desk own = desk();
            each(thread, threads, [&](const Span& span, long first, long queries, long begin, long end, long head) {
                unit(own, span, first, queries, begin, end, head);
            });
        });
    }
};

}  // namespace

#define ATTEND(T, P, name)                                                                                            \
    OP void name(T* out, const T* q, const T* k, const T* v, P* keys, P* values, const int64_t* slots,                \
                 const int64_t* pages, const Span* spans, long num_spans, long tokens, long q_stride, long k_stride,  \
                 long v_stride, long heads, long kv_heads, long width, long page_size, long window, float scale,      \
                 int threads) {                                                                                       \
        Attention<T, P> one = {out,      q,        k,        v,     keys,     values, slots,     pages,  spans,       \
                               num_spans, q_stride, k_stride, v_stride, heads, kv_heads, width, page_size, window,    \
                               scale};                                                                                \
        one.run(tokens, threads);                                                                                     \
    }                                                                                                                 \
    REPLAYABLE(name)
ATTEND(float, float, attend_float32_float32)
ATTEND(float, bf16, attend_float32_bfloat16)
ATTEND(bf16, float, attend_bfloat16_float32)
ATTEND(bf16, bf16, attend_bfloat16_bfloat16)
