// Between runs and arrays of pixels.
#pragma once

#include <cstdint>

#include "rle.hpp"

namespace delineate {

// (N, H, W) bytes in C order; not zero means covered.
Rle encode_rows(const uint8_t* dense, int64_t n, int64_t height, int64_t width);
// (N, W, H) bytes in C order: the layout of pycocotools.
Rle encode_columns(const uint8_t* dense, int64_t n, int64_t height, int64_t width);
// Writes 1 to the covered bytes of (N, H, W) in C order, and 0 to the others where `clear` is set; else they are left alone.
void decode_rows(const Rle& rle, uint8_t* dense, bool clear = false);
// The pixels of mask i inside `box` as (height, width) bytes, zeroed by the caller.
void decode_box(std::span<const uint32_t> runs, int64_t height, const Box& box, uint8_t* dense);

// The covered fraction of stride x stride cells, in the cells around each mask.
struct Cells {
    std::vector<Box> boxes;        // in cells: the tight box of the mask, one cell wider, cut to the grid
    std::vector<int64_t> offsets;  // (N + 1) mask i owns values[offsets[i], offsets[i + 1]), row by row
    std::vector<float> values;
};
Cells cells(const Rle& rle, int64_t stride);

}  // namespace delineate
