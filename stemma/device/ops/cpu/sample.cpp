// From logits to tokens. Who may be drawn and the noise are those of the plain-torch reference.
//
// A truncated draw needs no sorted vocabulary. All three truncations keep a beginning of one order (heavier first,
// among equals the lower id first), so the winner of a race among too many is the right one when it belongs to that
// beginning, which one sum over all that come before it tells. Otherwise all behind it are out too, and the others
// race again.
#include <stdlib.h>

#include <algorithm>
#include <numeric>

#include "softmax.h"

namespace {

struct Ask {
    const int32_t* tokens;  // by position
    const int32_t* stop_ids;
    const int32_t* bias_ids;
    const float* bias_values;
    const uint32_t* mask;  // a bit for each token, set where the grammar allows it, none behind the last word; null: all
    uint64_t seed;
    double top_p, min_p;
    float divisor, frequency, presence, repetition;
    int32_t prompt_len, position, top_k, min_new_tokens, num_stops, num_biases, num_words;
    bool greedy, scored;
};
static_assert(sizeof(Ask) == 112);

typedef uint64_t Words __attribute__((vector_size(BYTES)));

// Outputs of SplitMix64, of its states: any is found without the ones before it.
constexpr uint64_t GOLDEN = 0x9E3779B97F4A7C15, MIX_1 = 0xBF58476D1CE4E5B9, MIX_2 = 0x94D049BB133111EB;
inline uint64_t state(uint64_t start, uint64_t number) { return start + (number + 1) * GOLDEN; }
template <class T> inline T stirred(T z) {
    z = (z ^ (z >> 30)) * MIX_1;
    return (z ^ (z >> 27)) * MIX_2;
}
inline uint64_t mixed(uint64_t z) {
    z = stirred(z);
    return z ^ (z >> 31);  // which leaves its upper 31 bits
}

// Who may still be drawn: whoever is heavier, or as heavy and of an id below `end`.
struct Bound {
    float weight;
    long end;
};

// Calls work(begin, end, least weight) for what lies before bound.end, then for the rest.
template <class F> inline void pieces(long begin, long end, Bound bound, F&& work) {
    long middle = std::min(std::max(begin, bound.end), end);
    if (begin < middle) work(begin, middle, bound.weight);
    if (middle < end) work(middle, end, next_float(bound.weight));
}

struct Above {
    double mass = 0;
    long count = 0;

    void operator+=(Above other) {
        mass += other.mass;
        count += other.count;
    }
};

inline Above above_in(const float* weights, long count, float least) {
    Ints counts = {};
    Above found;
    found.mass = sum_of(count, [&](long i) {
        Vec w = load(weights + i, count - i);
        Ints reaches = w >= least;
        counts -= reaches;
        return select(reaches, w, Vec{});
    });
    for (int i = 0; i < LANES; i++) found.count += counts[i];
    return found;
}

struct Winner {
    double score;
    long id;

    // The race: argmax(weight / E) with E exponential is a draw from the softmax (Gumbel-max without its logarithm).
    void meet(float weight, uint64_t stream, long id) {
        double cell = (double)(mixed(state(stream, id)) >> 12);
        meet({weight / minus_log((cell + 0.5) * 0x1p-52), id});
    }
    void meet(Winner other) {
        if (other.score > score || (other.score == score && other.id < id)) *this = other;
    }
};

// Tokens [first, first + count) race. -ln u is at least 1 - u, of which 24 bits tell of most that they cannot win.
inline void race_in(Winner& best, const float* weights, long first, long count, float least, uint64_t stream) {
    Words even, odd;
    for (int i = 0; i < HALF; i++) even[i] = state(stream, first + 2 * i);
    odd = even + GOLDEN;
    for (long i = 0; i < count; i += LANES, even += LANES * GOLDEN, odd += LANES * GOLDEN) {
        Vec w = load(weights + i, count - i);
        if (!any_at_most(broadcast(least), w)) continue;
        Bits upper = (Bits)((stirred(even) >> 32) | (stirred(odd) & 0xffffffff00000000));
        Vec gap = __builtin_convertvector((Ints)(~upper >> 8), Vec);
        if (!any_at_most(gap * (float)(best.score * (1 - 1e-6) * 0x1p-24), w)) continue;
        for (int c = 0; c < LANES; c++)
            if (w[c] >= least) best.meet(w[c], stream, first + i + c);
    }
}

// One row at work on `threads` threads.
struct Row {
    float* logits;
    long vocab;
    int threads;

    template <class F> Largest largest(long* id, F&& of_block) const;
    void process(const Ask& ask) const;
    void temper(float largest, float divisor) const;
};

// The largest logit by what each block says, and the lowest id that has it; whether all are finite.
template <class F> Largest Row::largest(long* id, F&& of_block) const {
    auto* found = (Largest*)scratch(0, blocks_of(vocab) * sizeof(Largest));
    each_block(vocab, threads, [&](long b, long begin, long end) { found[b] = of_block(begin, end); });
    Largest all = found[0];
    long at = 0;
    for (long b = 1; b < blocks_of(vocab); b++) {
        if (found[b].value > all.value) {
            all.value = found[b].value;
            at = b;
        }
        all.is_finite &= found[b].is_finite;
    }
    for (*id = at * BLOCK; logits[*id] != all.value && *id + 1 < vocab;) ++*id;
    return all;
}

// Logits that the grammar forbids are minus infinity from now on. begin is a whole number of words.
void allow(float* logits, long begin, long end, const Ask& ask) {
    Bits lane;
    for (int i = 0; i < LANES; i++) lane[i] = 1u << i;
    for (long i = begin; i < end; i += 32) {
        uint32_t allowed = i / 32 < ask.num_words ? ask.mask[i / 32] : 0;
        if (allowed == 0xffffffff) continue;
        for (long j = i; j < std::min(i + 32, end); j += LANES, allowed >>= LANES) {
            Ints is_allowed = (lane & allowed) != 0;
            store(logits + j, select(is_allowed, load(logits + j, end - j), broadcast(-INFINITY)), end - j);
        }
    }
}

// Counters of this thread, all zero between two uses.
int32_t* counters(long vocab) {
    static thread_local struct {
        int32_t* memory;
        long size;
    } kept;
    if (kept.size < vocab) {
        free(kept.memory);
        kept.memory = (int32_t*)calloc(vocab, sizeof(int32_t));
        if (!kept.memory) abort();
        kept.size = vocab;
    }
    return kept.memory;
}

// Penalties for tokens of the answer, the ban of stop ids while it is too short, biases.
void Row::process(const Ask& ask) const {
    const float most = 3.4028235e38f;  // a tiny penalty may divide beyond what is finite
    if (ask.position - ask.prompt_len < ask.min_new_tokens)
        for (int i = 0; i < ask.num_stops; i++) logits[ask.stop_ids[i]] = -INFINITY;
    if (ask.frequency != 0 || ask.presence != 0 || ask.repetition != 1) {
        int32_t* counts = counters(vocab);
        for (int i = ask.prompt_len; i < ask.position; i++) counts[ask.tokens[i]]++;
        for (int i = ask.prompt_len; i < ask.position; i++) {
            int32_t& count = counts[ask.tokens[i]];
            if (count == 0) continue;
            float& x = logits[ask.tokens[i]];
            x = x - (float)count * ask.frequency - ask.presence;
            x = std::min(x > 0 ? x / ask.repetition : x * ask.repetition, most);
            count = 0;
        }
    }
    for (int i = 0; i < ask.num_biases; i++) {
        float& x = logits[ask.bias_ids[i]];
        x = std::min(x + ask.bias_values[i], most);
    }
}

void Row::temper(float largest, float divisor) const {
    each_block(vocab, threads, [&](long, long begin, long end) {
        for (long i = begin; i < end; i += LANES)
            store(logits + i, (load(logits + i, end - i) - largest) / divisor, end - i);
    });
}

// The draw of one row, from its processed logits.
struct Draw {
    const Row& row;
    const Ask& ask;
    long blocks = blocks_of(row.vocab);
    float* weights = ask.scored ? (float*)scratch(0, row.vocab * 4) : row.logits;
    Above* parts = (Above*)scratch(1, blocks * sizeof(Above));
    float* tops = (float*)scratch(2, blocks * COLUMNS * 4);  // the heaviest of each column of each block
    double mass = 0;
    long heaviest = 0;  // the first in the order: that of weight 1 whose id is lowest
    bool cuts_mass = ask.top_p < 1, cuts_count = ask.top_k > 0 && ask.top_k < row.vocab;

    void weigh(float largest);
    long token() const;
    float least() const;
    Above above(Bound bound) const;
    Winner race(Bound bound, uint64_t stream, Winner start) const;
};

double weigh_block(float* x, long count, float largest, float divisor, float* weights, float* tops, bool scored) {
    Vec heaviest[COLUMNS / LANES] = {};
    double mass = weigh(x, count, largest, divisor, [&](long i, Vec tempered, Vec weight) {
        Vec& top = heaviest[i % COLUMNS / LANES];
        top = larger(weight, top);
        if (scored) store(x + i, tempered, count - i);
        store(weights + i, weight, count - i);
    });
    memcpy(tops, heaviest, sizeof heaviest);
    return mass;
}

void Draw::weigh(float largest) {
    each_block(row.vocab, row.threads, [&](long b, long begin, long end) {
        parts[b].mass = weigh_block(row.logits + begin, end - begin, largest, ask.divisor, weights + begin,
                                    tops + b * COLUMNS, ask.scored);
    });
    for (long b = 0; b < blocks; b++) mass += parts[b].mass;
    heaviest = (std::find(tops, tops + blocks * COLUMNS, 1.0f) - tops) / COLUMNS * BLOCK;
    while (weights[heaviest] != 1.0f) heaviest++;
}

Above Draw::above(Bound bound) const {
    each_block(row.vocab, row.threads, [&](long b, long begin, long end) {
        Above all;
        pieces(begin, end, bound,
               [&](long from, long to, float least) { all += above_in(weights + from, to - from, least); });
        parts[b] = all;
    });
    Above all;
    for (long b = 0; b < blocks; b++) all += parts[b];
    return all;
}

constexpr long NUCLEUS = 256;  // most nuclei are smaller

// A weight that everybody who may be drawn has: the lower it is, the more tokens race in vain.
float Draw::least() const {
    float least = 1.17549435e-38f;
    if (ask.min_p > 0) {
        float share = (float)ask.min_p;
        least = std::max(least, share < ask.min_p ? next_float(share) : share);
    }
    // The heaviest of a column are tokens too: those of the best columns show what weight suffices.
    long groups = blocks * COLUMNS, count = cuts_count ? ask.top_k : cuts_mass ? std::min(NUCLEUS, groups / 4) : 0;
    if (count == 0 || count > groups) return least;
    std::nth_element(tops, tops + count - 1, tops + groups, [](float a, float b) { return a > b; });
    bool suffices = cuts_count || std::accumulate(tops, tops + count, 0.0) > ask.top_p * mass;
    return suffices ? std::max(least, tops[count - 1]) : least;
}

Winner Draw::race(Bound bound, uint64_t stream, Winner start) const {
    int threads = worth(row.threads, 4 * row.vocab);
    auto* found = (Winner*)scratch(3, threads * sizeof(Winner));
    parallel(threads, [&](int thread) {
        Share share(blocks, thread, threads);
        Winner own = start;
        pieces(share.begin * BLOCK, std::min(share.end * BLOCK, row.vocab), bound, [&](long from, long to, float least) {
            race_in(own, weights + from, from, to - from, least, stream);
        });
        found[thread] = own;
    });
    for (int i = 0; i < threads; i++) start.meet(found[i]);
    return start;
}

long Draw::token() const {
    uint64_t stream = mixed(state(ask.seed, ask.position));
    Winner start = {0, heaviest};
    start.meet(1.0f, stream, heaviest);
    for (Bound bound = {least(), row.vocab};;) {
        long id = race(bound, stream, start).id;
        if (!cuts_mass && !cuts_count) return id;
        bound = {weights[id], id};
        Above before = above(bound);
        if ((!cuts_mass || before.mass <= ask.top_p * mass) && (!cuts_count || before.count < ask.top_k)) return id;
    }
}

bool is_changing(const Ask& ask) {
    return ask.frequency != 0 || ask.presence != 0 || ask.repetition != 1 || ask.num_biases ||
           (ask.num_stops && ask.position - ask.prompt_len < ask.min_new_tokens);
}

enum State : uint8_t { NOT_FINITE, FINE, BANNED };  // sampling.py knows them too

void sample_row(const Row& row, const Ask& ask, int64_t* token, uint8_t* state) {
    long best;
    auto of_block = [&](long begin, long end) { return largest_of(row.logits + begin, end - begin); };
    Largest found = row.largest(&best, [&](long begin, long end) {
        Largest before = of_block(begin, end);
        if (!ask.mask) return before;
        allow(row.logits, begin, end, ask);
        return Largest{of_block(begin, end).value, before.is_finite};
    });
    *token = 0;
    *state = NOT_FINITE;
    if (!found.is_finite) return;
    if (is_changing(ask)) {
        row.process(ask);
        found = row.largest(&best, of_block);
    }
    *state = found.value == -INFINITY ? BANNED : FINE;
    if (*state == BANNED) return;
    if (ask.greedy) {
        if (ask.scored) row.temper(found.value, ask.divisor);
        *token = best;
    } else {
        Draw draw = {row, ask};
        draw.weigh(found.value);
        *token = draw.token();
    }
}

}  // namespace

// Where there are fewer rows than threads, these share a row.
OP void sample(float* logits, long rows, long vocab, const Ask* asks, int64_t* tokens, uint8_t* states, int threads) {
    bool apart = rows >= threads;
    int busy = apart ? worth(threads, rows * vocab) : 1;
    long next = 0;
    parallel(busy, [&](int) {
        for (long r; (r = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < rows;) {
            Row row = {logits + r * vocab, vocab, apart ? 1 : threads};
            sample_row(row, asks[r], tokens + r, states + r);
        }
    });
}

REPLAYABLE(sample)
