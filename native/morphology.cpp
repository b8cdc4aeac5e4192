#include "morphology.hpp"

#include <cmath>
#include <numeric>

#include "algebra.hpp"
#include "window.hpp"

namespace delineate {

namespace {

struct Windows {
    Window result, layer;
};

// The largest k with k * k <= n.
int64_t root(int64_t n) {
    int64_t k = static_cast<int64_t>(std::sqrt(static_cast<double>(n)));
    while (k * k > n) --k;
    while ((k + 1) * (k + 1) <= n) ++k;
    return k;
}

// Columns of equal half height h of the disc go together: a layer with the mask made thicker (thinner) by h rows, moved by
// each of their distances.
template <bool kErode>
void spread_disc(std::span<const uint32_t> runs, int64_t height, int64_t radius, Windows& windows) {
    auto& [result, layer] = windows;
    for (int64_t near = 0; near <= radius && near < result.box().width();) {
        const int64_t half = root(radius * radius - near * near);
        const int64_t far = std::min(root(radius * radius - half * half), radius);
        layer.open(result.box());
        const int64_t grow = kErode ? -half : half;
        for_each_span(runs, height, [&](int64_t x, int64_t y0, int64_t y1) { layer.paint(x, y0 - grow, y1 + grow); });
        if (near == 0) result = layer;
        for (int64_t dx = std::max<int64_t>(near, 1); dx <= far && dx < result.box().width(); ++dx) {
            result.join_moved<kErode>(layer, dx);
            result.join_moved<kErode>(layer, -dx);
        }
        near = far + 1;
    }
}

template <bool kErode>
void change(const Rle& rle, int64_t i, int64_t radius, Element element, RunWriter& writer, Windows& windows) {
    Window& window = windows.result;
    const auto runs = rle.runs(i);
    const Box tight = tight_box(runs, rle.height);
    if (tight.empty()) return;
    // No element fits into less; and beyond the sides of the canvas nothing more is reached.
    if (kErode && std::min(tight.width(), tight.height()) <= 2 * radius) return;
    const bool square = element == Element::kSquare;
    radius = std::min(radius, square ? std::max(rle.height, rle.width) : rle.height + rle.width);
    Box box = tight;
    if (!kErode) {
        box = {tight.x0 - radius, std::max<int64_t>(0, tight.y0 - radius), tight.x1 + radius,
               std::min(rle.height, tight.y1 + radius)};
        // Steps of one pixel need not leave the canvas; longer ones may leave it and come back.
        if (!square) box.x0 = std::max<int64_t>(0, box.x0), box.x1 = std::min(rle.width, box.x1);
    }
    window.open(box);
    if (element == Element::kDisc) {
        spread_disc<kErode>(runs, rle.height, radius, windows);
        return window.write(rle.height, rle.width, writer);
    }
    const int64_t grow = !square ? 0 : kErode ? -radius : radius;
    for_each_span(runs, rle.height, [&](int64_t x, int64_t y0, int64_t y1) { window.paint(x, y0 - grow, y1 + grow); });
    if (square) {
        window.spread_columns<kErode>(radius);
    } else {
        for (int64_t k = 0; k < radius; ++k) window.step_cross<kErode>();
    }
    window.write(rle.height, rle.width, writer);
}

template <bool kErode>
Rle change_all(const Rle& rle, int64_t radius, Element element) {
    if (radius == 0) return rle;
    const int64_t work = 64 * static_cast<int64_t>(rle.counts.size());
    return build<Windows>(rle.size(), rle.height, rle.width, work, [&](int64_t i, RunWriter& writer, Windows& windows) {
        change<kErode>(rle, i, radius, element, writer, windows);
    });
}

}  // namespace

Rle erode(const Rle& rle, int64_t radius, Element element) { return change_all<true>(rle, radius, element); }
Rle dilate(const Rle& rle, int64_t radius, Element element) { return change_all<false>(rle, radius, element); }

Rle boundary_band(std::span<const uint32_t> runs, int64_t height, int64_t width) {
    const int64_t pixels = std::accumulate(runs.begin(), runs.end(), int64_t{0});
    const Rle mask{height, pixels / std::max<int64_t>(1, height), {runs.begin(), runs.end()},
                   {0, static_cast<int64_t>(runs.size())}};
    return combine(mask, erode(mask, width, Element::kSquare), Table::kDifference);
}

}  // namespace delineate
