// Outlines with few corners, under a stated bound.
#pragma once

#include "rle.hpp"

namespace delineate {

struct Simplified {
    std::vector<int32_t> points;       // x, y, x, y, ... in half pixels
    std::vector<int64_t> rings = {0};  // (R + 1) ring r owns points [rings[r], rings[r + 1])
    std::vector<int64_t> masks = {0};  // (N + 1) mask i owns rings [masks[i], masks[i + 1])
};

// The outlines of trace(), ring for ring, in the same order and sense, no ring crossing itself or another, each within
// `distance` pixels of its outline (Hausdorff).
Simplified simplify_within(const Rle& rle, double distance);
// The same, filled by from_rings to masks whose intersection over union with the given ones is at least `iou`.
Simplified simplify_to_iou(const Rle& rle, double iou);

}  // namespace delineate
