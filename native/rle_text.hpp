// A run-length mask as COCO writes it in JSON: {"size": [height, width], "counts": a string or a list}.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace delineate {

// One after the other may be read into the same: memory is kept.
struct RleText {
    int64_t height = -1, width = -1;
    bool is_list = false;
    std::vector<uint32_t> list;
    std::string_view counts;  // where it is no list: with escapes undone. One byte behind it is readable

    // Reads the object that begins at `p`, in a text as json.hpp wants it that ends at `end`. False where it is none;
    // counts are not looked at beyond their characters being those of a JSON string without escapes other than slashes.
    bool read(const char*& p, const char* end);

 private:
    bool read_counts(const char*& p, const char* end);
    bool read_string(const char*& p, const char* end);

    std::string plain_;
};

}  // namespace delineate
