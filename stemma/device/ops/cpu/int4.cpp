// Matrices of 4 bits: a small integer for each group of 32 inputs, and a scale for each output.
//
// Packed: group by group, its four units word by word for all columns of a panel, then its integers, one byte for each
// column; behind all groups the scales of the outputs. A unit is eight weights, each 8 too large: the low halves of its
// bytes meet one step of a row, the high halves the next. Inputs are filled up to whole groups with zeros.
//
// A group's sum is multiplied by its integer, so all of a sum stays an integer. It cannot overflow: the larger the
// number of inputs, the smaller are the integers (`levels`).
#include "quantise.h"

namespace {

struct Int4 {
    typedef Bytes::X X;
    typedef Ints Sum;
    static constexpr int GROUP = 32, WORDS = GROUP / 8, OFFSET = 8;
    static constexpr bool IS_FOR_TILES = false;  // sums of a group are scaled before they are added
    static constexpr int STEP_BYTES = (WORDS * 4 + 1) * PANEL;  // of a group
#if defined(__AVX512VNNI__)
    static constexpr int ALONE = 4, MANY = 2;
#else
    static constexpr int ALONE = 4, MANY = 1;
#endif
    struct Shape {
        long group = GROUP / 4, groups, bytes;  // steps of a group; bytes of a panel
        explicit Shape(long inputs) : groups((inputs + GROUP - 1) / GROUP), bytes(groups * STEP_BYTES + PANEL * 4) {}
    };

    template <int R, int V>
    static void sums(const X* const* x, const float* panel, int column, long groups, Ints (&sum)[R][V], Ahead ahead) {
        const char* from = (const char*)panel;
        for (long at = 0; groups; groups--, at += GROUP / 4 + 1, from += STEP_BYTES, ahead.from += ahead.stride) {
            Ints part[R][V];
            for (int r = 0; r < R; r++)
                for (int v = 0; v < V; v++) part[r][v] = Bytes::constant(x[r][at]);
            for (int w = 0; w < WORDS; w++) {
                for (int i = ahead.lines * w / WORDS; i < ahead.lines * (w + 1) / WORDS; i++)
                    __builtin_prefetch(ahead.from + i * 64, 0, 2);
                for (int v = 0; v < V; v++) {
                    Ints unit;
                    memcpy(&unit, from + (w * PANEL + column + v * LANES) * 4, sizeof unit);
                    Ints low = unit & 0x0f0f0f0f, high = (Ints)((Bits)unit >> 4) & 0x0f0f0f0f;
                    for (int r = 0; r < R; r++) {
                        part[r][v] = Bytes::add(part[r][v], low, x[r][at + 2 * w + 1]);
                        part[r][v] = Bytes::add(part[r][v], high, x[r][at + 2 * w + 2]);
                    }
                }
            }
            for (int v = 0; v < V; v++) {
                Octets levels;
                memcpy(&levels, from + WORDS * PANEL * 4 + column + v * LANES, sizeof levels);
                Ints level = __builtin_convertvector(levels, Ints);
                for (int r = 0; r < R; r++) sum[r][v] += part[r][v] * level;
            }
        }
    }

    static void widen(float* to, const char* panel, long column, const Shape& shape) {
        for (long g = 0; g < shape.groups; g++, panel += STEP_BYTES) {
            int level = ((const int8_t*)panel)[WORDS * PANEL * 4 + column];
            for (int i = 0; i < GROUP; i++) {
                int both = ((const uint8_t*)panel)[(i / 8 * PANEL + column) * 4 + i % 4];
                *to++ = (float)(((both >> i % 8 / 4 * 4 & 15) - OFFSET) * level);
            }
        }
    }
};

// The largest integer of a group: no sum of `inputs` products of at most 8 * levels and 127 may exceed 2^31.
inline long levels(long inputs) {
    long most = 2113664 / inputs;
    return most > 127 ? 127 : most;
}

// One output: numbers in [0, 15], `padded` of them, and an integer for each group. Returns what 1 stands for.
template <class T>
float quantise_groups(uint8_t* to, int8_t* of_groups, const T* x, long count, long padded, float levels) {
    float most = magnitude(x, count), scale = inverse(8 * levels, most);
    for (long begin = 0; begin < padded; begin += Int4::GROUP) {
        Vec high = {}, low = {};
        for (long i = begin; i < begin + Int4::GROUP; i += LANES) {
            Vec v = i < count ? load(x + i, count - i) : Vec{};
            high = larger(v, high);
            low = larger(-v, low);
        }
        // The number farthest from zero becomes -8, as far as the group's integer allows.
        float above = ::most(high), below = ::most(low), farthest = above > below ? above : -below;
        int level = nearest(broadcast(farthest * scale * -0.125f))[0];
        if (level == 0) level = 1;
        *of_groups++ = (int8_t)level;
        Vec factor = broadcast(scale / (float)level);
        for (long i = begin; i < begin + Int4::GROUP; i += LANES) {
            Ints q = nearest((i < count ? load(x + i, count - i) : Vec{}) * factor);
            Ints under = q < -8, over = q > 7;
            q = ((q & ~under & ~over) | (under & -8) | (over & 7)) + Int4::OFFSET;
            Octets bytes = __builtin_convertvector(q, Octets);
            memcpy(to + i, &bytes, sizeof bytes);
        }
    }
    return most / (8 * levels);
}

template <class T> void lay(char* packed, const T* rows, long first, long count, long inputs, int threads) {
    Int4::Shape shape(inputs);
    long words = shape.groups * Int4::WORDS, padded = shape.groups * Int4::GROUP;
    each_panel(first, count, inputs, threads, [&](long p, long begin, long end) {
        char* panel = packed + p * shape.bytes;
        uint32_t* units = (uint32_t*)scratch(0, PANEL * (words * 4 + shape.groups) + padded);
        int8_t* of_groups = (int8_t*)(units + PANEL * words);
        uint8_t* row = (uint8_t*)(of_groups + PANEL * shape.groups);
        for (long c = begin; c < end; c++) {
            const T* from = rows + (p * PANEL + c - first) * inputs;
            float scale = quantise_groups(row, of_groups + c * shape.groups, from, inputs, padded, (float)levels(inputs));
            memcpy(panel + shape.bytes - (PANEL - c) * 4, &scale, 4);
            for (long w = 0; w < words; w++) {
                uint32_t low, high;
                memcpy(&low, row + w * 8, 4);
                memcpy(&high, row + w * 8 + 4, 4);
                units[c * words + w] = low | high << 4;
            }
        }
        for (long g = 0; g < shape.groups; g++, panel += Int4::STEP_BYTES) {
            put_columns((uint32_t*)panel, units + g * Int4::WORDS, words, begin, end, Int4::WORDS);
            for (long c = begin; c < end; c++) panel[Int4::WORDS * PANEL * 4 + c] = of_groups[c * shape.groups + g];
        }
    });
}

}  // namespace

QUANTISED(Int4, int4, float, float32)
QUANTISED(Int4, int4, bf16, bfloat16)
