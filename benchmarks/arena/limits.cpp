// What the machine can do at best: `limits THREADS` prints how fast it reads, and how fast it multiplies.
// Build: c++ -O3 -march=native -pthread limits.cpp -o limits. Vectors of the compiler, so that any processor will do;
// products of 16 and 8 bits where AVX-512 has them. AMX is not measured: there its share of these limits exceeds one.
#include <pthread.h>
#include <sys/mman.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

using Wide = uint64_t __attribute__((vector_size(64)));

static double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Seconds until all threads, each on a processor of its own, have done their part.
static double together(int threads, const std::function<void(int)>& part) {
    std::vector<std::thread> others;
    const double began = now();
    for (int at = 0; at < threads; ++at) {
        others.emplace_back([&part, at] {
            cpu_set_t mine;
            CPU_ZERO(&mine);
            CPU_SET(at, &mine);
            pthread_setaffinity_np(pthread_self(), sizeof mine, &mine);
            part(at);
        });
    }
    for (auto& each : others) each.join();
    return now() - began;
}

template <typename T>
static void keep(const T& value) {
    asm volatile("" : : "m"(value) : "memory");
}

static void read(const char* begin, size_t bytes, size_t ahead) {
    Wide sums[4] = {};
    for (size_t at = 0; at < bytes; at += 256) {
        for (int line = 0; line < 4; ++line) {
            __builtin_prefetch(begin + at + 64 * line + ahead);
            sums[line] += *reinterpret_cast<const Wide*>(begin + at + 64 * line);
        }
    }
    keep(sums);
}

// Bytes per second, with the distance of prefetching that does best.
static double reading(int threads) {
    const size_t each = (size_t(1) << 30) / threads, margin = 8192;
    char* place = static_cast<char*>(aligned_alloc(1 << 21, (size_t(1) << 30) + (1 << 21)));
    madvise(place, size_t(1) << 30, MADV_HUGEPAGE);
    memset(place, 1, (size_t(1) << 30) + margin);
    double best = 1e9;
    for (size_t ahead : {640, 1280, 2048, 4096})
        for (int run = 0; run < 2; ++run)
            best = std::min(best, together(threads, [=](int at) { read(place + each * at, each, ahead); }));
    free(place);
    return double(each) * threads / best;
}

// Operations per second of `step`, which does `operations` of them on twelve independent sums.
template <typename Sum, typename Step>
static double multiplying(int threads, Sum zero, double operations, Step step) {
    const int rounds = 4000000;
    auto part = [=](int) {
        Sum sums[12];
        for (Sum& each : sums) each = zero;
        for (int round = 0; round < rounds; ++round)
            for (Sum& each : sums) each = step(each);
        keep(sums);
    };
    double best = 1e9;
    for (int run = 0; run < 3; ++run) best = std::min(best, together(threads, part));
    return operations * 12 * rounds * threads / best;
}

using Floats = float __attribute__((vector_size(64)));

int main(int count, char** words) {
    const int threads = count > 1 ? atoi(words[1]) : 1;
    Floats one;
    for (int at = 0; at < 16; ++at) one[at] = 1.0f;
    asm volatile("" : "+m"(one));
    double bf16 = multiplying(threads, Floats{}, 32, [one](Floats sum) { return sum + one * one; });
    double int8 = bf16;
    const char *of_bf16 = "float32", *of_int8 = "float32";
#if defined(__AVX512BF16__)
    const __m512bh halves = reinterpret_cast<const __m512bh&>(one);
    bf16 = multiplying(threads, _mm512_setzero_ps(), 64,
                       [halves](__m512 sum) { return _mm512_dpbf16_ps(sum, halves, halves); });
    of_bf16 = "avx512_bf16";
#endif
#if defined(__AVX512VNNI__)
    const __m512i bytes = reinterpret_cast<const __m512i&>(one);
    int8 = multiplying(threads, _mm512_setzero_si512(), 128,
                       [bytes](__m512i sum) { return _mm512_dpbusd_epi32(sum, bytes, bytes); });
    of_int8 = "avx512_vnni";
#endif
    printf("{\"threads\": %d, \"read\": %.4g, \"bf16\": %.4g, \"int8\": %.4g, \"of_bf16\": \"%s\", \"of_int8\": \"%s\"}\n",
           threads, reading(threads), bf16, int8, of_bf16, of_int8);
}
