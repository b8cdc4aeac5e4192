// Masks as other programs write them: runs along rows, crops, packed bits, the bit stream of Label Studio.
#pragma once

#include <string_view>

#include "rle.hpp"

namespace delineate {

// Each mask inside its tight box, read row by row: counts of zeros and ones in turn, zeros first. A mask without pixels
// is one uncovered pixel at the corner of the canvas.
struct RowCrops {
    std::vector<uint32_t> counts;
    std::vector<int64_t> offsets = {0};  // (N + 1) mask i owns counts[offsets[i], offsets[i + 1])
    std::vector<Box> boxes;
};
RowCrops row_crops(const Rle& rle);
// The reverse, of unchecked input: throws where a box leaves the canvas or counts do not fill their box.
Rle from_row_crops(int64_t height, int64_t width, std::span<const uint32_t> counts, std::span<const int64_t> offsets,
                   std::span<const Box> boxes);

// Mask i row by row, (height, ceil(width / 8)) bytes that the caller zeroed; the highest bit is the leftmost pixel.
void pack_rows(const Rle& rle, int64_t i, uint8_t* out);

// The bit stream of rle-pack (thi.ng/umbrella, packages/rle-pack) over the RGBA bytes of a picture, row by row, in the
// form that Label Studio's converter writes: 8-bit words, run lengths of 3, 4, 8 and 16 bits, 255 where covered.
std::vector<uint8_t> to_label_studio(const Rle& rle, int64_t i);
// Any stream of that kind, unchecked; covered is where alpha is not zero.
Rle from_label_studio(int64_t height, int64_t width, std::span<const std::string_view> streams);

}  // namespace delineate
