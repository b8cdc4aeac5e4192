// Which boxes meet a box: a tree packed once by the sort-tile-recursive method (Leutenegger et al., 1997). Its cost does not
// depend on how sizes are mixed, as that of a grid does.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace delineate {

struct Rectangle {
    double x0, y0, x1, y1;
    bool empty() const { return !(x0 < x1 && y0 < y1); }
    // Whether they share area.
    bool meets(const Rectangle& other) const {
        return x0 < other.x1 && other.x0 < x1 && y0 < other.y1 && other.y0 < y1;
    }
};

class BoxTree {
   public:
    // Boxes without area are left out.
    explicit BoxTree(std::span<const Rectangle> boxes) {
        for (size_t i = 0; i < boxes.size(); ++i)
            if (!boxes[i].empty()) items_.push_back(static_cast<int64_t>(i));
        pack(boxes);
        for (const int64_t i : items_) leaves_.push_back(boxes[i]);
        const std::vector<Rectangle>* below = &leaves_;
        while (below->size() > kFanout) {
            std::vector<Rectangle> level;
            for (size_t k = 0; k < below->size(); k += kFanout) {
                Rectangle hull{INFINITY, INFINITY, -INFINITY, -INFINITY};
                for (size_t c = k; c < std::min(below->size(), k + kFanout); ++c) {
                    const Rectangle& box = (*below)[c];
                    hull = {std::min(hull.x0, box.x0), std::min(hull.y0, box.y0), std::max(hull.x1, box.x1),
                            std::max(hull.y1, box.y1)};
                }
                level.push_back(hull);
            }
            levels_.push_back(std::move(level));
            below = &levels_.back();
        }
    }

    // Calls fn(i) for every box that shares area with `box`, in no particular order.
    template <class Fn>
    void for_each_meeting(const Rectangle& box, Fn&& fn) const {
        if (box.empty() || leaves_.empty()) return;
        const size_t top = levels_.size();
        descend(top, 0, top == 0 ? leaves_.size() : levels_.back().size(), box, fn);
    }

   private:
    static constexpr size_t kFanout = 8;

    // Neighbours in the plane become neighbours in the list: slices by x, each sorted by y.
    void pack(std::span<const Rectangle> boxes) {
        const auto by = [&](auto middle) {
            return [&boxes, middle](int64_t a, int64_t b) {
                return std::pair(middle(boxes[a]), a) < std::pair(middle(boxes[b]), b);
            };
        };
        std::sort(items_.begin(), items_.end(), by([](const Rectangle& r) { return r.x0 / 2 + r.x1 / 2; }));
        const double leaves = std::ceil(static_cast<double>(items_.size()) / kFanout);
        const size_t slice = kFanout * static_cast<size_t>(std::ceil(std::sqrt(std::max(1.0, leaves))));
        for (size_t k = 0; k < items_.size(); k += slice)
            std::sort(items_.begin() + static_cast<int64_t>(k),
                      items_.begin() + static_cast<int64_t>(std::min(items_.size(), k + slice)),
                      by([](const Rectangle& r) { return r.y0 / 2 + r.y1 / 2; }));
    }

    // Nodes [begin, end) of a level; level 0 is the leaves.
    template <class Fn>
    void descend(size_t level, size_t begin, size_t end, const Rectangle& box, Fn& fn) const {
        const std::vector<Rectangle>& nodes = level == 0 ? leaves_ : levels_[level - 1];
        for (size_t k = begin; k < end; ++k) {
            if (!nodes[k].meets(box)) continue;
            if (level == 0) {
                fn(items_[k]);
                continue;
            }
            const size_t below = level == 1 ? leaves_.size() : levels_[level - 2].size();
            descend(level - 1, k * kFanout, std::min(below, (k + 1) * kFanout), box, fn);
        }
    }

    std::vector<int64_t> items_;
    std::vector<Rectangle> leaves_;                // of items_, in its order
    std::vector<std::vector<Rectangle>> levels_;  // around kFanout of the level below each
};

}  // namespace delineate
