// Sets of pixels combined run by run: pairwise operations, painter's order, label maps.
#pragma once

#include "rle.hpp"

namespace delineate {

// Bit (a + 2 b) says whether a pixel belongs to the result, where a and b are its values in the two masks.
enum class Table : uint8_t {
    kNeither = 0b0001,
    kDifference = 0b0010,
    kXor = 0b0110,
    kIntersection = 0b1000,
    kUnion = 0b1110,
};

// Mask i of `a` with mask i of `b`: the same canvas, as many masks.
Rle combine(const Rle& a, const Rle& b, Table table);
Rle complement(const Rle& rle);

// Every pixel stays with the covering mask of the highest rank only; ranks are distinct.
Rle resolve(const Rle& rle, std::span<const int64_t> ranks);

// A map (height, width) in C order as one mask for each value that occurs, in rising order of values; 0 is background.
struct Labels {
    Rle masks;
    std::vector<uint32_t> values;
};
template <class T>
Labels read_labels(const T* map, int64_t height, int64_t width);
// Writes values[i] to the pixels of mask i, in the order of the masks, so that the last one stays.
template <class T>
void write_labels(const Rle& rle, std::span<const T> values, T* map);

}  // namespace delineate
