// Masks made thinner and thicker. What lies outside the canvas counts as background.
#pragma once

#include "rle.hpp"

namespace delineate {

// The element of one step: all 9 pixels of a 3 x 3 square, or the 5 of a cross. `radius` steps are taken. A disc is one step:
// all pixels whose centres are at most `radius` away.
enum class Element { kSquare, kCross, kDisc };

Rle erode(const Rle& rle, int64_t radius, Element element);
Rle dilate(const Rle& rle, int64_t radius, Element element);

// One mask without its erosion by `width` steps of a square: the pixels close to its contour.
Rle boundary_band(std::span<const uint32_t> runs, int64_t height, int64_t width);

}  // namespace delineate
