// Who looks at what together: rows of a step that begin with the same pages read them once.
//
// Which queries share a tile, and on which thread, changes no bits: each walks through its own blocks in ascending
// order. So all that is decided here is decided for speed.
#include <algorithm>
#include <vector>

#include "attention.h"

namespace {

struct Planner {
    const SpanOfRow* spans;
    long num_spans;
    const int64_t* pages;  // a row of page numbers for each row that sits
    long most_pages, window, page_size, group, kv_heads, threads;

    std::vector<Piece> pieces = {};
    std::vector<Run> runs = {};
    std::vector<Unit> units = {};
    std::vector<Fold> folds = {};
    long partials = 0;
    std::vector<long> common = {};  // blocks that a piece shares with the one before it, counted from position 0

    const int64_t* table(const Piece& piece) const { return (const int64_t*)piece.pages; }
    long begin(const Piece& piece) const {
        long oldest = window && piece.position >= window ? piece.position - window + 1 : 0;
        return oldest / BLOCK;
    }
    long end(const Piece& piece) const { return (piece.end() + BLOCK - 1) / BLOCK; }

    // Until which block two pieces read the same memory; 0: from the first on, they do not.
    long shared(const Piece& a, const Piece& b) const {
        long first = begin(a), most = std::min(a.end(), b.end()) / BLOCK;
        if (first != begin(b) || first >= most) return 0;
        long page = first * BLOCK / page_size, last = (most * BLOCK + page_size - 1) / page_size;
        const int64_t *left = table(a), *right = table(b);
        while (page < last && left[page] == right[page]) page++;
        long until = std::min(page * page_size / BLOCK, most);
        return until > first ? until : 0;
    }

    // Any order in which pieces with the same beginning are neighbours.
    bool before(const Piece& a, const Piece& b) const {
        long first = begin(a), other = begin(b);
        if (first != other) return first < other;
        long page = first * BLOCK / page_size;
        long length = a.end() / page_size, others = b.end() / page_size, last = std::min(length, others);
        const int64_t *left = table(a), *right = table(b);
        while (page < last && left[page] == right[page]) page++;
        if (page < last) return left[page] < right[page];
        return length != others ? length < others : a.token < b.token;
    }

    // Mostly the first page tells two pieces apart; it is looked up once for each.
    void sort() {
        struct Keyed {
            long begin, page, piece;
        };
        std::vector<Keyed> order;
        order.reserve(pieces.size());
        for (const Piece& piece : pieces) {
            long first = begin(piece);
            order.push_back({first, table(piece)[first * BLOCK / page_size], (long)order.size()});
        }
        std::sort(order.begin(), order.end(), [this](const Keyed& a, const Keyed& b) {
            if (a.begin != b.begin) return a.begin < b.begin;
            return a.page != b.page ? a.page < b.page : before(pieces[a.piece], pieces[b.piece]);
        });
        std::vector<Piece> sorted;
        sorted.reserve(pieces.size());
        for (const Keyed& each : order) sorted.push_back(pieces[each.piece]);
        pieces.swap(sorted);
    }

    void cut() {
        long most = std::max(1l, TILE / group), token = 0;
        std::vector<Piece> large;
        pieces.reserve(num_spans);
        for (long s = 0; s < num_spans; token += spans[s++].count)
            for (long at = 0; at < spans[s].count; at += most) {
                long queries = std::min(most, (long)spans[s].count - at);
                int64_t own = (int64_t)(pages + spans[s].row * most_pages);
                Piece piece = {spans[s].start + at, queries, token + at, own, 0};
                (2 * queries > most ? large : pieces).push_back(piece);
            }
        sort();
        long small = pieces.size();
        pieces.insert(pieces.end(), large.begin(), large.end());
        common.assign(pieces.size() + 1, 0);
        for (long p = 1; p < small; p++) common[p] = shared(pieces[p - 1], pieces[p]);
    }

    // Runs of pieces [first, last) from block `from` on: what all of them share, then what some of them share.
    void branch(long first, long last, long from) {
        if (last - first == 1) {
            if (from < end(pieces[first])) runs.push_back({first, last, from, end(pieces[first])});
            return;
        }
        long least = *std::min_element(&common[first + 1], &common[last]);
        if (least > from) runs.push_back({first, last, from, least});
        long until = std::max(from, least);
        for (long p = first + 1; p <= last; p++)
            if (p == last || common[p] == least) branch(first, p, until), first = p;
    }

    // A tile for each group of pieces that share something; few enough for all threads to have one.
    void tile() {
        long most = std::max(1l, (long)pieces.size() * kv_heads / threads);
        runs.reserve(pieces.size());
        units.reserve(pieces.size());
        for (long first = 0, last; first < (long)pieces.size(); first = last) {
            long queries = pieces[first].queries;
            for (last = first + 1; last < (long)pieces.size() && common[last] && last - first < most; last++) {
                if ((queries + pieces[last].queries) * group > TILE) break;
                pieces[last].row = queries * group;
                queries += pieces[last].queries;
            }
            long run = runs.size();
            branch(first, last, begin(pieces[first]));
            units.push_back({first, last, run, (long)runs.size(), -1});
        }
    }

    long rows(const Unit& unit) const { return pieces[unit.last - 1].row + pieces[unit.last - 1].queries * group; }

    long cost(const Unit& unit) const {
        long all = 8;
        for (long r = unit.run; r < unit.last_run; r++) {
            const Piece& last = pieces[runs[r].last - 1];
            long rows = last.row + last.queries * group - pieces[runs[r].first].row;
            all += (runs[r].end - runs[r].begin) * (rows + 8);
        }
        return all;
    }

    // Too few units for the threads: one for each part, where there are several.
    void split() {
        if (threads == 1 || (long)units.size() * kv_heads >= 4 * threads) return;
        std::vector<Unit> whole;
        whole.swap(units);
        for (const Unit& unit : whole) {
            long low = runs[unit.run].begin / SPLIT, high = 0;
            for (long r = unit.run; r < unit.last_run; r++) high = std::max(high, (long)(runs[r].end - 1) / SPLIT + 1);
            if (high - low < 2) {
                units.push_back(unit);
                continue;
            }
            folds.push_back({unit.first, unit.last, partials, high - low});
            for (long part = low; part < high; part++, partials += rows(unit)) {
                long first = runs.size();
                for (long r = unit.run; r < unit.last_run; r++) {
                    Run run = runs[r];
                    run.begin = std::max((long)run.begin, part * SPLIT);
                    run.end = std::min((long)run.end, (part + 1) * SPLIT);
                    if (run.begin < run.end) runs.push_back(run);
                }
                units.push_back({unit.first, unit.last, first, (long)runs.size(), partials});
            }
        }
    }

    Section section() {
        cut();
        tile();
        split();
        std::vector<std::pair<long, long>> order;
        order.reserve(units.size());
        long all = 0;
        for (long u = 0; u < (long)units.size(); u++) order.push_back({-cost(units[u]), u}), all -= order[u].first;
        std::sort(order.begin(), order.end());
        std::vector<Unit> sorted;
        sorted.reserve(units.size());
        for (auto& each : order) sorted.push_back(units[each.second]);
        units.swap(sorted);
        return {0, 0, 0, 0, (long)units.size(), (long)folds.size(), partials, all * kv_heads};
    }
};

// Appends things to the plan; past its end they are only counted.
struct Writer {
    int64_t* words;
    long capacity, used;
    template <class Thing> int64_t put(const std::vector<Thing>& things) {
        long at = used, size = things.size() * sizeof(Thing) / 8;
        if ((used += size) <= capacity && size) memcpy(words + at, things.data(), size * 8);
        return at;
    }
};

// Where all of it stands: device/attention/native.py.
struct Desk {
    int64_t *words, capacity;
    const int64_t *pages, *windows;
    int64_t most_pages, num_windows, page_size, group, kv_heads;
};

}  // namespace

// `spans` stand in the order of the step's tokens. When words[0] exceeds the capacity, the plan is void.
OP void plan_attention(const Desk* desk, const SpanOfRow* spans, long num_spans, int threads) {
    int64_t* words = desk->words;
    Writer writer = {words, desk->capacity, 1 + desk->num_windows * (long)(sizeof(Section) / 8)};
    for (long w = 0; w < desk->num_windows; w++) {
        Planner planner = {spans,         num_spans,       desk->pages,    desk->most_pages, desk->windows[w],
                           desk->page_size, desk->group, desk->kv_heads, threads};
        Section section = planner.section();
        section.pieces = writer.put(planner.pieces);
        section.runs = writer.put(planner.runs);
        section.units = writer.put(planner.units);
        section.folds = writer.put(planner.folds);
        if (writer.used <= desk->capacity) memcpy(words + 1 + w * sizeof section / 8, &section, sizeof section);
    }
    words[0] = writer.used;
}
