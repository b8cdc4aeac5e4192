#include "polygon.hpp"

#include <cmath>
#include <cstdlib>

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
        height_ = height;
        width_ = width;
        crossings_.clear();
        for (size_t r = 0; r + 1 < rings.size(); ++r)
            add(xy.subspan(static_cast<size_t>(2 * rings[r]), static_cast<size_t>(2 * (rings[r + 1] - rings[r]))));
        sort();
        for (size_t k = 0; k + 1 < sorted_.size(); k += 2) writer.ones(sorted_[k], sorted_[k + 1]);
    }

   private:
    void add(std::span<const double> xy) {
        const size_t corners = xy.size() / 2;
        if (height_ == 0 || width_ == 0 || corners == 0) return;
        const auto rounded = [](double v) { return static_cast<int64_t>(static_cast<double>(kScale) * v + .5); };
        int64_t x = rounded(xy[2 * corners - 2]), y = rounded(xy[2 * corners - 1]);
        for (size_t i = 0; i < corners; ++i) {
            const int64_t to_x = rounded(xy[2 * i]), to_y = rounded(xy[2 * i + 1]);
            edge(x, y, to_x, to_y);
            x = to_x;
            y = to_y;
        }
    }

    struct Crossing {
        int32_t x, y;
    };

    // The outline crosses the middle of column x at fine row v: the first pixel whose middle is not above it.
    void cross(int64_t x, int64_t v) {
        const int64_t y = v <= 2 ? 0 : std::min(height_, (v + 2) / kScale);
        crossings_.push_back({static_cast<int32_t>(x), static_cast<int32_t>(y)});
    }

    // crossings_ -> sorted_, as positions: dealt out to their columns, of which most have two.
    void sort() {
        sorted_.resize(crossings_.size());
        if (crossings_.empty()) return;
        int32_t first = crossings_[0].x, last = first;
        for (const auto c : crossings_) {
            first = std::min(first, c.x);
            last = std::max(last, c.x);
        }
        starts_.assign(static_cast<size_t>(last - first) + 2, 0);
        for (const auto c : crossings_) ++starts_[c.x - first + 1];
        for (size_t x = 1; x < starts_.size(); ++x) starts_[x] += starts_[x - 1];
        for (const auto c : crossings_) sorted_[starts_[c.x - first]++] = c.x * height_ + c.y;
        // Now starts_[x] is where column x ends.
        for (int64_t x = 0, begin = 0; begin < static_cast<int64_t>(sorted_.size()); begin = starts_[x++]) {
            if (starts_[x] - begin == 2) {
                if (sorted_[begin] > sorted_[begin + 1]) std::swap(sorted_[begin], sorted_[begin + 1]);
            } else {
                std::sort(sorted_.begin() + begin, sorted_.begin() + starts_[x]);
            }
        }
    }

    void edge(int64_t x0, int64_t y0, int64_t x1, int64_t y1) {
        const int64_t dx = std::abs(x1 - x0), dy = std::abs(y1 - y0);
        if (dx == 0) return;
        const bool flat = dx >= dy;
        if (flat ? x0 > x1 : y0 > y1) {
            std::swap(x0, x1);
            std::swap(y0, y1);
        }
        // The columns whose step 5 x + 2 -> 5 x + 3 lies between both ends.
        const int64_t low = std::min(x0, x1), high = std::max(x0, x1);
        const int64_t first = low <= 2 ? 0 : (low + 2) / kScale;
        const int64_t last = std::min(width_ - 1, high < 3 ? -1 : (high - 3) / kScale);
        if (flat) {
            const double slope = static_cast<double>(y1 - y0) / static_cast<double>(dx);
            const auto row = [&](int64_t t) {
                return static_cast<int64_t>(static_cast<double>(y0) + slope * static_cast<double>(t) + .5);
            };
            for (int64_t x = first; x <= last; ++x) {
                const int64_t t = kScale * x + 2 - x0;
                cross(x, std::min(row(t), row(t + 1)));
            }
            return;
        }
        const double slope = static_cast<double>(x1 - x0) / static_cast<double>(dy);
        const double steps = 1 / slope;
        const auto column = [&](int64_t t) {
            return static_cast<int64_t>(static_cast<double>(x0) + slope * static_cast<double>(t) + .5);
        };
        for (int64_t x = first; x <= last; ++x) {
            // The last step before the edge has crossed: solve, then settle the rounding with the rule's own arithmetic.
            const int64_t middle = kScale * x + 2;
            const auto crossed = [&](int64_t t) { return slope > 0 ? column(t) > middle : column(t) <= middle; };
            const double solved = (static_cast<double>(middle) + .5 - static_cast<double>(x0)) * steps;
            int64_t t = std::clamp<int64_t>(static_cast<int64_t>(solved), 0, dy - 1);
            while (t > 0 && crossed(t)) --t;
            while (t + 1 < dy && !crossed(t + 1)) ++t;
            cross(x, y0 + t);
        }
    }

    int64_t height_ = 0, width_ = 0;
    std::vector<Crossing> crossings_;
    std::vector<int64_t> starts_, sorted_;
};

}  // namespace

Rle from_polygons(int64_t height, int64_t width, std::span<const double> xy, std::span<const int64_t> points,
                  std::span<const int64_t> parts) {
    const int64_t polygons = static_cast<int64_t>(points.size()) - 1, work = 20 * static_cast<int64_t>(xy.size());
    Rle single = build<Filler>(polygons, height, width, work, [&](int64_t p, RunWriter& writer, Filler& filler) {
        filler.fill(height, width, xy, points.subspan(static_cast<size_t>(p), 2), writer);
    });
    return unite_groups(std::move(single), parts);
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
