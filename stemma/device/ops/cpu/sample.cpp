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

// Outputs of SplitMix64: any is found without the ones before it.
constexpr uint64_t GOLDEN = 0x9E3779B97F4A7C15, MIX_1 = 0xBF58476D1CE4E5B9, MIX_2 = 0x94D049BB133111EB;
template <class T> inline T word(uint64_t start, T number) {
    T z = start + (number + 1) * GOLDEN;
    z = (z ^ (z >> 30)) * MIX_1;
    z = (z ^ (z >> 27)) * MIX_2;
    return z ^ (z >> 31);
}

inline bool any_below(Doubles a, Doubles b) {
#if defined(__AVX512F__)
    return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_LT_OQ) != 0;
#elif defined(__AVX2__)
    return _mm256_movemask_pd((__m256d)(a < b)) != 0;
#else
    return a[0] < b[0] || a[1] < b[1];
#endif
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
};

inline Above above(const float* weights, long count, float least) {
    Sum sum;
    Ints counts = {};
    for (long i = 0; i < count; i += COLUMNS)
        for (int c = 0; c < COLUMNS && i + c < count; c += LANES) {
            Vec w = load(weights + i + c, count - i - c);
            Ints reaches = w >= least;
            counts -= reaches;
            sum.add(c, select(reaches, w, Vec{}));
        }
    Above found = {sum.total()};
    for (int i = 0; i < LANES; i++) found.count += counts[i];
    return found;
}

struct Winner {
    double score;
    long id;

    // The race: argmax(weight / E) with E exponential is a draw from the softmax (Gumbel-max without its logarithm).
    void meet(float weight, uint64_t stream, long id) {
        double cell = (double)(word(stream, (uint64_t)id) >> 12);
        double found = weight / minus_log((cell + 0.5) * 0x1p-52);
        if (found > score || (found == score && id < this->id)) *this = {found, id};
    }
};

// Tokens [first, first + count) race. Most are out without a logarithm: 1 - u is at most -ln u.
inline void race(Winner& best, const float* weights, long first, long count, float least, uint64_t stream) {
    Words ids;
    for (int i = 0; i < HALF; i++) ids[i] = i;
    for (long i = 0; i < count; i += COLUMNS) {
        float line[COLUMNS] = {};
        const float* w = weights + i;
        if (count - i < COLUMNS) w = (const float*)memcpy(line, w, (count - i) * 4);
        bool reached = false, hit = false;
        for (int c = 0; c < COLUMNS; c += LANES) reached |= any_reaches(load(w + c), least);
        if (!reached) continue;
        double scale = best.score * (1 - 1e-8) * 0x1p-52;
        for (int c = 0; c < COLUMNS; c += HALF) {
            Words cells = word(stream, ids + (uint64_t)(first + i + c)) >> 12;
            Doubles cell = (Doubles)(cells | 0x4330000000000000) - 0x1p52;
            hit |= any_below((0x1p52 - 0.5 - cell) * scale, widened(w + c));
        }
        if (!hit) continue;
        for (int c = 0; c < COLUMNS; c++)
            if (w[c] >= least) best.meet(w[c], stream, first + i + c);
    }
}

// One row at work on `threads` threads.
struct Row {
    float* logits;
    long vocab;
    int threads;

    Largest largest(long* id) const;
    void process(const Ask& ask) const;
    void allow(const uint32_t* mask, long words) const;
    void temper(float largest, float divisor) const;
    long draw(const Ask& ask, float largest, long best) const;
};

// The largest logit, the lowest id that has it, and whether all are finite.
Largest Row::largest(long* id) const {
    auto* found = (Largest*)scratch(0, blocks_of(vocab) * sizeof(Largest));
    each_block(vocab, threads,
               [&](long b, long begin, long end) { found[b] = largest_of(logits + begin, end - begin); });
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

void Row::allow(const uint32_t* mask, long words) const {
    each_block(vocab, threads, [&](long, long begin, long end) {
        for (long i = begin; i < end; i += 32) {
            uint32_t allowed = i / 32 < words ? mask[i / 32] : 0;
            if (allowed == 0xffffffff) continue;
            for (long j = i; j < std::min(i + 32, end); j++)
                logits[j] = allowed >> (j - i) & 1 ? logits[j] : -INFINITY;
        }
    });
}

void Row::temper(float largest, float divisor) const {
    each_block(vocab, threads, [&](long, long begin, long end) {
        for (long i = begin; i < end; i += LANES)
            store(logits + i, (load(logits + i, end - i) - largest) / divisor, end - i);
    });
}

constexpr long NUCLEUS = 256;  // most nuclei are smaller

long Row::draw(const Ask& ask, float largest, long best) const {
    long blocks = blocks_of(vocab);
    auto* weights = (float*)scratch(0, blocks * (BLOCK + COLUMNS) * 4);
    float* tops = weights + blocks * BLOCK;  // of each column of each block
    auto* masses = (Above*)scratch(1, blocks * sizeof(Above));
    each_block(vocab, threads, [&](long b, long begin, long end) {
        Vec heaviest[COLUMNS / LANES] = {};
        masses[b].mass =
            weigh(logits + begin, end - begin, largest, ask.divisor, [&](long i, Vec tempered, Vec weight) {
                Vec& top = heaviest[i % COLUMNS / LANES];
                top = larger(weight, top);
                store(weights + begin + i, weight);
                if (ask.scored && begin + i < end) store(logits + begin + i, tempered, end - begin - i);
            });
        memcpy(tops + b * COLUMNS, heaviest, sizeof heaviest);
    });
    double mass = 0;
    for (long b = 0; b < blocks; b++) mass += masses[b].mass;

    // How much lies before a bound.
    auto before = [&](Bound bound) {
        each_block(vocab, threads, [&](long b, long begin, long end) {
            masses[b] = {};
            pieces(begin, end, bound, [&](long from, long to, float least) {
                Above found = above(weights + from, to - from, least);
                masses[b].mass += found.mass;
                masses[b].count += found.count;
            });
        });
        Above all;
        for (long b = 0; b < blocks; b++) {
            all.mass += masses[b].mass;
            all.count += masses[b].count;
        }
        return all;
    };

    long groups = blocks * COLUMNS;
    // The least weight of the `count` heaviest is at least that of the `count` heaviest columns.
    auto least_of = [&](long count) {
        std::nth_element(tops, tops + count - 1, tops + groups, [](float a, float b) { return a > b; });
        return tops[count - 1];
    };
    float least = 1.17549435e-38f;
    bool cuts_mass = ask.top_p < 1, cuts_count = ask.top_k > 0 && ask.top_k < vocab;
    if (ask.min_p > 0) {
        float share = (float)ask.min_p;
        least = std::max(least, share < ask.min_p ? next_float(share) : share);
    }
    if (cuts_count && ask.top_k <= groups) {
        least = std::max(least, least_of(ask.top_k));
    } else if (cuts_mass && NUCLEUS <= groups) {
        float guess = least_of(NUCLEUS);
        if (guess > least && before({guess, vocab}).mass > ask.top_p * mass) least = guess;
    }

    uint64_t stream = word(ask.seed, (uint64_t)ask.position);
    Winner start = {0, best};
    start.meet(1.0f, stream, best);
    for (Bound bound = {least, vocab};;) {
        int several = worth(threads, 4 * vocab);
        auto* found = (Winner*)scratch(2, several * sizeof(Winner));
        parallel(several, [&](int thread) {
            Share share(blocks, thread, several);
            Winner own = start;
            pieces(share.begin * BLOCK, std::min(share.end * BLOCK, vocab), bound,
                   [&](long from, long to, float least) { race(own, weights + from, from, to - from, least, stream); });
            found[thread] = own;
        });
        Winner winner = start;
        for (int i = 0; i < several; i++)
            if (found[i].score > winner.score || (found[i].score == winner.score && found[i].id < winner.id))
                winner = found[i];
        if (!cuts_mass && !cuts_count) return winner.id;
        bound = {weights[winner.id], winner.id};
        Above others = before(bound);
        if ((!cuts_mass || others.mass <= ask.top_p * mass) && (!cuts_count || others.count < ask.top_k))
            return winner.id;
    }
}

bool is_changing(const Ask& ask) {
    return ask.frequency != 0 || ask.presence != 0 || ask.repetition != 1 || ask.num_biases || ask.mask ||
           (ask.num_stops && ask.position - ask.prompt_len < ask.min_new_tokens);
}

void sample_row(const Row& row, const Ask& ask, int64_t* token, uint8_t* finite) {
    long best;
    Largest found = row.largest(&best);
    *finite = found.is_finite;
    *token = 0;
    if (!found.is_finite) return;
    if (is_changing(ask)) {
        row.process(ask);
        if (ask.mask) row.allow(ask.mask, ask.num_words);
        found = row.largest(&best);
        if (found.value == -INFINITY) {  // nobody may be drawn
            *finite = 0;
            return;
        }
    }
    if (ask.greedy) {
        if (ask.scored) row.temper(found.value, ask.divisor);
        *token = best;
    } else {
        *token = row.draw(ask, found.value, best);
    }
}

}  // namespace

// Where there are fewer rows than threads, these share a row.
OP void sample(float* logits, long rows, long vocab, const Ask* asks, int64_t* tokens, uint8_t* finite, int threads) {
    bool apart = rows >= threads;
    int busy = apart ? worth(threads, rows * vocab) : 1;
    long next = 0;
    parallel(busy, [&](int) {
        for (long r; (r = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < rows;) {
            Row row = {logits + r * vocab, vocab, apart ? 1 : threads};
            sample_row(row, asks[r], tokens + r, finite + r);
        }
    });
}

REPLAYABLE(sample)
