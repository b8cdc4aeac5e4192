// One ring of an outline, and the fewest of its points that stay within a distance of it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace delineate {

// In half pixels.
struct Point {
    int64_t x, y;
    bool operator==(const Point&) const = default;
};
inline int64_t cross(Point o, Point a, Point b) { return (a.x - o.x) * (b.y - o.y) - (a.y - o.y) * (b.x - o.x); }
inline int64_t dot(Point o, Point a, Point b) { return (a.x - o.x) * (b.x - o.x) + (a.y - o.y) * (b.y - o.y); }

// The corners of a ring and the middles of its edges in turn: the points that a simpler ring may keep. The middles matter:
// a line through the middles of steps is the straight line that the steps came from.
class Ring {
   public:
    explicit Ring(std::span<const int32_t> corners);  // x, y, x, y, ... in pixels

    int64_t size() const { return static_cast<int64_t>(points_.size()); }
    // Point i of the ring, walked round any number of times; even: a corner, odd: a middle.
    Point at(int64_t i) const { return points_[static_cast<size_t>(i % size())]; }
    // Twice the signed area between the ring from a to b and the straight line from b to a; a <= b.
    int64_t between(int64_t a, int64_t b) const;
    // The corners strictly between a and b lie within `distance` of the line from a to b.
    bool within(int64_t a, int64_t b, double distance) const;
    // The corner strictly between a and b that is farthest from the line; -1: there is none.
    int64_t farthest(int64_t a, int64_t b) const;

   private:
    int64_t walked(int64_t i) const { return i / size() * sums_.back() + sums_[static_cast<size_t>(i % size())]; }
    std::vector<Point> points_;
    std::vector<int64_t> sums_;  // of cross products of neighbours, from the start
};

// All pairs of points of a ring whose joining line has every corner between them within a distance (Imai and Iri, 1988),
// found by narrowing cones from both ends (Chan and Chin, 1996).
class Shortcuts {
   public:
    Shortcuts(const Ring& ring, double distance);
    // Only between some of the points (rising), which alone have to lie within the distance.
    Shortcuts(const Ring& ring, std::vector<int64_t> among, double distance);

    // The points of the cheapest closed chain, rising: each line costs 1 and `price` for every square half pixel
    // between it and the ring. The cheapest through one point, that is; several are tried, more where the chain is short.
    std::vector<int64_t> cheapest(double price) const;

   private:
    struct Chain {
        double cost;
        std::vector<int64_t> points;
    };
    // Candidates are numbered from 0, those of `among_` or all; walked round any number of times.
    Chain chain(int64_t start, double price) const;
    int64_t count() const { return among_.empty() ? ring_.size() : static_cast<int64_t>(among_.size()); }
    int64_t place(int64_t i) const {
        return among_.empty() ? i : among_[static_cast<size_t>(i % count())] + i / count() * ring_.size();
    }
    Point at(int64_t i) const { return ring_.at(place(i)); }
    // Whether a line that passes it must come near it: middles follow from their corners.
    bool binds(int64_t i) const { return !among_.empty() || i % 2 == 0; }

    const Ring& ring_;
    std::vector<int64_t> among_;   // empty: all points
    std::vector<size_t> begins_;   // of each candidate in bits_
    std::vector<uint64_t> bits_;   // bit k of a candidate: the line to the (k + 1)th after it
};

}  // namespace delineate
