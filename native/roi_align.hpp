// RoIAlign of masks, from their runs: what a mask head shall give for a box.
#pragma once

#include <array>
#include <span>

#include "rle.hpp"

namespace delineate {

// Writes (R, size[0], size[1]) float32: box r averaged over a grid of bins, of mask indices[r] as a picture of zeros and
// ones, by as many bilinear samples per bin and axis as the bin has pixels, rounded up. boxes: (R, 4) xyxy, finite and of
// moderate size. Positions are computed in float32 in the order of operations of torchvision's roi_align; `aligned` as there.
void roi_align(const Rle& rle, std::span<const int64_t> indices, std::span<const float> boxes, std::array<int64_t, 2> size,
               bool aligned, float* out, unsigned threads);

}  // namespace delineate
