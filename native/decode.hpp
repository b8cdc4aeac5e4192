// YOLO-style heads and mask prototypes -> boxes and runs. A mask at picture size never exists as pixels.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "rle.hpp"

namespace delineate {

// The numbers of one detection head, as the network wrote them.
struct Head {
    enum class Layout {
        columns,  // (4 + classes + coefficients, anchors): cx, cy, w, h in input pixels, probabilities, coefficients
        rows,     // (anchors, 4 + classes + coefficients): the same, transposed
        bins,     // (anchors, 64 + classes + coefficients): 4 x 16 DFL bins, class logits, coefficients
    };
    Layout layout = Layout::columns;
    const float* data = nullptr;
    int64_t anchors = 0;
    int64_t classes = 0;
    int64_t coefficients = 0;             // per anchor
    const float* separate = nullptr;      // (anchors, coefficients) where the head does not hold them itself
    int64_t input_height = 0, input_width = 0;
    std::vector<int64_t> strides;         // of the anchor grids, level by level; only for `bins`
};

struct Selection {
    double score = 0.25;             // keep anchors whose best class scores above this
    double iou = 0.7;                // suppress a box that overlaps a better one by more than this
    int64_t max_detections = 300;
    int64_t max_candidates = 30000;  // only the best so many enter the suppression
    bool agnostic = false;           // suppress across classes
};

struct Selected {
    std::vector<float> boxes;         // (N, 4) x0, y0, x1, y1 in input pixels
    std::vector<float> scores;        // (N) falling; ties by lower anchor
    std::vector<int64_t> labels;      // (N) best class; ties by lower class
    std::vector<float> coefficients;  // (N, head.coefficients)
};

// Scores first, then boxes of the survivors, then greedy suppression. Anchors with a non-finite box or score, or an
// empty box, are dropped; of the classes of an anchor, NaN loses.
Selected detect(const Head& head, const Selection& selection);

struct Prototypes {
    const float* data = nullptr;  // (depth, height, width)
    int64_t depth = 0, height = 0, width = 0;
};

// Picture pixel centre (x + 0.5, y + 0.5) lies at prototype cell coordinate ((x + 0.5) * step_x + offset_x, ...), where
// the centre of cell (i, j) is (i, j): half-pixel centres.
struct Sampling {
    int64_t height = 0, width = 0;  // of the picture
    double step_y = 1, step_x = 1;
    double offset_y = 0, offset_x = 0;
};

// One mask per object: the pixels whose centre lies in the object's box and where coefficients . prototypes,
// interpolated bilinearly (edge-clamped), is above zero.
// boxes: (N, 4) x0, y0, x1, y1 in picture pixels, half-open; coefficients: (N, prototypes.depth).
Rle masks_from_prototypes(std::span<const float> boxes, std::span<const float> coefficients,
                          const Prototypes& prototypes, const Sampling& sampling, unsigned threads);

struct Crops {
    const float* data = nullptr;  // (N, height, width) logits, each stretched over its own box
    int64_t height = 0, width = 0;
};

// One mask per box: the pixels at whose centre the probabilities, interpolated bilinearly between the centres of the
// crop's cells and falling to zero at one cell outside of them, are at least one half. Crops with NaN give nothing.
Rle masks_from_crops(std::span<const float> boxes, const Crops& crops, std::array<int64_t, 2> size, unsigned threads);

}  // namespace delineate
