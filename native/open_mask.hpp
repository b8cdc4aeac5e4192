// Masks opened for many comparisons with each other.
#pragma once

#include "rle.hpp"

namespace delineate {

// How many bits two rows of words share.
int64_t shared_bits(const uint64_t* a, const uint64_t* b, int64_t n);

// Where that is not much larger than the runs, they become bits: one band of 64 rows after the other, one word for each
// column of the box.
class OpenMask {
   public:
    OpenMask() = default;
    OpenMask(std::span<const uint32_t> runs, int64_t height) : box(tight_box(runs, height)), runs_(runs) {
        for (size_t k = 1; k < runs.size(); k += 2) area += runs[k];
        if (box.empty()) return;
        first_band_ = box.y0 / 64;
        bands_ = (box.y1 + 63) / 64 - first_band_;
        const int64_t words = bands_ * box.width();
        if (words > 64 + 16 * static_cast<int64_t>(runs.size())) return;
        bits_.assign(static_cast<size_t>(words), 0);
        for_each_span(runs, height, [&](int64_t x, int64_t y0, int64_t y1) {
            const int64_t first = y0 / 64, last = (y1 - 1) / 64;
            const uint64_t head = ~uint64_t{0} << (y0 % 64), tail = ~uint64_t{0} >> (63 - (y1 - 1) % 64);
            uint64_t* word = bits_.data() + (first - first_band_) * box.width() + x - box.x0;
            uint64_t* const end = word + (last - first) * box.width();
            // Most spans lie in one word or two: painted without a branch that would depend on it.
            const bool apart = word != end;
            *word |= apart ? head : head & tail;
            *end |= apart ? tail : 0;
            for (int64_t band = first + 1; band < last; ++band) *(word += box.width()) = ~uint64_t{0};
        });
    }

    int64_t intersection(const OpenMask& other) const {
        const Box common{std::max(box.x0, other.box.x0), std::max(box.y0, other.box.y0),
                         std::min(box.x1, other.box.x1), std::min(box.y1, other.box.y1)};
        if (common.empty()) return 0;
        return bits_.empty() || other.bits_.empty() ? merge_runs(other) : merge_bits(other, common);
    }

    Box box;
    int64_t area = 0;

   private:
    int64_t merge_bits(const OpenMask& other, const Box& common) const {
        int64_t sum = 0;
        for (int64_t band = common.y0 / 64; band < (common.y1 + 63) / 64; ++band)
            sum += shared_bits(word(band, common.x0), other.word(band, common.x0), common.width());
        return sum;
    }
    const uint64_t* word(int64_t band, int64_t x) const {
        return bits_.data() + (band - first_band_) * box.width() + x - box.x0;
    }

    int64_t merge_runs(const OpenMask& other) const {
        int64_t sum = 0;
        OnesCursor a(runs_), b(other.runs_);
        while (!a.done() && !b.done()) {
            sum += std::max<int64_t>(0, std::min(a.end, b.end) - std::max(a.begin, b.begin));
            (a.end < b.end ? a : b).next();
        }
        return sum;
    }

    std::span<const uint32_t> runs_;  // of an Rle that outlives this
    int64_t first_band_ = 0, bands_ = 0;
    std::vector<uint64_t> bits_;
};

std::vector<OpenMask> open_masks(const Rle& rle);

}  // namespace delineate
