// What a picture holds under masks.
#pragma once

#include "rle.hpp"

namespace delineate {

// (N, C, 6) float64: mean, min, max, standard deviation (over all pixels, not one less), sum, median of the values under each
// mask. picture: (H, W, C). nan for an empty mask (its sum is 0), and where a value is nan.
constexpr int64_t kStatistics = 6;
template <class T>
std::vector<double> statistics(const Rle& rle, const T* picture, int64_t channels);

}  // namespace delineate
