// From logits to tokens. Who may be drawn and the noise are those of the plain-torch reference.
//
// A truncated draw needs no sorted vocabulary. All three truncations keep a beginning of one order (heavier first,
// among equals the lower id first), so the winner of a race among too many is the right one when it belongs to that
// beginning, which one sum over all that come before it tells. Otherwise all behind it are out too, and the others
// race again.
#include <stdlib.h>

#include <algorithm>

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

    bool allows(float other, long id) const { return other > weight || (other == weight && id < end); }
};

constexpr long STRIP = 128;  // tokens that are passed over when the heaviest of them may not be drawn

inline long sum(Ints counts) {
    long all = 0;
    for (int i = 0; i < LANES; i++) all += counts[i];
    return all;
}

struct Above {
    double mass;
    long count;
};

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

// What is left of 1 - u, times 2^24, of the tokens from `first` on. -ln u is at least 1 - u, so 24 bits tell of most
// tokens that they cannot win.
inline Vec gaps(uint64_t stream, long first) {
    Words ahead;
    for (int i = 0; i < HALF; i++) ahead[i] = 2 * i * GOLDEN;
    Words even = ahead + state(stream, first), odd = even + GOLDEN;
    Bits upper = (Bits)((stirred(even) >> 32) | (stirred(odd) & 0xffffffff00000000));
    return __builtin_convertvector((Ints)(~upper >> 8), Vec);
}
inline Vec bar(const Winner& best, Vec gap) { return gap * (float)(best.score * (1 - 1e-6) * 0x1p-24); }

inline void meet_all(Winner& best, Vec weights, Bound bound, uint64_t stream, long first) {
    for (int c = 0; c < LANES; c++)
        if (bound.allows(weights[c], first + c)) best.meet(weights[c], stream, first + c);
}

// A strip of a row whose weights are known races.
inline void race_in(Winner& best, const float* weights, long first, long end, Bound bound, uint64_t stream) {
    for (long i = first; i < end; i += LANES) {
        Vec w = load(weights + i, end - i);
        if (!any_at_most(broadcast(bound.weight), w)) continue;
        if (any_at_most(bar(best, gaps(stream, i)), w)) meet_all(best, w, bound, stream, i);
    }
}

// The same for tokens that have not been weighed, and few of which will be. The bits of a float, as an integer, are
// close below its logarithm, with which logits are compared: a thousandth of a bit is more than both sides are off.
inline void race_unweighed(Winner& best, const float* logits, long first, long end, float largest, float divisor,
                           Bound bound, uint64_t stream) {
    const float sharpness = 1.44269504f / divisor;
    for (long i = first; i < end; i += LANES) {
        Vec x = load_or_never(logits + i, end - i) - largest;
        Vec known = __builtin_convertvector((Ints)bar(best, gaps(stream, i)), Vec);
        if (any_at_most(fma(known, broadcast(0x1p-23f), broadcast(-127.001f)), x * sharpness))
            meet_all(best, weight(x / divisor), bound, stream, i);
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
    float largest;
    long likeliest;  // the lowest id that has it
    uint64_t stream = mixed(state(ask.seed, ask.position));
    long blocks = blocks_of(row.vocab);
    bool cuts_mass = ask.top_p < 1, cuts_count = ask.top_k > 0 && ask.top_k < row.vocab;
    // Of a cut draw:
    float* weights = ask.scored ? (float*)scratch(0, row.vocab * 4) : row.logits;
    long strips = (row.vocab + STRIP - 1) / STRIP;
    float* peaks = (float*)scratch(1, strips * 4);  // the heaviest of each strip
    Above* parts = (Above*)scratch(2, blocks * sizeof(Above));
    double mass = 0;

    long token() { return cuts_mass || cuts_count ? token_of_cut() : token_of_all(); }
    long token_of_all() const;
    long token_of_cut();
    void weigh();
    void survey(long begin, long end) const;
    float least() const;
    float least_of_cut() const;
    Above above(Bound bound) const;
    template <class F> long winner(long start, F&& race) const;
};

// What min_p leaves; no weight is between 0 and this.
float Draw::least() const {
    float share = (float)ask.min_p;
    return std::max(1.17549435e-38f, share < ask.min_p ? next_float(share) : share);
}

// Who wins when race(best, begin, end) has been called for all blocks; `start` is one of weight 1 who may.
template <class F> long Draw::winner(long start, F&& race) const {
    int threads = worth(row.threads, 4 * row.vocab);
    auto* found = (Winner*)scratch(3, threads * sizeof(Winner));
    parallel(threads, [&](int thread) {
        Share share(blocks, thread, threads);
        Winner own = {0, start};
        own.meet(1.0f, stream, start);
        race(own, share.begin * BLOCK, std::min(share.end * BLOCK, row.vocab));
        found[thread] = own;
    });
    for (int i = 1; i < threads; i++) found[0].meet(found[i]);
    return found[0].id;
}

long Draw::token_of_all() const {
    Bound bound = {least(), row.vocab};
    return winner(likeliest, [&](Winner& best, long begin, long end) {
        race_unweighed(best, row.logits, begin, end, largest, ask.divisor, bound, stream);
    });
}

long Draw::token_of_cut() {
    weigh();
    // The first in the order: of weight 1 may be more than the likeliest.
    long heaviest = (std::find(peaks, peaks + strips, 1.0f) - peaks) * STRIP;
    while (weights[heaviest] != 1.0f) heaviest++;
    for (Bound bound = {least_of_cut(), row.vocab};;) {
        long id = winner(heaviest, [&](Winner& best, long begin, long end) {
            for (long i = begin; i < end; i += STRIP)
                if (peaks[i / STRIP] >= bound.weight)
                    race_in(best, weights, i, std::min(i + STRIP, end), bound, stream);
        });
        bound = {weights[id], id};
        Above before = above(bound);
        if ((!cuts_mass || before.mass <= ask.top_p * mass) && (!cuts_count || before.count < ask.top_k)) return id;
    }
}

void Draw::weigh() {
    each_block(row.vocab, row.threads, [&](long b, long begin, long end) {
        parts[b].mass = ::weigh(row.logits + begin, end - begin, largest, ask.divisor, [&](long i, Vec weight, auto there) {
            store(weights + begin + i, weight, there);
        });
        survey(begin, end);
    });
    for (long b = 0; b < blocks; b++) mass += parts[b].mass;
}

// Weights compare as integers as they do as floats, in half the time.
void Draw::survey(long begin, long end) const {
    for (long i = begin; i < end; i += STRIP) {
        Ints top = {};
        for (long j = i; j < std::min(i + STRIP, end); j += LANES) top = greater(top, (Ints)load(weights + j, end - j));
        int32_t most = ::peak(top);
        memcpy(peaks + i / STRIP, &most, sizeof most);
    }
}

Above Draw::above(Bound bound) const {
    Ints lane;
    for (int i = 0; i < LANES; i++) lane[i] = i;
    each_block(row.vocab, row.threads, [&](long b, long begin, long end) {
        Ints counts = {};
        Sum mass;
        for (long at = begin; at < end; at += STRIP) {
            if (peaks[at / STRIP] < bound.weight) continue;
            mass.add(std::min(STRIP, end - at), [&](long i, auto there) {
                Vec w = load(weights + at + i, there);
                Ints is_before = (w > bound.weight) | ((w == bound.weight) & (lane < (int)(bound.end - at - i)));
                counts -= is_before;
                return select(is_before, w, Vec{});
            });
        }
        parts[b] = {mass.total(), sum(counts)};
    });
    Above all = {};
    for (long b = 0; b < blocks; b++) all.mass += parts[b].mass, all.count += parts[b].count;
    return all;
}

// A weight that everybody who may be drawn has: the lower it is, the more tokens race in vain. The heaviest of strips are
// tokens too: when they are too many or too heavy for lighter ones to be let in, so are all.
float Draw::least_of_cut() const {
    auto suffices = [&](float weight) {
        Ints counts = {};
        Sum heavier;
        heavier.add(strips, [&](long i, auto there) {
            Vec peak = load(peaks + i, there);
            Ints reaches = peak >= weight;
            counts -= reaches;
            return select(reaches, peak, Vec{});
        });
        return (cuts_count && sum(counts) >= ask.top_k) ||
               (cuts_mass && heavier.total() * (1 - 1e-6) > ask.top_p * mass);
    };
    float least = this->least(), above = 1;
    for (int step = 0; step < 16; step++) {
        float middle = sqrtf(least * above);
        (suffices(middle) ? least : above) = middle;
    }
    return least;
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
    *token = best;
    if (!ask.greedy) *token = Draw{row, ask, found.value, best}.token();
    if (ask.scored) row.temper(found.value, ask.divisor);
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
