#include "polygon.hpp"

#include <cmath>
#include <cstdlib>
#include <limits>

namespace delineate {

namespace {

// The COCO rule, stated without its list of points five times as dense as the pixels: only the points where an edge
// steps from sub-column 5 x + 2 to 5 x + 3 (the middle of pixel column x) leave a trace in the result.
constexpr int64_t kScale = 5;

class Filler {
   public:
    // Rings of one polygon, each with its points in `xy`: ring r owns points [rings[r], rings[r + 1]); even-odd over all.
    void fill(int64_t height, int64_t width, std::span<const double> xy, std::span<const int64_t> rings,
              RunWriter& writer) {
        const int64_t begin = rings.front(), corners = rings.back() - begin;
        if (height <= 0 || width <= 0 || corners == 0) return;
        height_ = height;
        width_ = width;
        fine_.resize(static_cast<size_t>(corners));
        int32_t left = std::numeric_limits<int32_t>::max(), right = std::numeric_limits<int32_t>::min();
        for (int64_t i = 0; i < corners; ++i) {
            fine_[i] = {rounded(xy[2 * (begin + i)]), rounded(xy[2 * (begin + i) + 1])};
            left = std::min(left, fine_[i].x);
            right = std::max(right, fine_[i].x);
        }
        first_ = first_column(left);
        const int64_t columns = last_column(right) - first_ + 1;
        if (columns <= 0) return;
        columns_.assign(static_cast<size_t>(columns), Column{});
        more_.clear();
        for (size_t r = 0; r + 1 < rings.size(); ++r) {
            if (rings[r] == rings[r + 1]) continue;
            Point from = fine_[rings[r + 1] - 1 - begin];
            for (int64_t i = rings[r] - begin; i < rings[r + 1] - begin; ++i) {
                if (from.x != fine_[i].x) edge(from, fine_[i]);
                from = fine_[i];
            }
        }
        write(writer);
    }

   private:
    struct Point {
        int32_t x, y;
    };
    // The first crossings of a column, which for most polygons is all of them.
    static constexpr int32_t kKept = 7;
    struct Column {
        int32_t count = 0, y[kKept];
    };

    static int32_t rounded(double v) { return static_cast<int32_t>(static_cast<double>(kScale) * v + .5); }

    // The columns x >= 0 whose step 5 x + 2 -> 5 x + 3 lies between both ends are those from first_column to last_column.
    static int64_t first_column(int64_t low) { return low <= 2 ? 0 : (low + 2) / kScale; }
    int64_t last_column(int64_t high) const { return std::min(width_ - 1, high < 3 ? -1 : (high - 3) / kScale); }

    // The outline crosses the middle of column x at fine row v: the first pixel whose middle is not above it.
    void cross(int64_t x, int64_t v) {
        const auto y = static_cast<int32_t>(std::clamp<int64_t>((v + 2) / kScale, 0, height_));
        Column& column = columns_[x - first_];
        if (column.count < kKept) {
            column.y[column.count++] = y;
        } else {
            more_.push_back((x - first_) << 32 | y);
        }
    }

    void write(RunWriter& writer) {
        std::sort(more_.begin(), more_.end());
        size_t more = 0;
        for (size_t c = 0; c < columns_.size(); ++c) {
            Column& column = columns_[c];
            int32_t* const y = column.y;
            std::span<int32_t> all(y, static_cast<size_t>(column.count));
            if (column.count == 2) {
                order(y[0], y[1]);
            } else if (column.count == 4) {
                order(y[0], y[1]), order(y[2], y[3]), order(y[0], y[2]), order(y[1], y[3]), order(y[1], y[2]);
            } else if (column.count > 0) {
                if (column.count == kKept) {
                    crowd_.assign(y, y + kKept);
                    for (; more < more_.size() && static_cast<size_t>(more_[more] >> 32) == c; ++more)
                        crowd_.push_back(static_cast<int32_t>(more_[more] & 0xffffffff));
                    all = crowd_;
                }
                std::sort(all.begin(), all.end());
            }
            const int64_t base = (first_ + static_cast<int64_t>(c)) * height_;
            // A closed outline crosses a line an even number of times.
            for (size_t k = 0; k + 1 < all.size(); k += 2) writer.ones(base + all[k], base + all[k + 1]);
        }
    }
    static void order(int32_t& low, int32_t& high) {
        const int32_t a = low, b = high;
        low = std::min(a, b);
        high = std::max(a, b);
    }

    void edge(Point a, Point b) {
        const int64_t dx = std::abs(b.x - a.x), dy = std::abs(b.y - a.y);
        const int64_t first = first_column(std::min(a.x, b.x)), last = last_column(std::max(a.x, b.x));
        const bool flat = dx >= dy;
        if (flat ? a.x > b.x : a.y > b.y) std::swap(a, b);
        const double x0 = a.x, y0 = a.y;
        if (flat) {
            const double slope = static_cast<double>(b.y - a.y) / static_cast<double>(dx);
            // Of the two steps that meet at the middle the upper one; rounded arithmetic rises and falls with t, too.
            const int64_t upper = b.y >= a.y ? 2 : 3;
            for (int64_t x = first; x <= last; ++x) {
                const int64_t t = kScale * x + upper - a.x;
                cross(x, static_cast<int64_t>(y0 + slope * static_cast<double>(t) + .5));
            }
            return;
        }
        const double slope = static_cast<double>(b.x - a.x) / static_cast<double>(dy);
        const double steps = static_cast<double>(dy) / static_cast<double>(b.x - a.x);
        const auto column = [&](int64_t t) { return static_cast<int64_t>(x0 + slope * static_cast<double>(t) + .5); };
        // A thousand times what rounding can do to the time of a crossing.
        const double unsure = 1e-12 * (std::abs(x0) + static_cast<double>(dx) + 1) * (std::abs(steps) + 1);
        for (int64_t x = first; x <= last; ++x) {
            // The last step before the edge has crossed: solve; where that is close to a step, settle the rounding with the
            // rule's own arithmetic.
            const int64_t middle = kScale * x + 2;
            const double solved = (static_cast<double>(middle) + .5 - x0) * steps;
            int64_t t = static_cast<int64_t>(solved);
            const double part = solved - static_cast<double>(t);
            if (!(part > unsure && part < 1 - unsure && t < dy)) {
                const auto crossed = [&](int64_t at) { return slope > 0 ? column(at) > middle : column(at) <= middle; };
                t = std::clamp<int64_t>(t, 0, dy - 1);
                while (t > 0 && crossed(t)) --t;
                while (t + 1 < dy && !crossed(t + 1)) ++t;
            }
            cross(x, a.y + t);
        }
    }

    int64_t height_ = 0, width_ = 0, first_ = 0;
    std::vector<Point> fine_;
    std::vector<Column> columns_;  // from first_
    std::vector<int64_t> more_;    // crossings beyond kKept of a column: its number in the upper half, then y
    std::vector<int32_t> crowd_;
};

}  // namespace

Rle from_polygons(int64_t height, int64_t width, std::span<const double> xy, std::span<const int64_t> points,
                  std::span<const int64_t> parts) {
    const int64_t polygons = static_cast<int64_t>(points.size()) - 1, work = 20 * static_cast<int64_t>(xy.size());
    Rle single = build<Filler>(polygons, height, width, work, [&](int64_t p, RunWriter& writer, Filler& filler) {
        filler.fill(height, width, xy, points.subspan(static_cast<size_t>(p), 2), writer);
    });
    const bool one_each = parts.size() == points.size() && std::adjacent_find(parts.begin(), parts.end()) == parts.end();
    if (one_each) return single;
    return unite_groups(single, parts);
}

Rle from_rings(int64_t height, int64_t width, std::span<const double> xy, std::span<const int64_t> points,
               std::span<const int64_t> parts) {
    const int64_t n = static_cast<int64_t>(parts.size()) - 1, work = 20 * static_cast<int64_t>(xy.size());
    return build<Filler>(n, height, width, work, [&](int64_t i, RunWriter& writer, Filler& filler) {
        const auto rings = points.subspan(static_cast<size_t>(parts[i]), static_cast<size_t>(parts[i + 1] - parts[i]) + 1);
        filler.fill(height, width, xy, rings, writer);
    });
}

}  // namespace delineate
