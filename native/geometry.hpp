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
// The same, mask i by (dy[i], dx[i]).
Rle shift(const Rle& rle, std::span<const int64_t> dy, std::span<const int64_t> dx, int64_t height, int64_t width);
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
    std::vector<int64_t> starts_, next_;  // row y has toggles_[starts_[y - top_], starts_[y - top_ + 1])
    std::vector<int32_t> toggles_;        // the x where the row changes its value
    std::vector<Span> spans_, edges_;
};

// The vertical edges on one line: fn(y0, y1, opens) for every piece where exactly one side is covered (opens: the right
// side), in rising order. Pieces of different kinds are kept apart, so two meet where diagonal pixels touch.
template <class Fn>
void for_each_edge_between(std::span<const Span> left, std::span<const Span> right, Fn&& fn) {
    // The usual case: as many spans on both sides, each beside its own.
    const size_t n = left.size();
    bool alike = n == right.size();
    for (size_t k = 0; k < n && alike; ++k) {
        alike = left[k].y0 < right[k].y1 && right[k].y0 < left[k].y1;
        if (k > 0) alike &= left[k - 1].y1 <= right[k].y0 && right[k - 1].y1 <= left[k].y0;
    }
    if (alike) {
        for (size_t k = 0; k < n; ++k) {
            const Span &a = left[k], &b = right[k];
            if (a.y0 != b.y0) fn(std::min(a.y0, b.y0), std::max(a.y0, b.y0), b.y0 < a.y0);
            if (a.y1 != b.y1) fn(std::min(a.y1, b.y1), std::max(a.y1, b.y1), b.y1 > a.y1);
        }
        return;
    }
    const auto end_of = [](std::span<const Span> spans, size_t k) {
        return k >= 2 * spans.size() ? INT32_MAX : k % 2 ? spans[k / 2].y1 : spans[k / 2].y0;
    };
    size_t i = 0, j = 0;  // ends passed on each side: odd means covered
    int32_t begin = 0;
    while (i < 2 * left.size() || j < 2 * right.size()) {
        const int was = static_cast<int>(i % 2) - static_cast<int>(j % 2);
        const int32_t a = end_of(left, i), b = end_of(right, j), y = std::min(a, b);
        i += a == y;
        j += b == y;
        if (was == static_cast<int>(i % 2) - static_cast<int>(j % 2)) continue;
        if (was != 0) fn(begin, y, was < 0);
        begin = y;
    }
}

// All vertical edges of one mask, from left to right: fn(x, y0, y1, opens) on the line between columns x - 1 and x.
// `spans` as for_each_span gives them.
template <class Fn>
void for_each_vertical_edge(std::span<const Span> spans, Fn&& fn) {
    size_t left = 0, right = 0;  // the spans of column x - 1 are [left, right), those of column x follow
    while (right < spans.size() || left < right) {
        const int32_t x = left < right ? spans[left].x + 1 : spans[right].x;
        size_t end = right;
        while (end < spans.size() && spans[end].x == x) ++end;
        for_each_edge_between(spans.subspan(left, right - left), spans.subspan(right, end - right),
                              [&](int32_t y0, int32_t y1, bool opens) { fn(x, y0, y1, opens); });
        left = right;
        right = end;
    }
}

}  // namespace delineate
