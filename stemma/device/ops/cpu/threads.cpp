// A pool of threads that outlives its calls: they spin for a moment between two ops, then sleep.
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

namespace {

constexpr int MOST = 256;
constexpr long SPIN_NANOSECONDS = 50000;  // longer than what lies between two ops of a step

struct alignas(64) Word {
    uint32_t value = 0;
};
Word turn;      // counts calls; the sleepers' futex
Word left;      // threads that still work on this turn; the caller's futex
Word sleepers;  // how many threads may be asleep on `turn`
int alive = 1, wanted = 1;
void (*job)(void*, int);
void* job_with;
pthread_mutex_t one_call = PTHREAD_MUTEX_INITIALIZER;

uint32_t get(Word& word) { return __atomic_load_n(&word.value, __ATOMIC_SEQ_CST); }
void sleep_on(Word& word, uint32_t seen) {
    syscall(SYS_futex, &word.value, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
}
void wake(Word& word) { syscall(SYS_futex, &word.value, FUTEX_WAKE_PRIVATE, MOST, nullptr, nullptr, 0); }
void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}
long now() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

// Returns once the word is not `seen`, or is `seen` after a while.
uint32_t spin(Word& word, uint32_t seen) {
    for (long end = now() + SPIN_NANOSECONDS; now() < end;)
        for (int i = 0; i < 64; i++) {
            if (get(word) != seen) return get(word);
            relax();
        }
    return get(word);
}

void* serve(void* start) {
    int thread = (int)((uintptr_t)start >> 32);
    uint32_t seen = (uint32_t)(uintptr_t)start;
    for (;;) {
        uint32_t found = spin(turn, seen);
        while (found == seen) {
            __atomic_add_fetch(&sleepers.value, 1, __ATOMIC_SEQ_CST);
            sleep_on(turn, seen);
            __atomic_sub_fetch(&sleepers.value, 1, __ATOMIC_SEQ_CST);
            found = get(turn);
        }
        seen = found;
        if (thread < wanted) job(job_with, thread);
        if (__atomic_sub_fetch(&left.value, 1, __ATOMIC_SEQ_CST) == 0) wake(left);
    }
    return nullptr;
}

// Two threads that wait for each other must not share a processor. Helper i lives on the i-th that this process may
// use; the caller is free, and when it comes to a helper's home, that helper takes the first.
pthread_t helpers[MOST];
int homes[MOST];  // [0] is the first; -1: there are too few
int caller_at = -1;

int nth_processor(int number) {
    cpu_set_t usable;
    if (sched_getaffinity(0, sizeof usable, &usable) != 0) return -1;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &usable) && number-- == 0) return cpu;
    return -1;
}

void place_helpers() {
    int cpu = sched_getcpu();
    if (cpu == caller_at) return;
    caller_at = cpu;
    for (int i = 1; i < alive; i++) {
        if (homes[i] < 0) continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(homes[i] == cpu ? homes[0] : homes[i], &one);
        pthread_setaffinity_np(helpers[i], sizeof one, &one);
    }
}

// A forked child has no threads but its own.
void forget() {
    alive = 1;
    turn.value = left.value = sleepers.value = 0;
    one_call = PTHREAD_MUTEX_INITIALIZER;
}

void grow(int threads) {
    static bool watched = false;
    if (!watched) watched = pthread_atfork(nullptr, nullptr, forget) == 0;
    for (; alive < threads; alive++) {
        pthread_t started;
        void* start = (void*)((uintptr_t)alive << 32 | get(turn));  // its number, and the turn that is over
        if (pthread_create(&started, nullptr, serve, start)) return;
        pthread_detach(started);
        helpers[alive] = started;
        homes[0] = nth_processor(0);
        homes[alive] = nth_processor(alive);
        caller_at = -1;
    }
}

}  // namespace

void run_on_threads(int threads, void (*work)(void*, int), void* with) {
    if (threads > MOST) threads = MOST;
    pthread_mutex_lock(&one_call);
    if (threads > alive) grow(threads);
    place_helpers();
    // Without enough threads (a limit of the system), the caller does the shares of those that are missing.
    wanted = threads;
    job = work;
    job_with = with;
    uint32_t others = alive - 1;
    __atomic_store_n(&left.value, others, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&turn.value, 1, __ATOMIC_SEQ_CST);
    if (get(sleepers)) wake(turn);
    work(with, 0);
    for (int missing = alive; missing < threads; missing++) work(with, missing);
    for (uint32_t busy; (busy = get(left)) != 0;)
        if (spin(left, busy) == busy) sleep_on(left, busy);
    pthread_mutex_unlock(&one_call);
}

void* scratch(int slot, size_t bytes) {
    static thread_local struct {
        void* memory;
        size_t bytes;
    } kept[4];
    auto& mine = kept[slot];
    if (mine.bytes < bytes) {
        free(mine.memory);
        mine.memory = aligned_alloc(64, (bytes + 4095) & ~(size_t)4095);
        if (!mine.memory) abort();
        mine.bytes = bytes;
    }
    return mine.memory;
}
