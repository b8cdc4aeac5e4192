// parallel_for: one call, a few std::threads, no persistent pool (a pool does not survive fork(), and data loaders fork).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#ifdef __linux__
#include <sched.h>
#endif

namespace delineate {

// What the user asked for; 0: as many threads as there are CPUs.
inline std::atomic<unsigned> chosen_threads{0};

// How many threads a call may use: what the user chose, else the number of CPUs that this process may use (which respects
// taskset and cgroup cpusets, unlike hardware_concurrency).
inline unsigned available_threads() {
    if (const unsigned chosen = chosen_threads.load(std::memory_order_relaxed)) return chosen;
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
    return std::max(1u, std::thread::hardware_concurrency());
}

// Calls fn(begin, end) over [0, n) in chunks of `grain`, on at most `threads` threads (0 = all available).
// The first exception thrown by a chunk is rethrown here after all threads have stopped.
template <class Fn>
void parallel_for(int64_t n, int64_t grain, unsigned threads, Fn&& fn) {
    grain = std::max<int64_t>(1, grain);
    const int64_t chunks = (n + grain - 1) / grain;
    if (threads == 0) threads = available_threads();
    threads = static_cast<unsigned>(std::min<int64_t>(threads, chunks));
    if (threads <= 1) {
        if (n > 0) fn(int64_t{0}, n);
        return;
    }
    std::atomic<int64_t> next{0};
    std::exception_ptr error;
    std::mutex guard;
    auto work = [&] {
        try {
            for (int64_t c; (c = next.fetch_add(1)) < chunks;) fn(c * grain, std::min(n, (c + 1) * grain));
        } catch (...) {
            const std::lock_guard lock(guard);
            if (!error) error = std::current_exception();
            next = chunks;
        }
    };
    std::vector<std::jthread> pool;
    pool.reserve(threads - 1);
    try {
        while (pool.size() + 1 < threads) pool.emplace_back(work);
    } catch (const std::system_error&) {
        // The system gives no more threads (a container's limit): those that there are do all of the work.
    }
    work();
    pool.clear();
    if (error) std::rethrow_exception(error);
}

}  // namespace delineate
