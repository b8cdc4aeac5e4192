// Masks moved, turned and scaled, all on runs.
#pragma once

#include "rle.hpp"

namespace delineate {

// The same masks read row by row: height and width change places.
Rle transpose(const Rle& rle);
Rle flip_horizontal(const Rle& rle);
Rle flip_vertical(const Rle& rle);
Rle rotate180(const Rle& rle);
// Moved by (dy, dx) onto a canvas of another size; what falls outside is cut.
Rle shift(const Rle& rle, int64_t dy, int64_t dx, int64_t height, int64_t width);
// Nearest: output pixel i takes source pixel floor((i + 1/2) * source / target), in exact integer arithmetic.
Rle resize(const Rle& rle, int64_t height, int64_t width);

// The runs of one mask by rows: fn(y, x0, x1) row by row, from left to right. The buffers are kept between masks.
class RowReader {
   public:
    template <class Fn>
    void for_each_run(std::span<const uint32_t> runs, int64_t height, Fn&& fn) {
        collect(runs, height);
        for (int64_t y = top_; y < bottom_; ++y)
            for (int64_t k = starts_[y - top_]; k < starts_[y - top_ + 1]; k += 2) fn(y, toggles_[k], toggles_[k + 1]);
    }

   private:
    void collect(std::span<const uint32_t> runs, int64_t height);

    int64_t top_ = 0, bottom_ = 0;
    std::vector<int64_t> starts_;   // row y has toggles_[starts_[y - top_], starts_[y - top_ + 1])
    std::vector<int64_t> toggles_;  // the x where the row changes its value
    std::vector<Span> spans_;
    std::vector<Span> edges_;       // pieces of column lines where exactly one side is covered
};

// Calls fn(x, left, right) for every line between columns x - 1 and x that has spans on a side; `spans` as for_each_span
// gives them.
template <class Fn>
void for_each_column_line(std::span<const Span> spans, Fn&& fn) {
    size_t left = 0, right = 0;  // the spans of column x - 1 are [left, right), those of column x follow
    while (right < spans.size() || left < right) {
        const int64_t x = left < right ? spans[left].x + 1 : spans[right].x;
        size_t end = right;
        while (end < spans.size() && spans[end].x == x) ++end;
        fn(x, spans.subspan(left, right - left), spans.subspan(right, end - right));
        left = right;
        right = end;
    }
}

}  // namespace delineate
