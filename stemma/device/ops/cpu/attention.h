// What one step asks of attention, as plan_attention writes it and attend reads it: whole numbers only.
//
// words[0] is how many words the plan has; then follow Sections, one for each width of window that layers have; then
// what the sections point to, by index into the words.
#pragma once
#include "common.h"

constexpr long BLOCK = 64;  // keys that are looked at together, at fixed absolute positions
constexpr long GROUP = 16;  // keys that lie side by side in a page
constexpr long SPLIT = 32;  // blocks of a part; parts are summed up apart, then combined
constexpr long TILE = 64;   // rows that look at a block together: queries times the heads that share a key head

// Consecutive queries of one row of the batch.
struct Piece {
    int64_t position, queries, token, pages, row;  // of the first query; `pages`: an address; `row`: within its tile
    long end() const { return position + queries; }
};

// Pieces [first, last) look at blocks [begin, end), which are the same memory for all of them.
struct Run {
    int64_t first, last, begin, end;
};

// One thread's work for one key head: pieces [first, last) walk through `runs`. The answer is final, or (from 0 on)
// states of a part for attend to combine.
struct Unit {
    int64_t first, last, run, last_run, partial;
};

// Pieces [first, last) have `parts` states for each row, the first at `partial`.
struct Fold {
    int64_t first, last, partial, parts;
};

struct Section {
    int64_t pieces, runs, units, folds, num_units, num_folds, partials, cost;
};
