// What the native tests share: a check that says where it failed, repeatable random numbers, masks as pixels.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <random>
#include <stdexcept>
#include <vector>

#include "rle.hpp"

#define CHECK(condition)                                                              \
    do {                                                                              \
        if (!(condition)) {                                                           \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);      \
            std::exit(1);                                                             \
        }                                                                             \
    } while (false)

namespace delineate::test {

class Random {
   public:
    explicit Random(uint64_t seed) : engine_(seed) {}
    int64_t below(int64_t n) { return static_cast<int64_t>(engine_() % static_cast<uint64_t>(n)); }
    int64_t between(int64_t low, int64_t high) { return low + below(high - low + 1); }
    double unit() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }

   private:
    std::mt19937_64 engine_;  // the same numbers on every platform, unlike the distributions of <random>
};

// (N, H, W) bytes.
struct Pixels {
    int64_t n, height, width;
    std::vector<uint8_t> values;
    Pixels(int64_t count, int64_t h, int64_t w) : n(count), height(h), width(w), values(static_cast<size_t>(n * h * w)) {}
    uint8_t& at(int64_t i, int64_t y, int64_t x) { return values[(i * height + y) * width + x]; }
    bool operator==(const Pixels&) const = default;
};

// Noise, or a few rectangles: runs of every length, empty and full masks, holes.
inline Pixels random_pixels(Random& random, int64_t n, int64_t height, int64_t width) {
    Pixels out(n, height, width);
    for (int64_t i = 0; i < n; ++i) {
        if (random.below(2)) {
            const double share = static_cast<double>(random.below(5)) / 4;
            for (int64_t y = 0; y < height; ++y)
                for (int64_t x = 0; x < width; ++x) out.at(i, y, x) = random.unit() < share;
            continue;
        }
        for (int64_t k = random.below(5); k > 0 && height > 0 && width > 0; --k) {
            const int64_t y0 = random.below(height), y1 = random.between(y0, height), x0 = random.below(width);
            const int64_t x1 = random.between(x0, width), value = random.below(4) > 0;
            for (int64_t y = y0; y < y1; ++y)
                for (int64_t x = x0; x < x1; ++x) out.at(i, y, x) = static_cast<uint8_t>(value);
        }
    }
    return out;
}

// The invariants that every function of the core promises.
inline void check_canonical(const Rle& rle) {
    CHECK(rle.offsets.front() == 0 && rle.offsets.back() == static_cast<int64_t>(rle.counts.size()));
    for (int64_t i = 0; i < rle.size(); ++i) {
        const auto runs = rle.runs(i);
        CHECK(!runs.empty());
        int64_t sum = 0;
        for (size_t k = 0; k < runs.size(); ++k) {
            CHECK(k == 0 || runs[k] > 0);
            sum += runs[k];
        }
        CHECK(sum == rle.pixels());
    }
}

// Whether fn throws std::invalid_argument; any other exception ends the test.
template <class Fn>
bool refuses(Fn&& fn) {
    try {
        fn();
        return false;
    } catch (const std::invalid_argument& error) {
        CHECK(error.what()[0] != '\0');
        return true;
    }
}

}  // namespace delineate::test
