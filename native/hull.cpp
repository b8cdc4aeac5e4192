#include "hull.hpp"

#include <cmath>
#include <numbers>

namespace delineate {

namespace {

struct Point {
    int64_t x, y;
    bool operator==(const Point&) const = default;
};

int64_t cross(const Point& a, const Point& b, const Point& c) {
    return (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x);
}

// The lowest and the highest point on each line x, lines in rising order; y runs down, so `top` is the lower number.
struct Extent {
    int64_t x, top, bottom;
};

// Andrew's monotone chain over the tops, or over the bottoms; no three points of a chain on one line.
void find_chain(const std::vector<Extent>& extents, bool top, std::vector<Point>& chain) {
    chain.clear();
    for (const Extent& e : extents) {
        const Point p{e.x, top ? e.top : e.bottom};
        while (chain.size() >= 2) {
            const int64_t turn = cross(chain[chain.size() - 2], chain.back(), p);
            if (top ? turn > 0 : turn < 0) break;
            chain.pop_back();
        }
        chain.push_back(p);
    }
}

int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a % b < 0) != (b < 0)); }

// Works on one mask after the other; the buffers are kept.
class HullMeter {
   public:
    // False for an empty mask.
    bool open(std::span<const uint32_t> runs, int64_t height) {
        columns_.clear();
        for_each_span(runs, height, [&](int64_t x, int64_t y0, int64_t y1) {
            if (columns_.empty() || columns_.back().x != x) {
                columns_.push_back({x, y0, y1 - 1});
            } else {
                columns_.back().bottom = y1 - 1;
            }
        });
        if (columns_.empty()) return false;
        find_edges(columns_);
        fill();
        return true;
    }

    // The hull's pixels, one Extent to each column.
    const std::vector<Extent>& filled() const { return filled_; }

    void measure(double dy, double dx, double* out) {
        int64_t area = 0;
        for (const Extent& e : filled_) area += e.bottom - e.top + 1;
        out[0] = static_cast<double>(area);
        out[1] = length_around(dy, dx);
        find_edges(filled_);
        measure_feret(dy / 2, dx / 2, out + 2);
    }

   private:
    // The chains of the middles of the edges of all pixels between top and bottom, in half pixels.
    void find_edges(const std::vector<Extent>& columns) {
        edges_.clear();
        const auto add = [&](int64_t x, int64_t top, int64_t bottom) {
            if (edges_.empty() || edges_.back().x != x) {
                edges_.push_back({x, top, bottom});
            } else {
                edges_.back().top = std::min(edges_.back().top, top);
                edges_.back().bottom = std::max(edges_.back().bottom, bottom);
            }
        };
        for (const Extent& c : columns) {
            add(2 * c.x - 1, 2 * c.top, 2 * c.bottom);
            add(2 * c.x, 2 * c.top - 1, 2 * c.bottom + 1);
            add(2 * c.x + 1, 2 * c.top, 2 * c.bottom);
        }
        find_chain(edges_, true, tops_);
        find_chain(edges_, false, bottoms_);
    }

    // The whole pixels between the chains.
    void fill() {
        filled_.clear();
        size_t t = 0, b = 0;
        for (int64_t x = columns_.front().x; x <= columns_.back().x; ++x) {
            while (tops_[t + 1].x < 2 * x) ++t;
            while (bottoms_[b + 1].x < 2 * x) ++b;
            const auto [top, top_over] = at(tops_, t, 2 * x);
            const auto [bottom, bottom_over] = at(bottoms_, b, 2 * x);
            const int64_t first = -floor_div(-top, 2 * top_over), last = floor_div(bottom, 2 * bottom_over);
            filled_.push_back({x, first, last});
        }
    }
    // The height of a chain at x, as a fraction.
    static std::pair<int64_t, int64_t> at(const std::vector<Point>& chain, size_t k, int64_t x) {
        const Point &a = chain[k], &b = chain[k + 1];
        return {a.y * (b.x - a.x) + (b.y - a.y) * (x - a.x), b.x - a.x};
    }

    double length_around(double dy, double dx) {
        double length = 0;
        std::vector<Point>& chain = ring_;
        for (const bool top : {true, false}) {
            find_chain(columns_, top, chain);
            for (size_t k = 1; k < chain.size(); ++k) {
                const double x = static_cast<double>(chain[k].x - chain[k - 1].x) * dx;
                length += std::hypot(x, static_cast<double>(chain[k].y - chain[k - 1].y) * dy);
            }
        }
        for (const Extent& end : {columns_.front(), columns_.back()}) length += static_cast<double>(end.bottom - end.top) * dy;
        return length;
    }

    // Rotating calipers (Shamos, 1978) over a hull with at least four corners.
    void measure_feret(double dy, double dx, double* out) {
        ring_ = tops_;
        for (size_t k = bottoms_.size(); k-- > 0;)
            if (!(bottoms_[k] == ring_.back()) && !(bottoms_[k] == ring_.front())) ring_.push_back(bottoms_[k]);
        const size_t n = ring_.size();
        double longest = -1, shortest = INFINITY, long_x = 0, long_y = 0, short_x = 0, short_y = 0;
        const auto consider = [&](const Point& a, const Point& b) {
            const double x = static_cast<double>(b.x - a.x) * dx, y = static_cast<double>(b.y - a.y) * dy;
            if (x * x + y * y <= longest) return;
            longest = x * x + y * y, long_x = x, long_y = y;
        };
        for (size_t k = 0, far = 1; k < n; ++k) {
            const Point &a = ring_[k], &b = ring_[(k + 1) % n];
            while (cross(a, b, ring_[(far + 1) % n]) > cross(a, b, ring_[far])) far = (far + 1) % n;
            for (const Point& end : {a, b}) {
                consider(end, ring_[far]);
                consider(end, ring_[(far + 1) % n]);
            }
            const double x = static_cast<double>(b.x - a.x) * dx, y = static_cast<double>(b.y - a.y) * dy;
            const double across = static_cast<double>(cross(a, b, ring_[far])) * dx * dy / std::hypot(x, y);
            if (across < shortest) shortest = across, short_x = -y, short_y = x;
        }
        out[0] = std::sqrt(longest);
        out[1] = direction(long_x, long_y);
        out[2] = shortest;
        out[3] = direction(short_x, short_y);
    }
    static double direction(double x, double y) {
        constexpr double kPi = std::numbers::pi;
        const double angle = std::atan2(x, y);
        return angle > kPi / 2 ? angle - kPi : angle <= -kPi / 2 ? angle + kPi : angle;
    }

    std::vector<Extent> columns_, edges_, filled_;
    std::vector<Point> tops_, bottoms_, ring_;
};

}  // namespace

Rle convex_hulls(const Rle& rle) {
    const int64_t work = 32 * static_cast<int64_t>(rle.counts.size());
    return build<HullMeter>(rle.size(), rle.height, rle.width, work, [&](int64_t i, RunWriter& writer, HullMeter& meter) {
        if (!meter.open(rle.runs(i), rle.height)) return;
        for (const auto& e : meter.filled()) writer.ones(e.x * rle.height + e.top, e.x * rle.height + e.bottom + 1);
    });
}

std::vector<double> hull_measures(const Rle& rle, double dy, double dx) {
    std::vector<double> out(static_cast<size_t>(kHullMeasures * rle.size()));
    const int64_t grain = worth_a_thread(rle.size(), 32 * static_cast<int64_t>(rle.counts.size()));
    parallel_for(rle.size(), grain, 0, [&](int64_t begin, int64_t end) {
        HullMeter meter;
        for (int64_t i = begin; i < end; ++i) {
            double* const row = out.data() + kHullMeasures * i;
            if (meter.open(rle.runs(i), rle.height)) {
                meter.measure(dy, dx, row);
            } else {
                row[3] = row[5] = std::numeric_limits<double>::quiet_NaN();
            }
        }
    });
    return out;
}

}  // namespace delineate
