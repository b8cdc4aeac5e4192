// The entries of a COCO file or results list as columns, read through a window: memory follows the number of entries, not
// the file. Whatever is not plain and right (see `scan_coco`) is left to a reader that can say what is wrong.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "file.hpp"

namespace delineate {

// Stays empty until an entry has a value; entries without one have `kNone`.
template <class T>
struct Column {
    std::vector<T> values;
    T none;
    explicit Column(T value) : none(value) {}
    void put(size_t row, T value) {
        if (values.size() < row) values.resize(row, none);
        values.push_back(value);
    }
    void finish(size_t rows) {
        if (!values.empty()) values.resize(rows, none);
    }
};

struct CocoScan {
    // A top-level value other than the entries.
    struct Section {
        std::string key;
        int64_t begin, end;
    };
    static constexpr int64_t kNone = std::numeric_limits<int64_t>::min();

    std::vector<Section> sections;
    int64_t count = 0;
    std::vector<int64_t> image;  // the id, or a place in `names` where `named`
    std::vector<std::string> names;
    std::vector<int64_t> category;
    Column<uint8_t> named{0};
    Column<int64_t> id{kNone}, track{kNone};
    Column<uint8_t> crowd{0};
    Column<double> score{std::numeric_limits<double>::quiet_NaN()}, area{std::numeric_limits<double>::quiet_NaN()};
    Column<double> box{std::numeric_limits<double>::quiet_NaN()};  // four numbers an entry
    Column<int64_t> start{0};                                      // of the segmentation's text in the file
    Column<int32_t> length{0};                                     // 0 where there is none
    Column<int64_t> entry_start{0};                                // of the entry's text, if it has keys beyond these
    Column<int32_t> entry_length{0};                               // 0 where it has not
    Column<uint8_t> rle{0};                                        // the segmentation is a run-length mask
    // Of run-length masks as they should be, if their size is that of the picture; -1 in `size`: not measured.
    Column<int32_t> size{-1};  // two numbers an entry, height and width
    Column<uint32_t> pixels{0};
    Column<float> tight{0};  // four numbers an entry: x, y, width, height
};

// Reads a list of results, or the "annotations" of an object. Nothing if the file is not JSON, or if a known key of an entry
// is missing, doubled, of another type, out of 64 bits or not spelt plainly; or if polygons are not even counts of at least
// six numbers up to kLargestCoordinate. Run-length masks are checked as JSON only. `window`: how many
// bytes of the file are in memory at first; it grows where one entry needs more.
std::optional<CocoScan> scan_coco(const File& file, bool list, size_t window = size_t{1} << 20);

// What a JSON file consists of, without its content.
struct JsonOutline {
    struct Value {
        std::string key;
        int64_t begin, end;        // of its text; of a top-level list only the beginning is known
        int64_t first, first_end;  // of the first element of a list; 0 where there is none
    };
    bool list = false;  // one value without a key
    std::vector<Value> values;
};

// The values of a top-level object, or the first element of a top-level list, in memory that follows `window` and the largest
// single element. Nothing if the file is not JSON as far as it was read, or a key occurs twice or is not spelt plainly.
std::optional<JsonOutline> outline_json(const File& file, size_t window = size_t{1} << 20);

}  // namespace delineate
