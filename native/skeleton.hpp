// Masks thinned to lines one pixel wide.
#pragma once

#include "rle.hpp"

namespace delineate {

// By the parallel algorithm A1 of Guo and Hall (1989), which keeps connected parts connected.
Rle skeletons(const Rle& rle);

// (N, 3) how many pairs of neighbours each mask has: side by side, one above the other, and diagonal where no third pixel
// joins the two.
std::vector<int64_t> links(const Rle& rle);

}  // namespace delineate
