// Between runs and polygons.
#pragma once

#include <span>

#include "rle.hpp"

namespace delineate {

// Fills polygons by the rule of the COCO tools: corners are rounded to a fifth of a pixel, and a pixel column is covered
// between the points where the outline crosses its middle. `xy` holds x0, y0, x1, y1, ...; polygon p owns points
// [points[p], points[p + 1]); mask i is the union of polygons [parts[i], parts[i + 1]). Coordinates must be finite and at
// most kLargestCoordinate in size.
inline constexpr double kLargestCoordinate = 1e8;
Rle from_polygons(int64_t height, int64_t width, std::span<const double> xy, std::span<const int64_t> points,
                  std::span<const int64_t> parts);
// The same, but what an even number of the rings of one mask cover is left out: holes.
Rle from_rings(int64_t height, int64_t width, std::span<const double> xy, std::span<const int64_t> points,
               std::span<const int64_t> parts);

}  // namespace delineate
