// What hangs together: connected parts of masks, and their holes.
#pragma once

#include "rle.hpp"

namespace delineate {

// The parts of every mask, each as a mask of its own, in the order of their first pixels (column by column).
struct Parts {
    Rle masks;
    std::vector<int64_t> owners;  // which mask each part comes from, rising
};
// `diagonal`: pixels that touch at a corner only are connected as well (8 neighbours instead of 4).
Parts components(const Rle& rle, bool diagonal);
// Without the parts of fewer than `least` pixels.
Rle remove_specks(const Rle& rle, int64_t least, bool diagonal);
// The part with the most pixels only; of equals the first.
Rle largest_component(const Rle& rle, bool diagonal);
// With all pixels that no path of 4-neighbours outside the mask joins to the border of the canvas.
Rle fill_holes(const Rle& rle);

}  // namespace delineate
