// Masks of low resolution, interpolated to the size of a picture and straight to runs.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "rle.hpp"

namespace delineate {

// N maps of rows x columns logits. The network saw a canvas of side x side pixels with the picture in its top left corner.
struct Logits {
    const float* data = nullptr;
    int64_t n = 0, rows = 0, columns = 0;
    int64_t side = 0;                                // at least rows and columns
    int64_t content_height = 0, content_width = 0;  // 1..side
};

struct Thresholded {
    Rle masks;                   // logit > threshold
    std::vector<int64_t> inner;  // (N) pixels with a logit above threshold + margin
    std::vector<int64_t> outer;  // (N) above threshold - margin
};

// Bilinear interpolation (half-pixel centres, no antialias) to the canvas, the content cut out of it, and bilinear
// interpolation to height x width. Both steps are one sum over up to 3 x 3 cells, evaluated only where these do not all lie
// on the same side of the threshold.
Thresholded masks_from_logits(const Logits& logits, int64_t height, int64_t width, float threshold, float margin,
                              unsigned threads);

}  // namespace delineate
