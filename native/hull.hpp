// The convex hulls of masks and what is measured on them.
#pragma once

#include "rle.hpp"

namespace delineate {

// The hull of a mask is that of the middles of its pixels' four edges. The hull in pixels is all those whose centres lie in
// it or on it, as in scikit-image's convex_hull_image.
Rle convex_hulls(const Rle& rle);

// (N, 6) float64: pixels of the hull; length around the pixel centres' hull; largest and smallest distance of two parallel
// lines that hold the hull in pixels between them (Feret), each followed by its direction. 0 for an empty mask, its
// directions nan. A pixel is `dy` high and `dx` wide. A direction is the angle from the y axis to the line between the two,
// counter-clockwise as displayed, in (-pi / 2, pi / 2].
constexpr int64_t kHullMeasures = 6;
std::vector<double> hull_measures(const Rle& rle, double dy, double dx);

}  // namespace delineate
