#include "affine.hpp"

#include <cmath>

namespace delineate {

namespace {

// The tight box of one mask, one bit per pixel, each column in words of its own.
class BoxBits {
   public:
    const Box& fill(std::span<const uint32_t> runs, int64_t height) {
        box_ = tight_box(runs, height);
        stride_ = (box_.height() + 63) / 64;
        bits_.assign(static_cast<size_t>(box_.width() * stride_), 0);
        for_each_span(runs, height, [&](int64_t x, int64_t y0, int64_t y1) {
            uint64_t* column = bits_.data() + (x - box_.x0) * stride_;
            for (int64_t y = y0 - box_.y0; y < y1 - box_.y0;) {
                const int64_t count = std::min(y1 - box_.y0 - y, 64 - y % 64);
                column[y / 64] |= (~uint64_t{0} >> (64 - count)) << (y % 64);
                y += count;
            }
        });
        return box_;
    }
    bool covers(double x, double y) const {
        const double left = x - static_cast<double>(box_.x0), top = y - static_cast<double>(box_.y0);
        if (!(left >= 0 && top >= 0 && left < static_cast<double>(box_.width()) && top < static_cast<double>(box_.height())))
            return false;
        const int64_t row = static_cast<int64_t>(top);
        return bits_[static_cast<size_t>(static_cast<int64_t>(left) * stride_ + row / 64)] >> (row % 64) & 1;
    }

   private:
    Box box_;
    int64_t stride_ = 0;
    std::vector<uint64_t> bits_;
};

struct Range {
    double low, high;
};

// Target pixels [low, high), a little wider than needed; rounding is settled pixel by pixel.
std::pair<int64_t, int64_t> pixels_of(Range range, int64_t side) {
    const double most = static_cast<double>(side);
    const auto cut = [&](double v) { return static_cast<int64_t>(std::isnan(v) ? 0 : std::clamp(v, 0.0, most)); };
    return {cut(range.low - 2), cut(range.high + 3)};
}

// Where low <= offset + slope * t < high, with some slack: the rounding of the offset weighs much where the slope is as good
// as nothing (the cosine of a right angle).
Range solve(double offset, double slope, double low, double high) {
    constexpr double kAll = std::numeric_limits<double>::infinity(), kSlack = 0.01;
    if (slope == 0) return offset < low - kSlack || offset > high + kSlack ? Range{0, -kAll} : Range{-kAll, kAll};
    const double a = (low - kSlack - offset) / slope, b = (high + kSlack - offset) / slope;
    return {std::min(a, b), std::max(a, b)};
}

// The target columns that see the box.
Range columns_of(const std::array<double, 6>& m, const Box& box) {
    const double determinant = m[0] * m[4] - m[1] * m[3];
    Range out{std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()};
    for (const int64_t x : {box.x0, box.x1})
        for (const int64_t y : {box.y0, box.y1}) {
            const double u = static_cast<double>(x) - m[2], v = static_cast<double>(y) - m[5];
            const double column = (u * m[4] - v * m[1]) / determinant;
            out.low = std::min(out.low, column);
            out.high = std::max(out.high, column);
        }
    return out;
}

void sample(const BoxBits& bits, const Box& box, const std::array<double, 6>& m, int64_t height, int64_t width,
            RunWriter& writer) {
    const auto [first, last] = pixels_of(columns_of(m, box), width);
    for (int64_t x = first; x < last; ++x) {
        const double centre = static_cast<double>(x) + .5, u = m[0] * centre, v = m[3] * centre;
        const Range a = solve(u + m[2], m[1], static_cast<double>(box.x0), static_cast<double>(box.x1));
        const Range b = solve(v + m[5], m[4], static_cast<double>(box.y0), static_cast<double>(box.y1));
        const auto [top, bottom] = pixels_of({std::max(a.low, b.low), std::min(a.high, b.high)}, height);
        int64_t begin = -1;
        for (int64_t y = top; y < bottom; ++y) {
            const double t = static_cast<double>(y) + .5;
            const bool covered = bits.covers(u + m[1] * t + m[2], v + m[4] * t + m[5]);
            if (covered == (begin >= 0)) continue;
            if (!covered) writer.ones(x * height + begin, x * height + y);
            begin = covered ? y : -1;
        }
        if (begin >= 0) writer.ones(x * height + begin, x * height + bottom);
    }
}

int64_t work_of(const Rle& rle) { return 8 * static_cast<int64_t>(rle.counts.size()); }

}  // namespace

Rle affine(const Rle& rle, const std::array<double, 6>& inverse, int64_t height, int64_t width) {
    constexpr int64_t kMuch = int64_t{1} << 32;  // of one mask, so that no sum over masks overflows
    int64_t work = 0;
    for (const Box& box : tight_boxes(rle)) work += std::min(kMuch, 4 * box.width() * box.height());
    return build<BoxBits>(rle.size(), height, width, work, [&](int64_t i, RunWriter& writer, BoxBits& bits) {
        const Box& box = bits.fill(rle.runs(i), rle.height);
        if (!box.empty()) sample(bits, box, inverse, height, width, writer);
    });
}

namespace {

// Lengths are counted in units in which a source pixel is as large as the target canvas has pixels, and a target pixel as
// the source canvas has: both canvases are then equally large, and all overlaps are whole numbers.
class AreaResizer {
   public:
    void resize(std::span<const uint32_t> runs, const Rle& source, int64_t height, int64_t width, RunWriter& writer) {
        collect_spans(runs, source.height, spans_);
        if (spans_.empty() || height == 0 || width == 0) return;
        unit_ = source.height;
        height_ = height;
        const Box box = tight_box(runs, source.height);
        top_ = box.y0 * height / unit_;
        rows_ = (box.y1 * height - 1) / unit_ + 1 - top_;
        size_t begin = 0;
        for (int64_t j = box.x0 * width / source.width; j < width && j * source.width < box.x1 * width; ++j) {
            const int64_t left = j * source.width, right = left + source.width;
            while (begin < spans_.size() && (spans_[begin].x + 1) * width <= left) ++begin;
            partial_.assign(static_cast<size_t>(rows_), 0);
            steps_.assign(static_cast<size_t>(rows_) + 1, 0);
            for (size_t k = begin; k < spans_.size() && spans_[k].x * width < right; ++k) {
                const int64_t x = spans_[k].x;
                add(spans_[k], std::min(right, (x + 1) * width) - std::max(left, x * width));
            }
            emit(j, source.pixels(), writer);
        }
    }

   private:
    void add(const Span& span, int64_t weight) {
        const int64_t begin = span.y0 * height_, end = span.y1 * height_;
        const int64_t first = begin / unit_, last = (end - 1) / unit_;
        if (first == last) {
            partial_[first - top_] += weight * (end - begin);
            return;
        }
        partial_[first - top_] += weight * ((first + 1) * unit_ - begin);
        partial_[last - top_] += weight * (end - last * unit_);
        steps_[first + 1 - top_] += weight * unit_;
        steps_[last - top_] -= weight * unit_;
    }
    void emit(int64_t j, int64_t whole, RunWriter& writer) {
        int64_t full = 0;
        for (int64_t r = 0; r < rows_; ++r) {
            full += steps_[r];
            const int64_t y = j * height_ + top_ + r;
            if (2 * (full + partial_[r]) >= whole) writer.ones(y, y + 1);
        }
    }

    int64_t unit_ = 0, height_ = 0, top_ = 0, rows_ = 0;
    std::vector<Span> spans_;
    std::vector<int64_t> partial_, steps_;  // covered area of each row of the column; changes of what covers whole rows
};

}  // namespace

Rle resize_area(const Rle& rle, int64_t height, int64_t width) {
    const double scale = static_cast<double>(width) / static_cast<double>(std::max<int64_t>(1, rle.width));
    const int64_t work = static_cast<int64_t>(static_cast<double>(2 * work_of(rle)) * std::max(1.0, scale));
    return build<AreaResizer>(rle.size(), height, width, work, [&](int64_t i, RunWriter& writer, AreaResizer& resizer) {
        resizer.resize(rle.runs(i), rle, height, width, writer);
    });
}

}  // namespace delineate
