// Log-probabilities of single tokens and of the best ones, without a sorted vocabulary.
#include "softmax.h"

namespace {

struct Want {
    const int32_t* chosen_ids;
    int64_t row;  // of the logits
    int32_t num_chosen, top;
};
static_assert(sizeof(Want) == 24);

// The best so far, best first; among equals the lower id.
struct Leaders {
    int32_t* ids;
    float* values;
    long room, count = 0;
    float bar = -INFINITY;  // what a newcomer has to reach

    // Called with ascending ids.
    void meet(int32_t id, float value) {
        if (count == room && !(value >= bar)) return;
        long at = count < room ? count++ : count - 1;
        for (; at > 0 && value > values[at - 1]; at--) {
            ids[at] = ids[at - 1];
            values[at] = values[at - 1];
        }
        ids[at] = id;
        values[at] = value;
        if (count == room) bar = next_float(values[count - 1]);
    }
};

struct Row {
    const float* logits;
    long vocab;
    float largest, log_mass;

    Row(const float* logits, long vocab, int threads);
    float logprob(long id) const { return logits[id] - largest - log_mass; }
    void lead(Leaders& best) const;
};

Row::Row(const float* logits, long vocab, int threads) : logits(logits), vocab(vocab), largest(-INFINITY) {
    auto* tops = (float*)scratch(0, blocks_of(vocab) * sizeof(float));
    auto* masses = (double*)scratch(1, blocks_of(vocab) * sizeof(double));
    each_block(vocab, threads, [&](long b, long begin, long end) {
        tops[b] = largest_of(logits + begin, end - begin).value;
    });
    for (long b = 0; b < blocks_of(vocab); b++) largest = tops[b] > largest ? tops[b] : largest;
    each_block(vocab, threads, [&](long b, long begin, long end) {
        masses[b] = weigh(logits + begin, end - begin, largest, 1.0f, [](long, Vec, long) {});
    });
    double mass = 0;
    for (long b = 0; b < blocks_of(vocab); b++) mass += masses[b];
    log_mass = (float)-minus_log(mass);
}

void Row::lead(Leaders& best) const {
    for (long i = 0; i < vocab; i += LANES) {
        long count = vocab - i < LANES ? vocab - i : LANES;
        if (count == LANES && !any_at_most(broadcast(best.bar), load(logits + i) - largest - log_mass)) continue;
        for (long j = i; j < i + count; j++) best.meet((int32_t)j, logprob(j));
    }
}

}  // namespace

// Of each wanted row: the log-probability of its token, those of the `top` best tokens (at most `tops`) and of the
// chosen ones. The answers for two rows stand `tops` and `choices` apart.
OP void score(const float* logits, long vocab, const int64_t* tokens, const Want* wants, long count, float* logprobs,
              int32_t* top_ids, float* top_values, long tops, float* chosen_values, long choices, int threads) {
    bool apart = count >= threads;
    int busy = apart ? worth(threads, count * vocab * 4) : 1;
    parallel(busy, [&](int thread) {
        Share share(count, thread, busy);
        for (long i = share.begin; i < share.end; i++) {
            const Want& want = wants[i];
            Row row(logits + want.row * vocab, vocab, apart ? 1 : threads);
            logprobs[i] = row.logprob(tokens[want.row]);
            Leaders best = {top_ids + i * tops, top_values + i * tops, want.top};
            if (want.top) row.lead(best);
            for (int c = 0; c < want.num_chosen; c++)
                chosen_values[i * choices + c] = row.logprob(want.chosen_ids[c]);
        }
    });
}
