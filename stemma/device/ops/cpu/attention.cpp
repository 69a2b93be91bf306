// Paged attention for any number of queries of any number of rows.
//
// Keys are taken in blocks of BLOCK positions, at fixed absolute positions, in ascending order, with a running maximum;
// after SPLIT blocks, at fixed positions too, a new state begins, and states are combined in ascending order. A block
// of which a query sees nothing changes nothing of its answer, so queries of different reach share a tile, and rows
// that begin with the same pages look at them together (attention.h).
#include "cells.h"
#include "product.h"

namespace {

template <class T, class P> struct Kinds {
    typedef Floats Kind;
    typedef float Number;  // what keys and values are computed with
};
template <> struct Kinds<bf16, bf16> {
    typedef Pairs Kind;
    typedef bf16 Number;
};
template <> struct Kinds<bf16, int8_t> {
    typedef Narrow Kind;
    typedef int8_t Number;
};

// Shares of neighbours, as steps of a kind.
inline void lay(float* to, Vec x) { store(to, x); }
#if defined(__AVX512BF16__)
inline void lay(uint32_t* to, Vec x) { _mm256_storeu_si256((__m256i*)to, (__m256i)_mm512_cvtneps_pbh((__m512)x)); }
#else
inline void lay(Pairs::X* to, Vec x) { store((float*)to, x); }
#endif

constexpr int ahead_of(int rows) { return rows == 1 ? 8 : rows * 2 <= ROWS ? 2 * VECS : VECS; }  // vectors

template <class T, class P> struct Attention {
    typedef typename Kinds<T, P>::Kind Kind;
    typedef typename Kinds<T, P>::Number Number;
    typedef typename Kind::X X;
    typedef typename Kind::Sum Sum;
    typedef typename Kind::Stored Stored;
    static constexpr long PER = PER_UNIT<Number>, LINE = 64 / sizeof(Stored);  // numbers of a unit, units of a cache line
    static constexpr bool SCALED = std::is_same<P, int8_t>::value;
    static constexpr bool EXACT = std::is_same<Kind, Narrow>::value;  // sums are integers

    T* out;
    const T *q, *k, *v;
    P *keys, *values;
    const int64_t *slots, *words;
    long tokens, q_stride, k_stride, v_stride, heads, kv_heads, width, page_size, window_at, window;
    float scale;
    const Section& section = ((const Section*)(words + 1))[window_at];
    const Piece* pieces = (const Piece*)(words + section.pieces);
    const Run* runs = (const Run*)(words + section.runs);
    long group = heads / kv_heads, tile = group > TILE ? group : TILE;  // rows
    long steps = (width + PER - 1) / PER;
    long vectors = (width + LANES - 1) / LANES;
    long state = (vectors + 1) * LANES;  // floats of a row's state: weighted values, then lanes of the weight
    Cells<P, Number> cells = {keys, values, kv_heads, width, page_size};
    float query_levels = least(32767, ((1l << 31) - 1) / (127 * width));  // no sum of `width` products may overflow
    float sharpness = scale * 1.44269504f;  // powers of two are cheaper than those of e

    // What a thread works on.
    struct Desk : Shelf<Number> {
        X* q;                                // [tile, steps]
        float* scores;                       // [tile, BLOCK]
        X* shares;                           // [tile, BLOCK / PER]
        float *states, *totals;              // [tile, state]: of this part, and of the parts before
        float *maximum, *total_maximum;      // [tile]: of scores; -inf where nothing was seen
        float* fade;                         // [tile]
        float *query_scales, *share_scales;  // [tile]: what 1 stands for where sums are integers
        int64_t* positions;                  // [tile]
    };

    Desk desk() const {
        char* memory = nullptr;
        Desk d = {};
        for (int pass = 0; pass < 2; pass++) {
            size_t at = 0;
            auto take = [&](auto*& part, long count) {
                part = (std::remove_reference_t<decltype(part)>)(memory + at);
                at += multiple(count * sizeof *part, 64);
            };
            take(d.q, tile * steps + LANES);
            take(d.scores, tile * BLOCK);
            take(d.shares, tile * BLOCK / PER);
            take(d.states, tile * state);
            take(d.totals, tile * state);
            take(d.maximum, tile);
            take(d.total_maximum, tile);
            take(d.fade, tile);
            take(d.query_scales, tile);
            take(d.share_scales, tile);
            take(d.positions, tile);
            take(d.keys, BLOCK * steps * PER);
            take(d.values, BLOCK * (width + LANES));
            take(d.near, BLOCK * steps * PER);
            take(d.key_scales, BLOCK);
            take(d.value_scales, BLOCK);
            if (!memory) memory = (char*)scratch(2, at);
        }
        return d;
    }

    Spot spot(const Run& run, long block, long head) const {
        const Piece& first = pieces[run.first];
        return {(const int64_t*)first.pages, block, run.last - run.first > 1 ? (block + 1) * BLOCK : first.end(), head};
    }

    template <int R, int V, bool AHEAD>
    inline void dot(const X* const* q, const Block<Number>& block, const Block<Number>& next, long key,
                    float* scores) const {
        Sum sums[R][V] = {};
        const Stored* at[V];
        for (int v = 0; v < V; v++)
            at[v] = (const Stored*)block.keys[(key + v * LANES) / GROUP] + (key + v * LANES) % GROUP;
        // A few lines at a time: a burst of requests would have everything behind it wait. Groups with scales one after
        // the other: they end within a page of the processor, which reads on in every one that it is led to.
        constexpr long LINES = BLOCK / LINE;  // that a step stands for
        for (long g = 0, s = 0; g < GROUPS; g++) {
            const Stored* then = (const Stored*)next.keys[g];
            for (long end = steps * (g + 1) / GROUPS; s < end; s++) {
                Sum unit[V];
                for (int v = 0; v < V; v++) unit[v] = Kind::take(at[v] + s * GROUP);
                for (long i = 0; AHEAD && i < LINES; i++, then += LINE)
                    __builtin_prefetch(SCALED ? then : (const Stored*)next.keys[i] + s * LINE, 0, 2);
                for (int r = 0; r < R; r++)
                    for (int v = 0; v < V; v++) sums[r][v] = Kind::step(sums[r][v], unit[v], q[r][s]);
            }
            if (AHEAD && SCALED) __builtin_prefetch(next.key_scales[g], 0, 2);
        }
        for (int r = 0; r < R; r++)
            for (int v = 0; v < V; v++) store(scores + r * BLOCK + key + v * LANES, as_floats(sums[r][v]));
    }

    // Scores of R rows with the first `count` keys; `next` is asked of memory meanwhile.
    template <int R> void score(const Desk& desk, long row, const Block<Number>& block, const Block<Number>* next,
                                long count) const {
        constexpr int V = ahead_of(R) < BLOCK / LANES ? ahead_of(R) : BLOCK / LANES;
        const X* q[R];
        for (int r = 0; r < R; r++) q[r] = desk.q + (row + r) * steps;
        float* scores = desk.scores + row * BLOCK;
        long key = 0;
        if (next) dot<R, V, true>(q, block, *next, 0, scores), key = V * LANES;
        for (; key < count;)
            if (count - key > (V - 1) * LANES)
                dot<R, V, false>(q, block, block, key, scores), key += V * LANES;
            else
                dot<R, 1, false>(q, block, block, key, scores), key += LANES;
    }

    // Scores to shares: [low, high) of the block is seen.
    void soften(const Desk& desk, long row, const Block<Number>& block, long low, long high) const {
        constexpr int V = BLOCK / LANES;
        const Vec none = broadcast(-INFINITY), query_scale = broadcast(EXACT ? desk.query_scales[row] : 1.0f);
        Vec x[V], value_scales[V] = {}, best = none, total = {};
        for (int v = 0; v < V; v++) {
            x[v] = load(desk.scores + row * BLOCK + v * LANES);
            if (!SCALED) continue;
            x[v] *= block.key_scale(v * LANES) * query_scale;
            value_scales[v] = block.value_scale(v * LANES);
        }
        if (low > 0 || high < BLOCK) {
            Ints at;
            for (int i = 0; i < LANES; i++) at[i] = i;
            for (int v = 0; v < V; v++, at += LANES) {
                Ints is_seen = (at >= (int)low) & (at < (int)high);
                x[v] = select(is_seen, x[v], none);
                value_scales[v] = select(is_seen, value_scales[v], Vec{});
            }
        }
        for (const Vec& each : x) best = greater(best, each);
        float before = desk.maximum[row], now = peak(best);
        if (!(now > before)) now = before;
        Vec top = broadcast(now == -INFINITY ? 0.0f : now * -sharpness);
        float fade = before == -INFINITY ? 0.0f : power_of_two(broadcast((before - now) * sharpness))[0];
        for (int v = 0; v < V; v++) {
            x[v] = power_of_two(fma(x[v], broadcast(sharpness), top));
            total += x[v];
            if (SCALED) x[v] *= value_scales[v];
            if constexpr (!EXACT) lay(desk.shares + (row * BLOCK + v * LANES) / PER, x[v]);
        }
        if constexpr (EXACT)
            desk.share_scales[row] = quantise_as<Shorts>((int16_t*)(desk.shares + row * BLOCK / PER), BLOCK, 32767,
                                                         [&](long i) { return x[i / LANES]; });
        float* weight = desk.states + row * state + vectors * LANES;
        store(weight, fma(load(weight), broadcast(fade), total));
        desk.fade[row] = fade;
        desk.maximum[row] = now;
    }

    template <int R, int V, bool AHEAD>
    inline void mix(const Desk& desk, long row, long column, const Block<Number>& block, const Block<Number>& next,
                    long count) const {
        Sum sums[R][V] = {};
        float* states = desk.states + row * state + column;
        auto before = [&](int r, int v) { return load(states + r * state + v * LANES) * broadcast(desk.fade[row + r]); };
        if constexpr (!EXACT)
            for (int r = 0; r < R; r++)
                for (int v = 0; v < V; v++) sums[r][v] = before(r, v);
        const X* shares = desk.shares + row * (BLOCK / PER);
        for (long g = 0; g * GROUP < count; g++, shares += GROUP / PER) {
            long units = (least(GROUP, count - g * GROUP) + PER - 1) / PER;
            const Stored* at = (const Stored*)block.values[g] + column;
            const Stored* then = (const Stored*)next.values[g] + column;
            for (long s = 0; s < units; s++) {
                Sum unit[V];
                for (int v = 0; v < V; v++) unit[v] = Kind::take(at + s * width + v * LANES);
                if (AHEAD)
                    for (int i = 0; i < V * LANES; i += LINE) __builtin_prefetch(then + s * width + i, 0, 2);
                for (int r = 0; r < R; r++)
                    for (int v = 0; v < V; v++)
                        sums[r][v] = Kind::step(sums[r][v], unit[v], shares[r * (BLOCK / PER) + s]);
            }
            if (AHEAD && SCALED) __builtin_prefetch(next.value_scales[g], 0, 2);
        }
        for (int r = 0; r < R; r++)
            for (int v = 0; v < V; v++) {
                Vec sum;
                if constexpr (EXACT)
                    sum = fma(as_floats(sums[r][v]), broadcast(desk.share_scales[row + r]), before(r, v));
                else
                    sum = sums[r][v];
                store(states + r * state + v * LANES, sum);
            }
    }

    // Adds the first `count` values to the answers of R rows.
    template <int R> void add(const Desk& desk, long row, const Block<Number>& block, const Block<Number>* next,
                              long count) const {
        add_from<R, ahead_of(R)>(desk, row, 0, block, next, count);
    }
    // From this column on, V vectors at a time while there are so many.
    template <int R, int V> void add_from(const Desk& desk, long row, long column, const Block<Number>& block,
                                          const Block<Number>* next, long count) const {
        for (; vectors - column >= V; column += V)
            if (next)
                mix<R, V, true>(desk, row, column * LANES, block, *next, count);
            else
                mix<R, V, false>(desk, row, column * LANES, block, block, count);
        if constexpr (V > 1) add_from<R, V / 2>(desk, row, column, block, next, count);
    }

    // Calls run(number of rows as a constant, first row) for all rows, a few at a time.
    template <class F> static void by_rows(long first, long last, F&& run) {
        for (; last - first >= ROWS; first += ROWS) run(std::integral_constant<int, ROWS>{}, first);
        switch (last - first) {
            case 1: run(std::integral_constant<int, 1>{}, first); break;
#if defined(__AVX2__)
            case 2: run(std::integral_constant<int, 2>{}, first); break;
            case 3: run(std::integral_constant<int, 3>{}, first); break;
#endif
#if defined(__AVX512F__)
            case 4: run(std::integral_constant<int, 4>{}, first); break;
            case 5: run(std::integral_constant<int, 5>{}, first); break;
#endif
        }
    }

    // Rows [first, last) of the tile look at a block. `next` may be null.
    void look(const Desk& desk, long first, long last, const Spot& spot, const Block<Number>& block,
              const Block<Number>* next) const {
        long base = spot.block * BLOCK, count = spot.keys();
        auto seen = [&](long row, int rows) {
            long most = desk.positions[row];
            for (int r = 1; r < rows; r++) most = desk.positions[row + r] > most ? desk.positions[row + r] : most;
            return least(count, most + 1 - base);
        };
        by_rows(first, last, [&](auto rows, long row) {
            constexpr int R = decltype(rows)::value;
            score<R>(desk, row, block, row == first ? next : nullptr, seen(row, R));
        });
        for (long row = first; row < last; row++) {
            long position = desk.positions[row], oldest = window && position >= window ? position - window + 1 : 0;
            soften(desk, row, block, oldest - base, position + 1 - base);
        }
        by_rows(first, last, [&](auto rows, long row) {
            constexpr int R = decltype(rows)::value;
            add<R>(desk, row, block, row == first ? next : nullptr, seen(row, R));
        });
    }

    // Adds the state of a part to that of the parts before it.
    void fold(float* total, float* total_maximum, const float* part, float maximum) const {
        if (maximum == -INFINITY) return;
        float top = *total_maximum > maximum ? *total_maximum : maximum;
        float fade = *total_maximum == -INFINITY ? 0.0f
                                                 : power_of_two(broadcast((*total_maximum - top) * sharpness))[0];
        Vec gain = power_of_two(broadcast((maximum - top) * sharpness));
        for (long i = 0; i < state; i += LANES)
            store(total + i, fma(load(part + i), gain, load(total + i) * broadcast(fade)));
        *total_maximum = top;
    }

    void fold_rows(const Desk& desk, long first, long last) const {
        for (long r = first; r < last; r++) {
            fold(desk.totals + r * state, desk.total_maximum + r, desk.states + r * state, desk.maximum[r]);
            memset(desk.states + r * state, 0, state * 4);
            desk.maximum[r] = -INFINITY;
        }
    }

    void clear(float* states, float* maximum, long rows) const {
        memset(states, 0, rows * state * 4);
        for (long r = 0; r < rows; r++) maximum[r] = -INFINITY;
    }

    // Queries of a tile for one head, from this row of the desk on, and no state yet.
    void sit(const Desk& desk, const Unit& unit, long head, long row) const {
        for (long p = unit.first; p < unit.last; p++)
            for (long i = 0; i < pieces[p].queries * group; i++, row++) {
                const T* from = q + (pieces[p].token + i / group) * q_stride + (head * group + i % group) * width;
                desk.positions[row] = pieces[p].position + i / group;
                if constexpr (EXACT)
                    desk.query_scales[row] = quantise((int16_t*)(desk.q + row * steps), from, width, query_levels);
                else if constexpr (std::is_same<Number, T>::value)
                    as_steps(desk.q + row * steps, (const Number*)from, width, steps);
                else
                    convert((float*)(desk.q + row * steps), from, width);
            }
    }

    long rows(int64_t first, int64_t last) const {
        return pieces[last - 1].row + pieces[last - 1].queries * group - pieces[first].row;
    }

    void finish(const float* states, int64_t first, int64_t last, long head) const {
        for (long p = first; p < last; p++)
            for (long i = 0; i < pieces[p].queries * group; i++, states += state) {
                T* to = out + ((pieces[p].token + i / group) * heads + head * group + i % group) * width;
                Vec weight = broadcast(sum(load(states + vectors * LANES)));
                for (long c = 0; c < width; c += LANES) store(to + c, load(states + c) / weight, width - c);
            }
    }

    // A state in the memory that threads share: its floats, then its maximum.
    long record() const { return state + LANES; }
    float* partial(float* partials, long at, long head) const { return partials + (at * kv_heads + head) * record(); }

    void keep(const Desk& desk, const Unit& unit, long head, long row, float* partials) const {
        for (long r = 0; r < rows(unit.first, unit.last); r++, row++) {
            float* to = partial(partials, unit.partial + r, head);
            memcpy(to, desk.states + row * state, state * 4);
            to[state] = desk.maximum[row];
        }
    }

    void combine(const Desk& desk, const Fold& all, long head, float* partials) const {
        long count = rows(all.first, all.last);
        clear(desk.totals, desk.total_maximum, count);
        for (long r = 0; r < all.parts * count; r++) {
            const float* part = partial(partials, all.partial + r, head);
            fold(desk.totals + r % count * state, desk.total_maximum + r % count, part, part[state]);
        }
        finish(desk.totals, all.first, all.last, head);
    }

    // The first block that a unit looks at.
    Spot start(const Unit& unit, long head) const { return spot(runs[unit.run], runs[unit.run].begin, head); }

    // A unit's work for heads [begin, end), block by block, since heads lie side by side in a page: what the processor
    // fetches by itself behind one is what the next one needs.
    void work(const Desk& desk, const Unit& unit, long begin, long end, const Spot* after, float* partials) const {
        const long size = rows(unit.first, unit.last), all = (end - begin) * size;
        for (long head = begin; head < end; head++) sit(desk, unit, head, (head - begin) * size);
        clear(desk.states, desk.maximum, all);
        bool is_split = false;
        for (long r = unit.run; r < unit.last_run; r++) {
            const Run& run = runs[r];
            long first = pieces[run.first].row, last = first + rows(run.first, run.last);
            for (long block = run.begin; block < run.end; block++) {
                bool is_border = block % SPLIT == 0 && block > runs[unit.run].begin && unit.partial < 0;
                if (is_border && !is_split) clear(desk.totals, desk.total_maximum, all);
                is_split |= is_border;
                for (long head = begin; head < end; head++) {
                    long row = (head - begin) * size;
                    if (is_border) fold_rows(desk, row + first, row + last);
                    Spot here = spot(run, block, head), next = here;
                    bool has_next = true;
                    if (head + 1 < end)
                        next = spot(run, block, head + 1);
                    else if (block + 1 < run.end)
                        next = spot(run, block + 1, begin);
                    else if (r + 1 < unit.last_run)
                        next = spot(runs[r + 1], runs[r + 1].begin, begin);
                    else if (after)
                        next = *after;
                    else
                        has_next = false;
                    Block<Number> then, now = cells.fetch(desk, here, next);
                    bool is_ahead = has_next && cells.SAME && cells.is_grouped;
                    if constexpr (std::is_same<P, Number>::value)
                        if (is_ahead) then = cells.locate(next);
                    look(desk, row + first, row + last, here, now, is_ahead ? &then : nullptr);
                }
            }
        }
        if (is_split) fold_rows(desk, 0, all);
        for (long head = begin; head < end; head++) {
            long row = (head - begin) * size;
            if (unit.partial >= 0)
                keep(desk, unit, head, row, partials);
            else
                finish((is_split ? desk.totals : desk.states) + row * state, unit.first, unit.last, head);
        }
    }

    void run(int threads) const {
        int writers = least(kv_heads, worth(threads, tokens * kv_heads * width));
        parallel(writers, [&](int thread) {
            Share share(kv_heads, thread, writers);
            for (long head = share.begin; head < share.end; head++)
                cells.write(k, k_stride, v, v_stride, slots, tokens, head);
        });
        threads = worth(threads, section.cost * width * 4);
        float* partials = (float*)scratch(3, section.partials * kv_heads * record() * 4);
        const Unit* units = (const Unit*)(words + section.units);
        // Heads are worked on together where a tile has room for them and all threads have enough to do.
        long most = 1, turn = 0;
        for (long u = 0; u < section.num_units; u++) most = greatest(most, rows(units[u].first, units[u].last));
        long together = least(kv_heads, tile / most);
        while (together > 1 && section.num_units * kv_heads < 4 * threads * together) together = (together + 1) / 2;
        long shares = (kv_heads + together - 1) / together, count = section.num_units * shares;
        auto take = [&] { return __atomic_fetch_add(&turn, 1, __ATOMIC_RELAXED); };
        parallel(threads, [&](int) {
            Desk own = desk();
            for (long mine = take(), next; mine < count; mine = next) {
                next = take();
                Spot after;
                if (next < count) after = start(units[next / shares], next % shares * together);
                long head = mine % shares * together;
                work(own, units[mine / shares], head, least(head + together, kv_heads), next < count ? &after : nullptr,
                     partials);
            }
        });
        const Fold* folds = (const Fold*)(words + section.folds);
        for (long f = 0; f < section.num_folds; f++)
            for (long head = 0; head < kv_heads; head++) combine(desk(), folds[f], head, partials);
    }
};

}  // namespace

#define ATTEND(T, P, name)                                                                                            \
    OP void name(T* out, const T* q, const T* k, const T* v, P* keys, P* values, const int64_t* slots,                \
                 const int64_t* plan, long tokens, long q_stride, long k_stride, long v_stride, long heads,           \
                 long kv_heads, long width, long page_size, long window_at, long window, float scale, int threads) {  \
        Attention<T, P> one = {out,      q,        k,     v,        keys,  values,    slots,     plan,   tokens,      \
                               q_stride, k_stride, v_stride, heads, kv_heads, width, page_size, window_at, window,    \
                               scale};                                                                                \
        one.run(threads);                                                                                             \
    }                                                                                                                 \
    REPLAYABLE(name)
ATTEND(float, float, attend_float32_float32)
ATTEND(float, bf16, attend_float32_bfloat16)
ATTEND(bf16, float, attend_bfloat16_float32)
ATTEND(bf16, bf16, attend_bfloat16_bfloat16)
ATTEND(float, int8_t, attend_float32_int8)
ATTEND(bf16, int8_t, attend_bfloat16_int8)
