// Runs out of bits, 64 pixels at a time.
#pragma once

#include <bit>

#include "rle.hpp"

namespace delineate {

// Turns the value changes of a stream of bits into runs.
class BitScanner {
   public:
    explicit BitScanner(RunWriter& writer) : writer_(writer) {}

    // The `count` lowest bits of `bits` are the pixels at position, position + 1, ...; higher bits are zero.
    void feed(uint64_t bits, int64_t position, int64_t count) {
        uint64_t toggles = bits ^ ((bits << 1) | inside_);
        if (count < 64) toggles &= (uint64_t{1} << count) - 1;
        while (toggles) {
            toggle(position + std::countr_zero(toggles));
            toggles &= toggles - 1;
        }
    }
    // All pixels from `position` on are zero until the next feed.
    void zeros(int64_t position) {
        if (inside_) toggle(position);
    }

   private:
    void toggle(int64_t position) {
        if (inside_) writer_.ones(begin_, position);
        begin_ = position;
        inside_ ^= 1;
    }
    RunWriter& writer_;
    uint64_t inside_ = 0;
    int64_t begin_ = 0;
};

}  // namespace delineate
