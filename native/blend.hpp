// Overlays: masks painted over a picture, straight from their runs.
#pragma once

#include <cstdint>
#include <span>

#include "rle.hpp"

namespace delineate {

// image: (height, width, 3) uint8, changed in place; colours: (N, 3). Mask after mask, so later ones lie on top.
// Inside: level = image * (1 - alpha) + colour * alpha, rounded half up, with alpha in 256ths (0..256).
// The outermost `outline` pixels of each mask (4-neighbours; a mask ends where the picture ends) get the pure colour.
void blend(uint8_t* image, const Rle& masks, std::span<const uint8_t> colours, int alpha, int outline);

}  // namespace delineate
