// Simplified outlines: the bound holds, rings keep their number and their sense, and nothing crosses.
#include "simplify.hpp"

#include <algorithm>
#include <cmath>

#include "check.hpp"
#include "dense.hpp"
#include "outline.hpp"
#include "polygon.hpp"
#include "topology.hpp"

using namespace delineate;
using delineate::test::Random;

namespace {

int64_t turn(const int32_t* a, const int32_t* b, const int32_t* c) {
    return (int64_t{b[0]} - a[0]) * (int64_t{c[1]} - a[1]) - (int64_t{b[1]} - a[1]) * (int64_t{c[0]} - a[0]);
}

// Every pair of sides of a mask: no proper crossing, no corner inside another side.
void check_apart(const Simplified& found, int64_t mask) {
    std::vector<const int32_t*> from, to;
    for (int64_t r = found.masks[mask]; r < found.masks[mask + 1]; ++r) {
        const int64_t begin = found.rings[r], n = found.rings[r + 1] - begin;
        CHECK(n >= 3);
        for (int64_t k = 0; k < n; ++k) {
            from.push_back(&found.points[2 * (begin + k)]);
            to.push_back(&found.points[2 * (begin + (k + 1) % n)]);
        }
    }
    for (size_t i = 0; i < from.size(); ++i)
        for (size_t j = i + 1; j < from.size(); ++j) {
            const auto sign = [](int64_t v) { return (v > 0) - (v < 0); };
            const int a = sign(turn(from[i], to[i], from[j])), b = sign(turn(from[i], to[i], to[j]));
            const int c = sign(turn(from[j], to[j], from[i])), d = sign(turn(from[j], to[j], to[i]));
            CHECK(!(a * b < 0 && c * d < 0));
        }
}

int64_t doubled_area(const int32_t* points, int64_t n) {
    int64_t sum = 0;
    for (int64_t k = 1; k + 1 < n; ++k) sum += turn(points, points + 2 * k, points + 2 * (k + 1));
    return sum;
}

void check(const Rle& rle, const Simplified& found, double iou) {
    const Outlines exact = trace(rle);
    CHECK(found.masks == exact.masks && found.rings.size() == exact.rings.size());
    for (size_t r = 0; r + 1 < exact.rings.size(); ++r) {
        const int64_t before = doubled_area(&exact.points[2 * exact.rings[r]], exact.rings[r + 1] - exact.rings[r]);
        const int64_t after = doubled_area(&found.points[2 * found.rings[r]], found.rings[r + 1] - found.rings[r]);
        CHECK(after != 0 && (before > 0) == (after > 0));
    }
    std::vector<double> xy;
    for (const int32_t v : found.points) xy.push_back(v / 2.0);
    const Rle filled = from_rings(rle.height, rle.width, xy, found.rings, found.masks);
    test::check_canonical(filled);
    for (int64_t i = 0; i < rle.size(); ++i) {
        check_apart(found, i);
        int64_t both = 0, either = 0;
        std::vector<uint8_t> a(static_cast<size_t>(rle.pixels())), b(a);
        const Box all{0, 0, rle.width, rle.height};
        if (all.empty()) continue;
        decode_box(rle.runs(i), rle.height, all, a.data());
        decode_box(filled.runs(i), rle.height, all, b.data());
        for (size_t k = 0; k < a.size(); ++k) {
            both += a[k] && b[k];
            either += a[k] || b[k];
        }
        CHECK(static_cast<double>(both) >= iou * static_cast<double>(either));
    }
}

// A rough disc, large enough for the search among the points of a sketch.
Rle rough_disc(int64_t side) {
    std::vector<uint8_t> pixels(static_cast<size_t>(side * side));
    const double middle = static_cast<double>(side) / 2;
    for (int64_t y = 0; y < side; ++y)
        for (int64_t x = 0; x < side; ++x) {
            const double dy = static_cast<double>(y) - middle, dx = static_cast<double>(x) - middle;
            const double angle = std::atan2(dy, dx), rough = std::sin(9 * angle) / 20 + std::sin(91 * angle) / 90;
            pixels[static_cast<size_t>(y * side + x)] = std::hypot(dy, dx) < middle * (.85 + rough);
        }
    return encode_rows(pixels.data(), 1, side, side);
}

// Lines between some points are within the distance of those points, and there are not many more than between all.
void check_among() {
    const Rle rle = rough_disc(300);
    const Outlines outlines = trace(rle);
    CHECK(outlines.rings.size() == 2);
    const Ring ring(std::span<const int32_t>(outlines.points).first(static_cast<size_t>(2 * outlines.rings[1])));
    const double price = 1e-9;
    for (const double distance : {10.0, 16.0, 40.0}) {
        const double part = distance / 8;
        const auto sketch = Shortcuts(ring, part).cheapest(price), all = Shortcuts(ring, distance).cheapest(price);
        const auto some = Shortcuts(ring, sketch, distance - part).cheapest(price);
        CHECK(some.size() <= all.size() + all.size() / 2 + 1);
        CHECK(std::is_sorted(some.begin(), some.end()));
        for (size_t k = 0; k < some.size(); ++k) {
            CHECK(std::find(sketch.begin(), sketch.end(), some[k]) != sketch.end());
            const int64_t end = k + 1 < some.size() ? some[k + 1] : some[0] + ring.size();
            CHECK(ring.within(some[k], end, distance + 1e-9));
        }
    }
}

}  // namespace

int main() {
    check_among();
    const Rle disc = rough_disc(700);
    check(disc, simplify_to_iou(disc, .8), .8);

    Random random(3);
    for (int round = 0; round < 400; ++round) {
        const auto pixels = test::random_pixels(random, random.below(3), random.below(28), random.below(28));
        const Rle rle = encode_rows(pixels.values.data(), pixels.n, pixels.height, pixels.width);
        check(rle, simplify_within(rle, static_cast<double>(random.below(12)) / 4), 0);
        const double iou = static_cast<double>(random.below(11)) / 10;
        check(rle, simplify_to_iou(rle, iou), iou);
    }
    // Exact: the least bound changes nothing but the corners that lie on a line.
    const auto pixels = test::random_pixels(random, 1, 40, 40);
    const Rle rle = encode_rows(pixels.values.data(), 1, 40, 40);
    check(rle, simplify_within(rle, 0), 1);
    std::puts("simplify: ok");
}
