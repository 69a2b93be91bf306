// Products with a packed panel on the tiles of AMX: 16 rows by 16 columns, 16 steps at a time.
//
// A packed panel is loaded where it lies: a row of a tile is one step of 16 columns. An element of the answer is summed
// by one instruction after the other, in the order of the steps, whatever its tile holds beside it; the last steps are
// filled up with zeros. So the order of a sum does not depend on the number of rows.
//
// The instructions are written as assembly: their numbers of tiles are part of them, and gcc 12 believes that a
// configuration is read in its first 8 bytes only. SOFT_TILES spells them out for machines that lack them, after
// Intel's Architecture Instruction Set Extensions Programming Reference: that is how the tests run this code anywhere.
#pragma once
#include "product.h"

#if !defined(TILES)
// A build without tiles has the same function and never calls it.
struct PairTiles {};
struct ByteTiles {};
constexpr bool HAS_TILES = false;
template <class Kind, class Put>
inline void tile_product(const void*, long, long, const void*, long, Put&&) {}
#else
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

constexpr bool HAS_TILES = true;
constexpr int TILE = 16;  // rows, columns and steps

struct alignas(64) TileShapes {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
    void set(int tile, int count) { row_bytes[tile] = 64, rows[tile] = (uint8_t)count; }
};

#if defined(SOFT_TILES)
struct SoftTiles {
    TileShapes shapes;
    uint32_t units[8][TILE][TILE];
};
inline SoftTiles& soft() {
    static thread_local SoftTiles tiles;
    return tiles;
}
inline void shape_tiles(const TileShapes& shapes) { soft() = {shapes, {}}; }
inline void release_tiles() {}
template <int T> inline void zero_tile() { memset(soft().units[T], 0, sizeof soft().units[T]); }
template <int T> inline void load_tile(const void* from, long stride) {
    for (int r = 0; r < soft().shapes.rows[T]; r++) memcpy(soft().units[T][r], (const char*)from + r * stride, 64);
}
template <int T> inline void store_tile(void* to) {
    for (int r = 0; r < soft().shapes.rows[T]; r++) memcpy((char*)to + r * 64, soft().units[T][r], 64);
}
template <int C, int A, int B> inline void dot_pairs() {
    SoftTiles& all = soft();
    for (int m = 0; m < all.shapes.rows[C]; m++)
        for (int k = 0; k < TILE; k++)
            for (int n = 0; n < TILE; n++) {
                float sum;
                memcpy(&sum, &all.units[C][m][n], 4);
                uint32_t a = all.units[A][m][k], b = all.units[B][k][n];
                sum += widened(bf16{(uint16_t)a}) * widened(bf16{(uint16_t)b});
                sum += widened(bf16{(uint16_t)(a >> 16)}) * widened(bf16{(uint16_t)(b >> 16)});
                memcpy(&all.units[C][m][n], &sum, 4);
            }
}
template <int C, int A, int B> inline void dot_bytes() {
    SoftTiles& all = soft();
    for (int m = 0; m < all.shapes.rows[C]; m++)
        for (int k = 0; k < TILE; k++)
            for (int n = 0; n < TILE; n++)
                for (int i = 0; i < 32; i += 8)
                    all.units[C][m][n] += (uint32_t)((int8_t)(all.units[A][m][k] >> i) * (uint8_t)(all.units[B][k][n] >> i));
}
#else
// Linux gives a process its tiles when it asks; without them the next instruction would end it with fewer words.
inline void ask_for_tiles() {
    static const bool granted = syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* XTILEDATA */) == 0;
    if (!granted) {
        fputs("the system refuses the tiles of AMX: take --kernels avx512_bf16\n", stderr);
        abort();
    }
}
inline void shape_tiles(const TileShapes& shapes) {
    ask_for_tiles();
    asm volatile("ldtilecfg %0" ::"m"(shapes) : "memory");
}
inline void release_tiles() { asm volatile("tilerelease"); }
template <int T> inline void zero_tile() { asm volatile("tilezero %%tmm%c0" ::"i"(T)); }
template <int T> inline void load_tile(const void* from, long stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(T) : "memory");
}
template <int T> inline void store_tile(void* to) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(64l), "i"(T) : "memory");
}
template <int C, int A, int B> inline void dot_pairs() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
}
template <int C, int A, int B> inline void dot_bytes() {  // rows with a sign, weights without
    asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
}
#endif

struct PairTiles {
    typedef Vec Sum;
    template <int C, int A, int B> static void dot() { dot_pairs<C, A, B>(); }
};
struct ByteTiles {
    typedef Ints Sum;
    template <int C, int A, int B> static void dot() { dot_bytes<C, A, B>(); }
};

// What a tile is loaded from: where it lies, or for the last steps a copy with zeros behind them.
struct Source {
    const uint32_t* from;
    long stride;  // bytes
    const uint32_t* last;
    long last_stride;
    template <int T> void load(long step, long pitch, bool is_whole) const {
        if (is_whole)
            load_tile<T>(from + step * pitch, stride);
        else
            load_tile<T>(last, last_stride);
    }
};

// Up to 32 rows by a panel. Few rows take all four tiles of columns at once, more take two by two.
template <class Kind, class Put>
inline void tiles_by_panel(const uint32_t* x, long stride, int rows, const uint32_t* panel, long steps,
                           const char* ahead, Put&& put) {
    const int top = rows < TILE ? rows : TILE, bottom = rows - top;
    alignas(64) uint32_t last_x[2 * TILE][TILE] = {}, last_panel[TILE][PANEL] = {}, answer[TILE][TILE];
    const long whole = steps / TILE * TILE;
    for (int r = 0; r < rows; r++) memcpy(last_x[r], x + r * stride + whole, (steps - whole) * 4);
    memcpy(last_panel, panel + whole * PANEL, (steps - whole) * PANEL * 4);
    const Source upper = {x, stride * 4, last_x[0], 64}, lower = {x + TILE * stride, stride * 4, last_x[TILE], 64};
    auto column_of = [&](int c) { return Source{panel + c * TILE, PANEL * 4, last_panel[0] + c * TILE, PANEL * 4}; };
    auto each_step = [&](auto&& work) {
        for (long k = 0; k < steps; k += TILE) {
            for (int i = 0; ahead && i < TILE * PANEL * 4; i += 64) __builtin_prefetch(ahead + k * PANEL * 4 + i, 0, 2);
            work(k, k < whole);
        }
    };
    auto tell = [&](int first, int count, int column) {
        for (int r = 0; r < count; r++) {
            typename Kind::Sum sums;
            memcpy(&sums, answer[r], sizeof sums);
            put(first + r, column, sums);
        }
    };
    TileShapes shapes;
    if (!bottom) {
        for (int t = 0; t < 4; t++) shapes.set(t, top);
        shapes.set(4, top), shapes.set(5, TILE), shapes.set(6, TILE), shapes.set(7, TILE);
        shape_tiles(shapes);
        zero_tile<0>(), zero_tile<1>(), zero_tile<2>(), zero_tile<3>();
        each_step([&](long k, bool is_whole) {
            upper.load<4>(k, 1, is_whole);
            column_of(0).template load<5>(k, PANEL, is_whole), Kind::template dot<0, 4, 5>();
            column_of(1).template load<6>(k, PANEL, is_whole), Kind::template dot<1, 4, 6>();
            column_of(2).template load<7>(k, PANEL, is_whole), Kind::template dot<2, 4, 7>();
            column_of(3).template load<5>(k, PANEL, is_whole), Kind::template dot<3, 4, 5>();
        });
        store_tile<0>(answer), tell(0, top, 0);
        store_tile<1>(answer), tell(0, top, TILE);
        store_tile<2>(answer), tell(0, top, 2 * TILE);
        store_tile<3>(answer), tell(0, top, 3 * TILE);
        return;
    }
    shapes.set(0, top), shapes.set(1, top), shapes.set(2, bottom), shapes.set(3, bottom);
    shapes.set(4, top), shapes.set(5, bottom), shapes.set(6, TILE), shapes.set(7, TILE);
    shape_tiles(shapes);
    for (int half = 0; half < 2; half++) {
        zero_tile<0>(), zero_tile<1>(), zero_tile<2>(), zero_tile<3>();
        each_step([&](long k, bool is_whole) {
            upper.load<4>(k, 1, is_whole), lower.load<5>(k, 1, is_whole);
            column_of(2 * half).template load<6>(k, PANEL, is_whole);
            column_of(2 * half + 1).template load<7>(k, PANEL, is_whole);
            Kind::template dot<0, 4, 6>(), Kind::template dot<1, 4, 7>();
            Kind::template dot<2, 5, 6>(), Kind::template dot<3, 5, 7>();
        });
        ahead = nullptr;
        const int column = 2 * half * TILE;
        store_tile<0>(answer), tell(0, top, column);
        store_tile<1>(answer), tell(0, top, column + TILE);
        store_tile<2>(answer), tell(TILE, bottom, column);
        store_tile<3>(answer), tell(TILE, bottom, column + TILE);
    }
}

// Any number of rows, `stride` steps apart, by one panel, as product() does.
template <class Kind, class Put>
inline void tile_product(const void* numbers, long stride, long rows, const void* panel, long steps, Put&& put) {
    const uint32_t* x = (const uint32_t*)numbers;
    for (long row = 0; row < rows; row += 2 * TILE) {
        const int few = (int)(rows - row < 2 * TILE ? rows - row : 2 * TILE);
        tiles_by_panel<Kind>(x + row * stride, stride, few, (const uint32_t*)panel, steps,
                             row ? nullptr : (const char*)panel + 2048,
                             [&](int r, int column, typename Kind::Sum sums) { put(row + r, column, sums); });
    }
    release_tiles();
}
#endif
