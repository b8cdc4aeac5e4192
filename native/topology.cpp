#include "topology.hpp"

#include <algorithm>

namespace delineate {

namespace {

struct Segment {
    Point p, q;
    Side side;
};

int sign(int64_t v) { return (v > 0) - (v < 0); }

// Whether they have a point in common.
bool meet(const Segment& a, const Segment& b) {
    if (std::max(a.p.x, a.q.x) < std::min(b.p.x, b.q.x) || std::max(b.p.x, b.q.x) < std::min(a.p.x, a.q.x) ||
        std::max(a.p.y, a.q.y) < std::min(b.p.y, b.q.y) || std::max(b.p.y, b.q.y) < std::min(a.p.y, a.q.y))
        return false;
    return sign(cross(a.p, a.q, b.p)) * sign(cross(a.p, a.q, b.q)) <= 0 &&
           sign(cross(b.p, b.q, a.p)) * sign(cross(b.p, b.q, a.q)) <= 0;
}

// Both run from `o` in the same direction.
bool overlap(Point o, Point a, Point b) { return cross(o, a, b) == 0 && dot(o, a, b) > 0; }

// Whether the direction to p lies strictly between those to a and to b, turning from a to b.
bool between(Point o, Point a, Point b, Point p) {
    if (cross(o, a, b) > 0 || (cross(o, a, b) == 0 && dot(o, a, b) > 0)) return cross(o, a, p) > 0 && cross(o, p, b) > 0;
    return !(cross(o, b, p) >= 0 && cross(o, p, a) >= 0);
}

class Crossings {
   public:
    explicit Crossings(const std::vector<Sketch>& sketches) : sketches_(sketches) {
        for (size_t r = 0; r < sketches.size(); ++r)
            for (int64_t k = 0; k < sketches[r].sides(); ++k)
                segments_.push_back({point(static_cast<int64_t>(r), k), point(static_cast<int64_t>(r), k + 1),
                                     {static_cast<int64_t>(r), k}});
    }

    std::vector<Side> find() {
        deal();
        for (size_t begin = 0, end; begin < places_.size(); begin = end) {
            for (end = begin; end < places_.size() && places_[end].x == places_[begin].x && places_[end].y == places_[begin].y;)
                ++end;
            for (size_t i = begin; i < end; ++i)
                for (size_t j = i + 1; j < end; ++j) check(segments_[places_[i].segment], segments_[places_[j].segment]);
        }
        std::sort(found_.begin(), found_.end());
        found_.erase(std::unique(found_.begin(), found_.end()), found_.end());
        return std::move(found_);
    }

   private:
    struct Place {
        int64_t x, y;
        size_t segment;
        auto operator<=>(const Place&) const = default;
    };

    Point point(int64_t ring, int64_t k) const { return sketches_[static_cast<size_t>(ring)].place(k); }
    bool moved(int64_t ring, int64_t k) const { return sketches_[static_cast<size_t>(ring)].moved(k); }

    // Every segment to the cells of a grid that it runs through, a little generously.
    void deal() {
        int64_t length = 0;
        for (const auto& s : segments_) length += std::abs(s.q.x - s.p.x) + std::abs(s.q.y - s.p.y);
        const int64_t cell = 4 + length / std::max<int64_t>(1, static_cast<int64_t>(segments_.size()));
        const auto of = [&](int64_t v) { return v >= 0 ? v / cell : -1; };
        for (size_t s = 0; s < segments_.size(); ++s) {
            const auto [p, q] = segments_[s].p.x <= segments_[s].q.x ? std::pair(segments_[s].p, segments_[s].q)
                                                                     : std::pair(segments_[s].q, segments_[s].p);
            for (int64_t x = of(p.x); x <= of(q.x); ++x) {
                const int64_t left = std::max(p.x, x * cell), right = std::min(q.x, (x + 1) * cell);
                const auto row = [&](int64_t at) {
                    return q.x == p.x ? p.y
                                      : p.y + static_cast<int64_t>(static_cast<double>(q.y - p.y) *
                                                                   static_cast<double>(at - p.x) / static_cast<double>(q.x - p.x));
                };
                const int64_t a = row(left), b = q.x == p.x ? q.y : row(right);
                for (int64_t y = of(std::min(a, b) - 1); y <= of(std::max(a, b) + 1); ++y) places_.push_back({x, y, s});
            }
        }
        std::sort(places_.begin(), places_.end());
    }

    void check(const Segment& a, const Segment& b) {
        if (!meet(a, b)) return;
        bool wrong = true;
        if (a.side.ring == b.side.ring) {
            const int64_t n = sketches_[static_cast<size_t>(a.side.ring)].sides();
            if ((a.side.side + 1) % n == b.side.side) wrong = overlap(a.q, a.p, b.q);
            else if ((b.side.side + 1) % n == a.side.side) wrong = overlap(b.q, b.p, a.q);
        } else {
            wrong = cross_at_ends(a, b);
        }
        if (wrong) found_.insert(found_.end(), {a.side, b.side});
    }

    // Rings may share a corner: then one stays within one of the two angles of the other.
    bool cross_at_ends(const Segment& a, const Segment& b) const {
        const bool a_first = a.p == b.p || a.p == b.q, b_first = b.p == a.p || b.p == a.q;
        if (!(a_first || a.q == b.p || a.q == b.q)) return true;
        const Point o = a_first ? a.p : a.q;
        if (overlap(o, a_first ? a.q : a.p, b_first ? b.q : b.p)) return true;
        const int64_t i = a.side.side + !a_first, j = b.side.side + !b_first;
        if (moved(a.side.ring, i) || moved(b.side.ring, j)) return true;  // met by chance
        const Point a0 = point(a.side.ring, i - 1), a1 = point(a.side.ring, i + 1);
        const Point b0 = point(b.side.ring, j - 1), b1 = point(b.side.ring, j + 1);
        return between(o, a0, a1, b0) != between(o, a0, a1, b1);
    }

    const std::vector<Sketch>& sketches_;
    std::vector<Segment> segments_;
    std::vector<Place> places_;
    std::vector<Side> found_;
};

// The closed way along a ring to the end of a side and back along the side.
void way_round(const Sketch& sketch, int64_t side, std::vector<Point>& way) {
    way.clear();
    const int64_t begin = sketch.begin(side), end = sketch.end(side);
    for (int64_t k = begin; k < end; k += 1 + (k + 1) % 2) way.push_back(sketch.ring->at(k));
    way.push_back(sketch.ring->at(end));
    if (sketch.moved(side + 1)) way.push_back(sketch.place(side + 1));
    if (sketch.moved(side)) way.push_back(sketch.place(side));
}

// Whether a closed way winds round p or runs through it.
bool encloses(const std::vector<Point>& way, Point p) {
    int winding = 0;
    Point from = way.back();
    for (const Point to : way) {
        const int64_t side = cross(from, to, p);
        if (side == 0 && dot(p, from, to) <= 0) return true;
        if (from.y <= p.y && to.y > p.y && side > 0) ++winding;
        if (from.y > p.y && to.y <= p.y && side < 0) --winding;
        from = to;
    }
    return winding != 0;
}

}  // namespace

std::vector<Side> crossings(const std::vector<Sketch>& sketches) { return Crossings(sketches).find(); }

std::vector<Side> misplaced(const std::vector<Sketch>& sketches) {
    std::vector<Side> found;
    if (sketches.size() < 2) return found;
    std::vector<std::pair<Point, size_t>> starts;
    for (size_t r = 0; r < sketches.size(); ++r) {
        starts.emplace_back(sketches[r].place(0), r);
        starts.emplace_back(sketches[r].ring->at(1), r);  // the middle of an edge: no other ring had it
    }
    std::sort(starts.begin(), starts.end(), [](const auto& a, const auto& b) { return a.first.x < b.first.x; });
    std::vector<Point> way;
    for (size_t r = 0; r < sketches.size(); ++r) {
        const Sketch& sketch = sketches[r];
        for (int64_t k = 0; k < sketch.sides(); ++k) {
            way_round(sketch, k, way);
            if (way.size() < 3) continue;
            Point low = way[0], high = way[0];
            for (const Point p : way) {
                low = {std::min(low.x, p.x), std::min(low.y, p.y)};
                high = {std::max(high.x, p.x), std::max(high.y, p.y)};
            }
            auto start = std::lower_bound(starts.begin(), starts.end(), low.x,
                                          [](const auto& s, int64_t x) { return s.first.x < x; });
            for (; start != starts.end() && start->first.x <= high.x; ++start) {
                const Point p = start->first;
                if (start->second == r || p.y < low.y || p.y > high.y || p == sketch.place(k) || p == sketch.place(k + 1))
                    continue;
                if (encloses(way, p)) {
                    found.push_back({static_cast<int64_t>(r), k});
                    break;
                }
            }
        }
    }
    return found;
}

std::vector<Side> stranded(const std::vector<Sketch>& sketches) {
    std::vector<Side> found;
    if (sketches.size() < 2) return found;
    struct Edge {
        Point low, high;  // in quarter pixels, from top to bottom
        size_t ring;
    };
    std::vector<Edge> edges;
    int64_t length = 0;
    for (size_t r = 0; r < sketches.size(); ++r)
        for (int64_t k = 0; k < sketches[r].sides(); ++k) {
            Point p = sketches[r].place(k), q = sketches[r].place(k + 1);
            if (p.y > q.y) std::swap(p, q);
            edges.push_back({{2 * p.x, 2 * p.y}, {2 * q.x, 2 * q.y}, r});
            length += 2 * (q.y - p.y);
        }
    // Dealt out to rows of a height that most edges have.
    const int64_t height = 4 + length / static_cast<int64_t>(edges.size());
    std::vector<std::pair<int64_t, size_t>> rows;
    for (size_t e = 0; e < edges.size(); ++e)
        for (int64_t row = edges[e].low.y / height; row <= edges[e].high.y / height; ++row) rows.emplace_back(row, e);
    std::sort(rows.begin(), rows.end());
    for (size_t r = 0; r < sketches.size(); ++r) {
        const Point p = sketches[r].place(0), q = sketches[r].place(1), middle{p.x + q.x, p.y + q.y};
        const int64_t row = middle.y / height;
        bool inside = false;  // even-odd, by the sides of other rings to the left
        for (auto it = std::lower_bound(rows.begin(), rows.end(), std::pair(row, size_t{0})); it != rows.end() && it->first == row; ++it) {
            const Edge& edge = edges[it->second];
            if (edge.ring == r || (edge.low.y <= middle.y) == (edge.high.y <= middle.y)) continue;
            inside ^= cross(edge.low, edge.high, middle) < 0;
        }
        const bool hole = sketches[r].ring->between(0, sketches[r].ring->size()) < 0;
        if (inside == hole) continue;
        for (int64_t k = 0; k < sketches[r].sides(); ++k) found.push_back({static_cast<int64_t>(r), k});
    }
    return found;
}

}  // namespace delineate
