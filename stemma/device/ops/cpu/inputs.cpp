// What a model reads of a step: the tokens of its rows side by side, their positions, and the slots that they get.
#include "common.h"

namespace {

struct Part {
    int64_t row, start, count, draws;
};

}  // namespace

// `zeros` says where position 0 of each part would stand among the tokens.
OP void inputs(int64_t* tokens, int64_t* positions, int64_t* slots, int64_t* zeros, const Part* parts, long num_parts,
               const int32_t* table, long context, const int64_t* pages, long most_pages, long page_size) {
    long at = 0;
    for (long n = 0; n < num_parts; n++) {
        const Part& part = parts[n];
        const int32_t* known = table + part.row * context;
        const int64_t* own = pages + part.row * most_pages;
        zeros[n] = at - part.start;
        for (long position = part.start; position < part.start + part.count; position++, at++) {
            tokens[at] = known[position];
            positions[at] = position;
            slots[at] = own[position / page_size] * page_size + position % page_size;
        }
    }
}
