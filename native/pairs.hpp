// How much masks cover each other, and greedy suppression of masks and boxes that cover each other too much.
#pragma once

#include <memory>

#include "rle.hpp"

namespace delineate {

// (N, M) float64 row-major: intersection over union of every mask of `a` with every mask of `b` (same canvas); over the
// area of the mask of `a` where crowd[j] is not 0 (crowd is empty or has M entries). 0 where nothing is shared.
std::vector<double> mask_iou(const Rle& a, const Rle& b, std::span<const uint8_t> crowd);

// Positions kept by greedy suppression, in the order of `order` (best first): an object goes when its overlap with a kept
// object is above the threshold.
std::vector<int64_t> mask_nms(const Rle& rle, std::span<const int64_t> order, double threshold);
// boxes: (N, 4) x0, y0, x1, y1, finite. IoU in float32; a box without area overlaps nothing.
std::vector<int64_t> box_nms(std::span<const float> boxes, std::span<const int64_t> order, float threshold);

// Pairs of objects that share something, sorted by `first`, then by `second`.
struct Pairs {
    std::vector<int64_t> first, second;
    std::vector<double> shared;  // pixels, or area
};
// Of `a` with `b`, or of `a` with itself where b is null: each pair once, first < second.
Pairs mask_pairs(const Rle& a, const Rle* b);
// Boxes (N, 4) x0, y0, x1, y1, finite.
Pairs box_pairs(std::span<const double> a, const std::span<const double>* b);

}  // namespace delineate
