#include "box_tree.hpp"
#include "open_mask.hpp"
#include "pairs.hpp"

namespace delineate {

namespace {

// The pairs whose boxes meet and of which shared(i, j) is above 0.
template <class Shared>
Pairs meeting_pairs(std::span<const Rectangle> a, std::span<const Rectangle> b, bool within, Shared&& shared) {
    const BoxTree tree(b);
    const int64_t n = static_cast<int64_t>(a.size());
    const int64_t grain = chunk_size(n, 1024 * n);
    std::vector<Pairs> pieces(static_cast<size_t>(std::max<int64_t>(1, (n + grain - 1) / grain)));
    parallel_for(static_cast<int64_t>(pieces.size()), 1, 0, [&](int64_t begin, int64_t end) {
        std::vector<int64_t> near;
        for (int64_t p = begin; p < end; ++p) {
            Pairs& out = pieces[p];
            for (int64_t i = p * grain; i < std::min(n, (p + 1) * grain); ++i) {
                near.clear();
                tree.for_each_meeting(a[i], [&](int64_t j) {
                    if (!within || j > i) near.push_back(j);
                });
                std::sort(near.begin(), near.end());
                for (const int64_t j : near) {
                    const double value = shared(i, j);
                    if (!(value > 0)) continue;
                    out.first.push_back(i);
                    out.second.push_back(j);
                    out.shared.push_back(value);
                }
            }
        }
    });
    Pairs whole = std::move(pieces[0]);
    for (size_t p = 1; p < pieces.size(); ++p) {
        whole.first.insert(whole.first.end(), pieces[p].first.begin(), pieces[p].first.end());
        whole.second.insert(whole.second.end(), pieces[p].second.begin(), pieces[p].second.end());
        whole.shared.insert(whole.shared.end(), pieces[p].shared.begin(), pieces[p].shared.end());
        pieces[p] = {};
    }
    return whole;
}

std::vector<Rectangle> rectangles(const std::vector<OpenMask>& masks) {
    std::vector<Rectangle> out;
    for (const OpenMask& mask : masks)
        out.push_back({static_cast<double>(mask.box.x0), static_cast<double>(mask.box.y0),
                       static_cast<double>(mask.box.x1), static_cast<double>(mask.box.y1)});
    return out;
}

std::vector<Rectangle> rectangles(std::span<const double> boxes) {
    std::vector<Rectangle> out;
    for (size_t k = 0; k + 3 < boxes.size(); k += 4)
        out.push_back({boxes[k], boxes[k + 1], boxes[k + 2], boxes[k + 3]});
    return out;
}

}  // namespace

Pairs mask_pairs(const Rle& a, const Rle* b) {
    const auto rows = open_masks(a);
    const auto columns = b ? open_masks(*b) : std::vector<OpenMask>{};
    const auto& others = b ? columns : rows;
    const auto boxes = rectangles(rows);
    return meeting_pairs(boxes, b ? rectangles(columns) : boxes, b == nullptr, [&](int64_t i, int64_t j) {
        return static_cast<double>(rows[i].intersection(others[j]));
    });
}

Pairs box_pairs(std::span<const double> a, const std::span<const double>* b) {
    const auto rows = rectangles(a), columns = b ? rectangles(*b) : rows;
    return meeting_pairs(rows, columns, b == nullptr, [&](int64_t i, int64_t j) {
        const Rectangle &r = rows[i], &c = columns[j];
        return (std::min(r.x1, c.x1) - std::max(r.x0, c.x0)) * (std::min(r.y1, c.y1) - std::max(r.y0, c.y0));
    });
}

}  // namespace delineate
