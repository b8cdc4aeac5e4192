#include "pairs.hpp"

#include <cmath>

#include "open_mask.hpp"

namespace delineate {

namespace {

// Kept boxes by where their middles are, on a uniform grid. Of two boxes with an IoU above t, the shared width is above
// t * the larger width w, so the middles are less than (1 - t) * w apart, and the smaller width is above t * w.
class Grid {
   public:
    Grid(std::span<const float> boxes, std::span<const int64_t> order, double threshold) : boxes_(boxes) {
        reach_ = threshold >= 0.5 ? 1 - threshold : 0.5 / std::max(threshold, 1e-9) - 0.5;
        side_ = std::clamp<int64_t>(static_cast<int64_t>(std::sqrt(static_cast<double>(order.size())) / 2), 1, 256);
        cells_.resize(static_cast<size_t>(side_ * side_));
        for (int axis = 0; axis < 2; ++axis) {
            double low = INFINITY, high = -INFINITY;
            for (const int64_t i : order) {
                low = std::min(low, middle(i, axis));
                high = std::max(high, middle(i, axis));
            }
            origin_[axis] = low;
            scale_[axis] = high > low ? static_cast<double>(side_) / (high - low) : 0;
        }
    }

    // Whether test(k) holds for a kept box k that may overlap box i above the threshold.
    template <class Test>
    bool any(int64_t i, Test&& test) const {
        int64_t low[2], high[2];
        for (int axis = 0; axis < 2; ++axis) {
            // No further than the bound above, nor than a box that touches; a little more for rounding.
            const double own = extent(i, axis);
            const double far = 1.001 * std::min(own * (reach_ + 1e-6), 0.5 * (own + largest_[axis]));
            low[axis] = cell(middle(i, axis) - far, axis);
            high[axis] = cell(middle(i, axis) + far, axis);
        }
        for (int64_t y = low[1]; y <= high[1]; ++y)
            for (int64_t x = low[0]; x <= high[0]; ++x)
                for (const int64_t k : cells_[y * side_ + x])
                    if (test(k)) return true;
        return false;
    }
    void add(int64_t i) {
        for (int axis = 0; axis < 2; ++axis) largest_[axis] = std::max(largest_[axis], extent(i, axis));
        cells_[cell(middle(i, 1), 1) * side_ + cell(middle(i, 0), 0)].push_back(i);
    }

   private:
    double middle(int64_t i, int axis) const {
        return 0.5 * (static_cast<double>(boxes_[4 * i + axis]) + boxes_[4 * i + 2 + axis]);
    }
    double extent(int64_t i, int axis) const {
        return std::max(0.0, static_cast<double>(boxes_[4 * i + 2 + axis]) - boxes_[4 * i + axis]);
    }
    int64_t cell(double v, int axis) const {
        const double at = (v - origin_[axis]) * scale_[axis];
        return static_cast<int64_t>(std::clamp(at, 0.0, static_cast<double>(side_ - 1)));
    }

    std::span<const float> boxes_;
    double reach_, origin_[2], scale_[2], largest_[2] = {0, 0};
    int64_t side_;
    std::vector<std::vector<int64_t>> cells_;
};

template <class Overlaps>
std::vector<int64_t> suppress(std::span<const float> boxes, std::span<const int64_t> order, double threshold,
                              Overlaps&& overlaps) {
    Grid grid(boxes, order, threshold);
    std::vector<int64_t> kept;
    for (const int64_t i : order) {
        if (grid.any(i, [&](int64_t k) { return overlaps(k, i); })) continue;
        kept.push_back(i);
        grid.add(i);
    }
    return kept;
}

}  // namespace

std::vector<double> mask_iou(const Rle& a, const Rle& b, std::span<const uint8_t> crowd) {
    const auto rows = open_masks(a), columns = open_masks(b);
    const int64_t n = a.size(), m = b.size();
    std::vector<double> out(static_cast<size_t>(n * m));
    parallel_for(n, worth_a_thread(n, 64 * n * m), 0, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            for (int64_t j = 0; j < m; ++j) {
                const int64_t both = rows[i].intersection(columns[j]);
                if (both == 0) continue;
                const int64_t over = !crowd.empty() && crowd[j] ? rows[i].area : rows[i].area + columns[j].area - both;
                out[i * m + j] = static_cast<double>(both) / static_cast<double>(over);
            }
        }
    });
    return out;
}

std::vector<int64_t> mask_nms(const Rle& rle, std::span<const int64_t> order, double threshold) {
    const auto shapes = open_masks(rle);
    std::vector<float> boxes;
    for (const auto& shape : shapes)
        for (const int64_t v : {shape.box.x0, shape.box.y0, shape.box.x1, shape.box.y1})
            boxes.push_back(static_cast<float>(v));
    return suppress(boxes, order, threshold, [&](int64_t k, int64_t i) {
        const int64_t both = shapes[k].intersection(shapes[i]), over = shapes[k].area + shapes[i].area - both;
        return both > 0 && static_cast<double>(both) / static_cast<double>(over) > threshold;
    });
}

std::vector<int64_t> box_nms(std::span<const float> boxes, std::span<const int64_t> order, float threshold) {
    const auto area = [](float x0, float y0, float x1, float y1) {
        return std::max(0.0f, x1 - x0) * std::max(0.0f, y1 - y0);
    };
    return suppress(boxes, order, threshold, [&](int64_t k, int64_t i) {
        const float *a = boxes.data() + 4 * k, *b = boxes.data() + 4 * i;
        const float both = area(std::max(a[0], b[0]), std::max(a[1], b[1]), std::min(a[2], b[2]), std::min(a[3], b[3]));
        const float over = area(a[0], a[1], a[2], a[3]) + area(b[0], b[1], b[2], b[3]) - both;
        return both > 0 && both / over > threshold;
    });
}

}  // namespace delineate
