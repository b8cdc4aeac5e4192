#include "shortcuts.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

namespace delineate {

Ring::Ring(std::span<const int32_t> corners) {
    const size_t n = corners.size() / 2;
    points_.reserve(2 * n);
    for (size_t k = 0; k < n; ++k) {
        const size_t next = (k + 1) % n;
        const int64_t x = corners[2 * k], y = corners[2 * k + 1];
        points_.push_back({2 * x, 2 * y});
        points_.push_back({x + corners[2 * next], y + corners[2 * next + 1]});
    }
    sums_.assign(1, 0);
    for (int64_t i = 0; i < size(); ++i) sums_.push_back(sums_.back() + cross(points_[0], at(i), at(i + 1)));
}

int64_t Ring::between(int64_t a, int64_t b) const {
    return walked(b) - walked(a) + cross(points_[0], at(b), at(a));
}

namespace {

double squared_distance(Point a, Point b, Point p) {
    const double length = static_cast<double>(dot(a, b, b));
    const double along = static_cast<double>(dot(a, b, p));
    if (along <= 0) return static_cast<double>(dot(a, p, p));
    if (along >= length) return static_cast<double>(dot(b, p, p));
    const double aside = static_cast<double>(cross(a, b, p));
    return aside * aside / length;
}

int64_t first_corner_after(int64_t i) { return i + 1 + (i + 1) % 2; }

}  // namespace

bool Ring::within(int64_t a, int64_t b, double distance) const {
    for (int64_t k = first_corner_after(a); k < b; k += 2)
        if (squared_distance(at(a), at(b), at(k)) > distance * distance) return false;
    return true;
}

int64_t Ring::farthest(int64_t a, int64_t b) const {
    int64_t best = -1;
    double most = -1;
    for (int64_t k = first_corner_after(a); k < b; k += 2) {
        const double far = squared_distance(at(a), at(b), at(k));
        if (far <= most) continue;
        most = far;
        best = k;
    }
    return best;
}

namespace {

constexpr int64_t kLongest = 4096;  // points that one line may leave out

// The directions in which a ray from a point meets all discs so far: between two tangents, less than half a turn.
class Cone {
   public:
    Cone(Point apex, double radius) : apex_(apex), radius_(radius) {}

    bool contains(Point p) const {
        const Vector v{static_cast<double>(p.x - apex_.x), static_cast<double>(p.y - apex_.y)};
        return !narrowed_ || inside(v, right_, left_);
    }
    // Keeps what meets the disc round p; false: nothing does.
    bool narrow(Point p) {
        const Vector v{static_cast<double>(p.x - apex_.x), static_cast<double>(p.y - apex_.y)};
        const double rest = v.x * v.x + v.y * v.y - radius_ * radius_;
        if (rest <= 0) return true;  // the apex lies in the disc
        const double c = std::sqrt(rest);
        const Vector left{v.x * c - v.y * radius_, v.x * radius_ + v.y * c};
        const Vector right{v.x * c + v.y * radius_, v.y * c - v.x * radius_};
        if (!narrowed_) {
            right_ = right;
            left_ = left;
            return narrowed_ = true;
        }
        const bool new_right = inside(right, right_, left_), new_left = inside(left, right_, left_);
        if (!(new_right || inside(right_, right, left)) || !(new_left || inside(left_, right, left))) return false;
        if (new_right) right_ = right;
        if (new_left) left_ = left;
        return true;
    }

   private:
    struct Vector {
        double x, y;
    };
    static double turn(Vector a, Vector b) { return a.x * b.y - a.y * b.x; }
    static bool inside(Vector v, Vector right, Vector left) { return turn(right, v) >= 0 && turn(v, left) >= 0; }

    Point apex_;
    double radius_;
    bool narrowed_ = false;
    Vector right_{0, 0}, left_{0, 0};
};

}  // namespace

Shortcuts::Shortcuts(const Ring& ring, double distance) : Shortcuts(ring, {}, distance) {}

Shortcuts::Shortcuts(const Ring& ring, std::vector<int64_t> among, double distance) : ring_(ring), among_(std::move(among)) {
    const int64_t n = count(), longest = std::min(n - 1, kLongest);
    std::vector<uint64_t> forward;
    for (int64_t a = 0; a < n; ++a) {
        begins_.push_back(forward.size());
        Cone cone(at(a), distance);
        for (int64_t k = 0; k < longest; ++k) {
            if (k % 64 == 0) forward.push_back(0);
            const Point p = at(a + k + 1);
            if (cone.contains(p)) forward.back() |= uint64_t{1} << (k % 64);
            if (binds(a + k + 1) && !cone.narrow(p)) break;
        }
    }
    begins_.push_back(forward.size());
    bits_.assign(forward.size(), 0);
    for (int64_t b = n; b < 2 * n; ++b) {
        Cone cone(at(b), distance);
        for (int64_t k = 0; k < longest; ++k) {
            const int64_t a = b - k - 1;
            const size_t word = begins_[static_cast<size_t>(a % n)] + static_cast<size_t>(k / 64);
            const uint64_t bit = uint64_t{1} << (k % 64);
            const bool there = word < begins_[static_cast<size_t>(a % n) + 1] && (forward[word] & bit);
            const Point p = at(a);
            if (there && cone.contains(p)) bits_[word] |= bit;
            if (binds(a) && !cone.narrow(p)) break;
        }
    }
}

Shortcuts::Chain Shortcuts::chain(int64_t start, double price) const {
    const int64_t n = count();
    std::vector<double> cost(static_cast<size_t>(n) + 1, std::numeric_limits<double>::infinity());
    std::vector<int64_t> previous(static_cast<size_t>(n) + 1, 0);
    cost[0] = 0;
    for (int64_t i = 0; i < n; ++i) {
        const int64_t a = (start + i) % n;
        for (size_t word = begins_[static_cast<size_t>(a)]; word < begins_[static_cast<size_t>(a) + 1]; ++word) {
            for (uint64_t bits = bits_[word]; bits; bits &= bits - 1) {
                const int64_t k = static_cast<int64_t>(64 * (word - begins_[static_cast<size_t>(a)])) +
                                  std::countr_zero(bits) + 1;
                if (i + k > n) break;
                const double area = std::abs(static_cast<double>(ring_.between(place(a), place(a + k))));
                const double total = cost[static_cast<size_t>(i)] + 1 + price * area;
                if (total >= cost[static_cast<size_t>(i + k)]) continue;
                cost[static_cast<size_t>(i + k)] = total;
                previous[static_cast<size_t>(i + k)] = i;
            }
        }
    }
    std::vector<int64_t> points;
    for (int64_t i = n; i > 0; i = previous[static_cast<size_t>(i)])
        points.push_back((start + previous[static_cast<size_t>(i)]) % n);
    std::sort(points.begin(), points.end());
    return {cost.back(), std::move(points)};
}

std::vector<int64_t> Shortcuts::cheapest(double price) const {
    constexpr size_t kFew = 12;
    constexpr int64_t kStarts = 8, kWork = 1 << 14;
    const int64_t n = count();
    Chain best = chain(0, price);
    best = chain(best.points[best.points.size() / 2], price);  // contains the first one's, so it is no worse
    const auto places = [&] {
        for (int64_t& point : best.points) point = place(point);
        return std::move(best.points);
    };
    if (best.points.size() > kFew) return places();
    int64_t begin = best.points.back(), length = best.points[0] + n - begin;
    for (size_t k = 0; k + 1 < best.points.size(); ++k)
        if (best.points[k + 1] - best.points[k] > length) {
            begin = best.points[k];
            length = best.points[k + 1] - begin;
        }
    const int64_t starts = std::min({kStarts, kWork / n, length - 1});
    for (int64_t k = 1; k <= starts; ++k) {
        Chain other = chain((begin + k * length / (starts + 1)) % n, price);
        if (other.cost < best.cost) best = std::move(other);
    }
    return places();
}

}  // namespace delineate
