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
// The call that is made now, on one line of the cache: helpers look at it all the time.
struct alignas(64) Job {
    uint64_t free[MOST / 64] = {};  // bit i: share i is nobody's yet. Helper i takes no other
    void (*work)(void*, int);
    void* with;
} job;
Word left;    // shares that are not done; the caller's futex
Word wakeup;  // changes when helpers are woken; their futex
Word sleepers, caller_sleeps;
int alive = 1;
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

// Whether `is_over` came true within a while.
template <class F> bool spin(F&& is_over) {
    for (long end = now() + SPIN_NANOSECONDS; now() < end;)
        for (int i = 0; i < 64; i++) {
            if (is_over()) return true;
            relax();
        }
    return false;
}

bool is_free(int share) { return __atomic_load_n(&job.free[share / 64], __ATOMIC_SEQ_CST) >> share % 64 & 1; }
bool take(int share) {
    uint64_t own = 1ull << share % 64;
    return __atomic_fetch_and(&job.free[share / 64], ~own, __ATOMIC_SEQ_CST) & own;
}

void* serve(void* number) {
    int own = (int)(intptr_t)number;
    for (;;) {
        while (!spin([&] { return is_free(own); })) {
            __atomic_add_fetch(&sleepers.value, 1, __ATOMIC_SEQ_CST);
            uint32_t seen = get(wakeup);
            if (!is_free(own)) sleep_on(wakeup, seen);
            __atomic_sub_fetch(&sleepers.value, 1, __ATOMIC_SEQ_CST);
        }
        if (!take(own)) continue;
        job.work(job.with, own);
        if (__atomic_sub_fetch(&left.value, 1, __ATOMIC_SEQ_CST) == 0 && get(caller_sleeps)) wake(left);
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
    job = {};
    left.value = sleepers.value = caller_sleeps.value = 0;
    one_call = PTHREAD_MUTEX_INITIALIZER;
}

void grow(int threads) {
    static bool watched = false;
    if (!watched) watched = pthread_atfork(nullptr, nullptr, forget) == 0;
    for (; alive < threads; alive++) {
        pthread_t started;
        if (pthread_create(&started, nullptr, serve, (void*)(intptr_t)alive)) return;
        pthread_detach(started);
        helpers[alive] = started;
        homes[0] = nth_processor(0);
        homes[alive] = nth_processor(alive);
        caller_at = -1;
    }
}

void wake_helpers() {
    if (!get(sleepers)) return;
    __atomic_add_fetch(&wakeup.value, 1, __ATOMIC_SEQ_CST);
    wake(wakeup);
}

}  // namespace

void run_on_threads(int threads, void (*work)(void*, int), void* with) {
    for (; threads > MOST; threads--) work(with, threads - 1);
    pthread_mutex_lock(&one_call);
    if (threads > alive) grow(threads);
    place_helpers();
    job.work = work;
    job.with = with;
    __atomic_store_n(&left.value, threads - 1, __ATOMIC_SEQ_CST);
    for (int first = 0; first < threads; first += 64) {
        uint64_t some = threads - first < 64 ? (1ull << (threads - first)) - 1 : ~0ull;
        __atomic_store_n(&job.free[first / 64], first ? some : some - 1, __ATOMIC_SEQ_CST);
    }
    wake_helpers();
    work(with, 0);
    // A helper that does not come (it sleeps, its processor is taken, it could not be started) is not waited for.
    uint32_t own = 0;
    for (int share = 1; share < threads; share++)
        if (is_free(share) && take(share)) work(with, share), own++;
    if (own) __atomic_sub_fetch(&left.value, own, __ATOMIC_SEQ_CST);
    while (get(left) && !spin([] { return !get(left); })) {
        __atomic_store_n(&caller_sleeps.value, 1, __ATOMIC_SEQ_CST);
        if (uint32_t busy = get(left)) sleep_on(left, busy);
        __atomic_store_n(&caller_sleeps.value, 0, __ATOMIC_SEQ_CST);
    }
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
