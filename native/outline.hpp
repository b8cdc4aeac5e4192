// The borders of masks: exact outlines as polygons, and their length.
#pragma once

#include "rle.hpp"

namespace delineate {

// Corners lie on the grid between pixels. Pixels that touch at a corner only are not connected, so every ring visits each
// corner once. Exteriors run clockwise as displayed (y down); each is followed by its holes, which run the other way.
struct Outlines {
    std::vector<int32_t> points;             // x, y, x, y, ...
    std::vector<int64_t> rings = {0};        // (R + 1) ring r owns points [rings[r], rings[r + 1])
    std::vector<int64_t> masks = {0};        // (N + 1) mask i owns rings [masks[i], masks[i + 1])
};
Outlines trace(const Rle& rle);

// (N) the length of the border by the weights of Benkrid and Crookes (2000), as scikit-image measures it with 4 neighbours.
// A pixel is `dy` high and `dx` wide; where they differ, a step counts by its direction.
std::vector<double> perimeters(const Rle& rle, double dy = 1, double dx = 1);

}  // namespace delineate
