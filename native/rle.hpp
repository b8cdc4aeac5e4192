// Rle: N run-length masks on one canvas. The value type that everything else in the core takes and returns.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace delineate {

// COCO's convention: each mask is read column by column (Fortran order); counts alternate zeros, ones, zeros, ...,
// starting with zeros (so the first count may be 0); the counts of one mask sum to height * width.
struct Rle {
    int64_t height = 0;
    int64_t width = 0;
    std::vector<uint32_t> counts;       // the runs of all masks, one after the other
    std::vector<int64_t> offsets = {0};  // (N + 1) mask i owns counts[offsets[i], offsets[i + 1])

    int64_t size() const { return static_cast<int64_t>(offsets.size()) - 1; }
    std::span<const uint32_t> runs(int64_t i) const {
        return {counts.data() + offsets[i], static_cast<size_t>(offsets[i + 1] - offsets[i])};
    }
};

}  // namespace delineate
