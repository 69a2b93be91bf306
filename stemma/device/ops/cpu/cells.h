// How keys and values are kept in a cache: as they are computed with, in another type, or in 8 bits.
//
// A head's part of a page lies together. Where pages hold whole GROUPs, keys lie as units (as they are computed with),
// [width, GROUP], values as [GROUP, width] with as many neighbours in a unit as it holds: a block is used where it lies. Where pages are smaller, they hold plain rows, and a block is gathered.
//
// Numbers of 8 bits have a scale for each token and head, behind all of the head in a page, or behind its row. Rows of
// bfloat16 compute with them as they lie; rows of float32 have them widened first.
#pragma once
#include <type_traits>

#include "attention.h"
#include "integers.h"
#include "powers.h"

inline Vec load(const int8_t* p) {
#if defined(__AVX512F__)
    return (Vec)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)));
#elif defined(__AVX2__)
    return (Vec)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p)));
#else
    Octets b;
    memcpy(&b, p, sizeof b);
    return __builtin_convertvector(__builtin_convertvector(b, Ints), Vec);
#endif
}
inline Vec load(const int8_t* p, long count) {
    if (count >= LANES) return load(p);
    int8_t lanes[LANES] = {};
    memcpy(lanes, p, count);
    return load(lanes);
}

namespace {

template <class To, class From> inline void convert(To* to, const From* from, long count) {
    for (long i = 0; i < count; i += LANES) store(to + i, load(from + i, count - i), count - i);
}
template <> inline void convert(bf16* to, const bf16* from, long count) { memcpy(to, from, count * sizeof *to); }
template <> inline void convert(float* to, const float* from, long count) { memcpy(to, from, count * sizeof *to); }
template <> inline void convert(int8_t* to, const int8_t* from, long count) { memcpy(to, from, count); }

// A row as a cache keeps it, in memory for whole vectors.
template <class P, class T> inline void narrow(P* to, float*, const T* from, long count) { convert(to, from, count); }
template <class T> inline void narrow(int8_t* to, float* scale, const T* from, long count) {
    *scale = quantise(to, from, count);
}

constexpr long GROUPS = BLOCK / GROUP;

inline long multiple(long x, long of) { return (x + of - 1) / of * of; }
inline long least(long a, long b) { return a < b ? a : b; }
inline long greatest(long a, long b) { return a > b ? a : b; }

// Where the keys and values of a block lie, group by group, and their scales, if they have any.
template <class N> struct Block {
    const N *keys[GROUPS], *values[GROUPS];
    const float *key_scales[GROUPS], *value_scales[GROUPS];
    Vec key_scale(long key) const { return load(key_scales[key / GROUP] + key % GROUP); }
    Vec value_scale(long key) const { return load(value_scales[key / GROUP] + key % GROUP); }
};

// One block of one head; `end` is the first position that does not exist.
struct Spot {
    const int64_t* pages;
    long block, end, head;
    long keys() const { return least(BLOCK, end - block * BLOCK); }
};

// Room for a block that cannot be used where it lies: [BLOCK, width], with a vector to spare.
template <class N> struct Shelf {
    N *keys, *values, *near;
    float *key_scales, *value_scales;  // [BLOCK]
};

// Numbers of a unit: 4 bytes, or the 2 that become so many.
template <class Number> constexpr long PER_UNIT = sizeof(Number) == 4 ? 1 : 2;

// The keys and values of a layer, kept as P, computed with as Number.
template <class P, class Number> struct Cells {
    static constexpr long PER = PER_UNIT<Number>;
    static constexpr long UNIT = PER * sizeof(Number);  // bytes
    static constexpr bool SAME = std::is_same<P, Number>::value;
    static constexpr bool SCALED = std::is_same<P, int8_t>::value;
    static constexpr long SCALE = SCALED ? sizeof(float) : 0;

    P *keys, *values;
    long kv_heads, width, page_size;
    long steps = (width + PER - 1) / PER;
    bool is_grouped = page_size % GROUP == 0 && width % PER == 0;

    // A head's part of a page, a row of smaller pages; scales.
    long place(int64_t page, long head) const { return (page * kv_heads + head) * page_size * (width + SCALE); }
    long row_at(int64_t slot, long head) const { return (slot * kv_heads + head) * (width + SCALE); }
    float* scale_at(P* part, long offset) const { return (float*)(part + page_size * width) + offset; }

    // Keys and values of one head, tokens in ascending order.
    template <class T>
    void write(const T* k, long k_stride, const T* v, long v_stride, const int64_t* slots, long tokens,
               long head) const {
        P* row = (P*)scratch(2, multiple(width * sizeof(P), 64) + 64);
        for (long t = 0; t < tokens; t++) {
            long page = slots[t] / page_size, offset = slots[t] % page_size;
            const T *key = k + t * k_stride + head * width, *value = v + t * v_stride + head * width;
            if (!is_grouped) {
                long at = row_at(slots[t], head);
                narrow(row, (float*)(keys + at + width), key, width);
                memcpy(keys + at, row, width * sizeof(P));
                narrow(row, (float*)(values + at + width), value, width);
                memcpy(values + at, row, width * sizeof(P));
                continue;
            }
            P *to = keys + place(page, head), *values_to = values + place(page, head);
            narrow(row, scale_at(to, offset), key, width);
            to += offset / GROUP * GROUP * width + offset % GROUP * PER;
            for (long i = 0; i < width; i += PER) memcpy(to + i * GROUP, row + i, PER * sizeof(P));
            narrow(row, scale_at(values_to, offset), value, width);
            join(values_to + offset / PER * PER * width, row, offset % PER);
        }
    }

    // A row among units. What shares a unit with the last position of a row reads as zero, whatever was left there.
    void join(P* to, const P* row, long at) const {
        if constexpr (PER == 1) {
            memcpy(to, row, width * sizeof(P));
        } else {
            typedef std::conditional_t<sizeof(P) == 2, uint16_t, uint8_t> Half;
            typedef std::conditional_t<sizeof(P) == 2, uint32_t, uint16_t> Unit;
            constexpr int bits = 8 * sizeof(P);
            Unit* unit = (Unit*)to;
            const Half* half = (const Half*)row;
            if (at)
                for (long i = 0; i < width; i++) unit[i] = (Half)unit[i] | (Unit)((Unit)half[i] << bits);
            else
                for (long i = 0; i < width; i++) unit[i] = half[i];
        }
    }

    // Groups behind the end of the row are not there: the last one stands for them.
    Block<P> locate(const Spot& spot) const {
        Block<P> block;
        long base = spot.block * BLOCK, last = (spot.keys() - 1) / GROUP;
        for (long g = 0; g < GROUPS; g++) {
            long position = base + least(g, last) * GROUP;
            long part = place(spot.pages[position / page_size], spot.head), offset = position % page_size;
            block.keys[g] = keys + part + offset * width;
            block.values[g] = values + part + offset * width;
            block.key_scales[g] = scale_at(keys + part, offset);
            block.value_scales[g] = scale_at(values + part, offset);
        }
        return block;
    }

    long row_at(const Spot& spot, long position) const {
        return row_at(spot.pages[position / page_size] * page_size + position % page_size, spot.head);
    }

    // A block of plain rows, laid out as if its pages held groups.
    void gather(const Shelf<Number>& shelf, const Spot& spot, const Spot& next) const {
        long base = spot.block * BLOCK, count = spot.keys();
        memset(shelf.near, 0, BLOCK * steps * UNIT);
        for (long j = 0; j < count; j++) {
            long at = row_at(spot, base + j);
            if constexpr (SCALED) {
                shelf.key_scales[j] = *(const float*)(keys + at + width);
                shelf.value_scales[j] = *(const float*)(values + at + width);
            }
            convert(shelf.near + j * steps * PER, keys + at, width);
            if (j < next.keys()) {
                long then = row_at(next, next.block * BLOCK + j);
                for (long i = 0; i < width; i += 64 / sizeof(P)) {
                    __builtin_prefetch(keys + then + i, 0, 2);
                    __builtin_prefetch(values + then + i, 0, 2);
                }
            }
        }
        for (long j = 0; j < BLOCK; j += GROUP)
            for (long s = 0; s < steps; s++)
                for (long i = 0; i < GROUP; i++)
                    memcpy(shelf.keys + (j * steps + s * GROUP + i) * PER, shelf.near + ((j + i) * steps + s) * PER, UNIT);
        memset(shelf.values, 0, BLOCK * width * sizeof(Number));
        for (long j = 0; j < count; j++) {
            convert(shelf.near, values + row_at(spot, base + j), width);
            for (long i = 0; i < width; i++) shelf.values[(j / PER * width + i) * PER + j % PER] = shelf.near[i];
        }
    }

    // Groups of another type than is computed with; those of `next` are asked of memory meanwhile.
    void widen(const Shelf<Number>& shelf, Block<Number>* to, const Spot& spot, const Spot& next) const {
        Block<P> from = locate(spot), then = locate(next);
        memcpy(to->key_scales, from.key_scales, sizeof from.key_scales);
        memcpy(to->value_scales, from.value_scales, sizeof from.value_scales);
        for (long g = 0; g * GROUP < spot.keys(); g++) {
            constexpr long LINE = 64 / sizeof(P);
            for (long i = 0; i < GROUP * width; i += LINE) {
                __builtin_prefetch(then.keys[g] + i, 0, 2);
                __builtin_prefetch(then.values[g] + i, 0, 2);
                long count = least(LINE, GROUP * width - i);
                convert(shelf.keys + g * GROUP * width + i, from.keys[g] + i, count);
                convert(shelf.values + g * GROUP * width + i, from.values[g] + i, count);
            }
        }
    }

    Block<Number> fetch(const Shelf<Number>& shelf, const Spot& spot, const Spot& next) const {
        if constexpr (SAME)
            if (is_grouped) return locate(spot);
        Block<Number> own;
        for (long g = 0; g < GROUPS; g++) {
            own.keys[g] = shelf.keys + g * GROUP * steps * PER;
            own.values[g] = shelf.values + g * GROUP * width;
            own.key_scales[g] = shelf.key_scales + g * GROUP;
            own.value_scales[g] = shelf.value_scales + g * GROUP;
        }
        if (is_grouped)
            widen(shelf, &own, spot, next);
        else
            gather(shelf, spot, next);
        return own;
    }
};

}  // namespace
