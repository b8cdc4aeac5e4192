// The border of a grid of values interpolated to picture pixels, column by column: shared by prototypes and crops.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "decode.hpp"

namespace delineate {

// Half-open ranges of picture pixels whose centres a box holds, and the closed ranges of cells around them.
struct Window {
    int64_t row0, row1, column0, column1;
    int64_t i0, i1, j0, j1;
};

// Pixel p is inside [low, high) when low <= p + 0.5 < high.
inline int64_t first_pixel(double edge, int64_t size) {
    return static_cast<int64_t>(std::ceil(std::clamp(edge - 0.5, 0.0, static_cast<double>(size))));
}

inline double cell_at(int64_t pixel, double step, double offset, int64_t cells) {
    return std::clamp((static_cast<double>(pixel) + 0.5) * step + offset, 0.0, static_cast<double>(cells - 1));
}

// The cell left of a coordinate, such that there is one right of it too (a grid of one column aside).
inline int64_t left_cell(double at, int64_t cells) {
    return std::max<int64_t>(0, std::min(static_cast<int64_t>(at), cells - 2));
}

inline bool all_moderate(const float* values, int64_t n) {
    int bad = 0;
    for (int64_t i = 0; i < n; ++i) bad |= !(std::fabs(values[i]) < 1e30f);  // also NaN
    return bad == 0;
}

struct Scratch {
    std::vector<float> logits;
    std::vector<int32_t> mixed;  // cell rows of the present column interval whose four corners differ in sign
};

// Only in these rows of the interval between cell columns `a` and `b` can an interpolated column change sign.
inline void find_mixed(const float* a, const float* b, int64_t rows, std::vector<int32_t>& mixed) {
    mixed.clear();
    int above = (a[0] > 0) + (b[0] > 0);
    for (int64_t i = 1; i < rows; ++i) {
        const int below = (a[i] > 0) + (b[i] > 0);
        const int positive = above + below;
        if (positive != 0 && positive != 4) mixed.push_back(static_cast<int32_t>(i - 1));
        above = below;
    }
}

// One picture column: between two cell rows the logit is linear in y, so each sign change is solved for, not searched.
inline void solve_column(const float* a, const float* b, float t, const Window& w, const Sampling& s, int64_t column,
                         const std::vector<int32_t>& mixed, RunWriter& runs) {
    const auto value = [&](int64_t i) { return a[i] + (b[i] - a[i]) * t; };
    const double per_cell = 1.0 / s.step_y;
    const int64_t top = column * s.height;
    bool inside = value(0) > 0;
    int64_t begin = w.row0;
    for (const int32_t i : mixed) {
        const float low = value(i), high = value(i + 1);
        if ((high > 0) == inside) continue;
        // The float interpolation may leave both ends on one side by a rounding error; the fraction stays in [0, 1].
        const double fraction = low == high ? 0.0 : std::clamp(double{low} / (double{low} - double{high}), 0.0, 1.0);
        const double row = (static_cast<double>(w.i0 + i) + fraction - s.offset_y) * per_cell - 0.5;
        const double clipped = std::clamp(row, static_cast<double>(w.row0) - 1, static_cast<double>(w.row1));
        if (inside) {
            runs.ones(top + begin, top + static_cast<int64_t>(std::ceil(clipped)));
        } else {
            begin = static_cast<int64_t>(std::floor(clipped)) + 1;
        }
        inside = !inside;
    }
    if (inside) runs.ones(top + begin, top + w.row1);
}

// All columns of a window. `cells` holds the window's values column by column, of a grid `across` cells wide.
inline void solve_window(const float* cells, int64_t across, const Window& w, const Sampling& s,
                         std::vector<int32_t>& mixed, RunWriter& runs) {
    const int64_t rows = w.i1 - w.i0 + 1;
    int64_t interval = -1;
    for (int64_t c = w.column0; c < w.column1; ++c) {
        const double at = cell_at(c, s.step_x, s.offset_x, across);
        const int64_t j = left_cell(at, across);
        const float* a = cells + (j - w.j0) * rows;
        const float* b = j + 1 <= w.j1 ? a + rows : a;
        if (j != interval) find_mixed(a, b, rows, mixed);
        interval = j;
        solve_column(a, b, static_cast<float>(at - static_cast<double>(j)), w, s, c, mixed, runs);
    }
}

}  // namespace delineate
