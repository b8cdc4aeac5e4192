#include "open_mask.hpp"

#include <bit>

#include "simd.hpp"

namespace delineate {

DELINEATE_SIMD_CLONES
int64_t shared_bits(const uint64_t* a, const uint64_t* b, int64_t n) {
    int64_t sum = 0;
    for (int64_t k = 0; k < n; ++k) sum += std::popcount(a[k] & b[k]);
    return sum;
}

std::vector<OpenMask> open_masks(const Rle& rle) {
    std::vector<OpenMask> shapes(static_cast<size_t>(rle.size()));
    const int64_t grain = worth_a_thread(rle.size(), 8 * static_cast<int64_t>(rle.counts.size()));
    parallel_for(rle.size(), grain, 0, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) shapes[i] = OpenMask(rle.runs(i), rle.height);
    });
    return shapes;
}

}  // namespace delineate
