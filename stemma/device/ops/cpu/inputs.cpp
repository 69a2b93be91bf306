// What a step reads: the tokens of its rows side by side, their positions, the slots that they get, and which of them
// the drawn tokens follow.
#include "common.h"

namespace {

// Where all of it stands: ops/cpu/inputs.py.
struct Desk {
    int64_t* sizes;
    int64_t *columns, *drawn;  // [3][most_tokens], [4][rows]
    int32_t* said;  // by span: the token that was drawn, or none
    int32_t* tokens;  // [rows][context]
    const int64_t* pages;
    int64_t* known;
    const int64_t *paged, *prompts;
    int64_t most_tokens, rows, context, most_pages, page_size;
};

constexpr long AHEAD = 16;  // rows are fetched so early: each lies on pages of its own, far from the caches

}  // namespace

// Of a span that cannot be computed, the sizes say -1 and its number; what is written then means nothing.
OP void inputs(const Desk* desk, const SpanOfRow* spans, long num_spans) {
    int64_t *tokens = desk->columns, *positions = tokens + desk->most_tokens, *slots = positions + desk->most_tokens;
    int64_t *part = desk->drawn, *row = part + desk->rows, *position = row + desk->rows, *asked = position + desk->rows;
    long at = 0, draws = 0, size = desk->page_size;
    for (long n = 0; n < num_spans; n++) {
        const SpanOfRow& span = spans[n];
        if (n + AHEAD < num_spans) {
            const SpanOfRow& later = spans[n + AHEAD];
            __builtin_prefetch(desk->tokens + later.row * desk->context + later.start);
            __builtin_prefetch(desk->pages + later.row * desk->most_pages + later.start / size);
        }
        long end = span.start + span.count;
        bool fits = span.row >= 0 && span.row < desk->rows && span.start >= 0 && span.count > 0 &&
                    at + span.count <= desk->most_tokens && n < desk->rows && end <= desk->known[span.row] &&
                    end <= desk->paged[span.row] * size && !(span.draws && end < desk->prompts[span.row]);
        if (!fits) {
            desk->sizes[0] = -1, desk->sizes[1] = n;
            return;
        }
        const int32_t* known = desk->tokens + span.row * desk->context;
        const int64_t* own = desk->pages + span.row * desk->most_pages;
        for (long here = span.start; here < end; here++, at++) {
            tokens[at] = known[here];
            positions[at] = here;
            slots[at] = own[here / size] * size + here % size;
        }
        desk->said[n] = -1;
        if (span.draws) {
            part[draws] = n, row[draws] = span.row, position[draws] = end, asked[draws] = at - 1;
            draws++;
        }
    }
    desk->sizes[0] = at, desk->sizes[1] = draws;
}

// Tokens of the last step's draws from `first` on; what came after them is forgotten.
OP void keep(const Desk* desk, long first, const int64_t* tokens, long count) {
    const int64_t *part = desk->drawn + first, *row = part + desk->rows, *position = row + desk->rows;
    for (long s = 0; s < count; s++) {
        desk->tokens[row[s] * desk->context + position[s]] = (int32_t)tokens[s];
        desk->known[row[s]] = position[s] + 1;
        desk->said[part[s]] = (int32_t)tokens[s];
    }
}
