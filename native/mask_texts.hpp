// Masks of many pictures that stay in their file as the text of COCO segmentations until somebody asks for a picture.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "file.hpp"
#include "rle.hpp"
#include "rle_text.hpp"

namespace delineate {

// Area and tight box of masks.
struct TextMeasures {
    std::vector<double> areas;    // (N)
    std::vector<float> boxes;     // (N, 4) x, y, width, height; or nothing
    std::vector<int64_t> broken;  // masks that cannot be decoded, ascending
};

inline constexpr int64_t kLongestSide = int64_t{1} << 24;

// What is known of masks from the scan of their file, for the size that each of them states.
struct SizedMeasures {
    std::span<const int32_t> sizes;  // (N, 2) height, width; -1 where nothing is known; or nothing at all
    std::span<const uint32_t> areas;  // (N)
    std::span<const float> boxes;     // (N, 4) x, y, width, height
};

// Picture i has `sizes[2 i], sizes[2 i + 1]` (height, width) and owns masks [offsets[i], offsets[i + 1]); mask m is the text
// of `lengths[m]` bytes (0: an empty mask) at `starts[m]` of the file.
class MaskTexts {
 public:
    std::shared_ptr<const File> file;
    std::vector<int64_t> sizes, offsets, starts;
    std::vector<int32_t> lengths;
    std::shared_ptr<const TextMeasures> measures;  // of all masks, with boxes; or null

    int64_t pictures() const { return static_cast<int64_t>(offsets.size()) - 1; }
    // Throws std::invalid_argument where the columns do not belong together.
    void check() const;

    // One thread's view of one picture after the other.
    class Reader {
     public:
        explicit Reader(const MaskTexts& source) : source_(source) {}
        // Throws std::runtime_error if the file has changed since it was opened.
        void open(int64_t picture);
        int64_t height() const { return height_; }
        // The runs of a mask (numbered over all pictures) of the open picture, until the next call. Throws
        // std::invalid_argument where the text is no mask of the picture's size.
        std::span<const uint32_t> runs(int64_t mask);
        // Writes all masks of the open picture.
        Rle all();

     private:
        std::string_view text(int64_t mask);
        void append(std::string_view text, Rle& target);
        void append_rle(const char* p, Rle& target);
        // Puts a run-length mask of the picture's size into rle_.
        void open_rle(const char* p);
        void append_polygons(const char* p, Rle& target);

        const MaskTexts& source_;
        int64_t picture_ = -1, height_ = 0, width_ = 0;
        int64_t begin_ = 0, end_ = 0;  // the part of the file in `block_`
        std::string block_, single_;
        RleText rle_;
        Rle one_;
        std::vector<double> xy_;
        std::vector<int64_t> points_;
        std::vector<uint32_t> scratch_;
    };
};

// Of the masks that are wanted; 0 for the others. Masks measured before are only asked for their size: if it is not that of
// the picture, they are broken.
TextMeasures measure_texts(const MaskTexts& texts, std::span<const uint8_t> wanted, bool boxes, unsigned threads,
                           const SizedMeasures& before = {});

}  // namespace delineate
