// COCO's compressed counts: 6 bits a character ('0' + 5 bits + continuation), each count from the fourth on stored as the
// difference from the count two places before it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "rle.hpp"

namespace delineate {

std::string to_string(std::span<const uint32_t> runs);

// Checked: throws std::invalid_argument that names the mask and what is wrong with its string.
Rle from_strings(int64_t height, int64_t width, std::span<const std::string_view> strings);

// Writes one more mask behind those of `target`, with its size. Throws as above, without naming the mask; then `target` is to
// be thrown away.
void append_string(std::string_view text, Rle& target);

// The quick way for strings as they should be: their counts, if those are canonical and sum to `pixels`; else nothing, and
// append_string knows why. The result lies in `scratch`, which only grows. One byte behind the
// text must be readable.
std::span<const uint32_t> plain_counts(std::string_view text, int64_t pixels, std::vector<uint32_t>& scratch);

struct Measured {
    int64_t area = 0;
    Box box;
};
// Area and tight box of such a string without its runs, in the time that reading it takes; nothing where plain_counts has nothing.
std::optional<Measured> measure_plain(std::string_view text, int64_t height, int64_t width);

}  // namespace delineate
