// Masks under maps of the plane, and scaled by area.
#pragma once

#include <array>

#include "rle.hpp"

namespace delineate {

// Target pixel (y, x) takes the source pixel that contains the point
//   u = (inverse[0] * (x + 1/2) + inverse[1] * (y + 1/2)) + inverse[2], v = (inverse[3] * ... ) + inverse[5]
// in float64, in this order of operations; u is x and v is y of the source. Outside the source is background.
Rle affine(const Rle& rle, const std::array<double, 6>& inverse, int64_t height, int64_t width);

// Area-true: a target pixel is covered where at least half of its area is, in exact integer arithmetic.
Rle resize_area(const Rle& rle, int64_t height, int64_t width);

}  // namespace delineate
