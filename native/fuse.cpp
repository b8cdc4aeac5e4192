#include <cmath>

#include "open_mask.hpp"
#include "suppress.hpp"

namespace delineate {

namespace {

// Gives every object a cluster. overlap(c, i) is the IoU of a fused shape and an object; settle(c, members) fuses anew.
template <class Overlap, class Settle>
std::vector<int64_t> cluster(const Votes& votes, double threshold, Overlap&& overlap, Settle&& settle) {
    std::vector<int64_t> found(votes.order.size(), -1), labels;
    std::vector<std::vector<int64_t>> members;
    for (const int64_t i : votes.order) {
        double best = threshold;
        size_t chosen = members.size();
        for (size_t c = 0; c < members.size(); ++c) {
            if (labels[c] != votes.labels[i]) continue;
            const double iou = overlap(c, i);
            if (!(iou > best)) continue;
            best = iou;
            chosen = c;
        }
        if (chosen == members.size()) {
            members.emplace_back();
            labels.push_back(votes.labels[i]);
        }
        members[chosen].push_back(i);
        found[i] = static_cast<int64_t>(chosen);
        settle(chosen, members[chosen]);
    }
    return found;
}

// The pixels that hold at least half of the members' weight, counted in whole numbers: the order of sums does not matter.
// A find that joins shares a pixel with the fused mask, which holds half of the weight then too: none is voted away.
void vote(const Rle& rle, const std::vector<int64_t>& members, std::span<const double> weights, RunWriter& writer) {
    double largest = 0;
    for (const int64_t i : members) largest = std::max(largest, weights[i]);
    std::vector<std::pair<int64_t, int64_t>> changes;
    int64_t total = 0;
    for (const int64_t i : members) {
        const int64_t weight = largest > 0 ? std::llround(std::ldexp(weights[i], 40 - std::ilogb(largest))) : 1;
        total += weight;
        for (OnesCursor c(rle.runs(i)); !c.done(); c.next()) {
            changes.emplace_back(c.begin, weight);
            changes.emplace_back(c.end, -weight);
        }
    }
    std::sort(changes.begin(), changes.end());
    int64_t sum = 0, begin = -1;
    for (size_t k = 0; k < changes.size();) {
        const int64_t position = changes[k].first;
        for (; k < changes.size() && changes[k].first == position; ++k) sum += changes[k].second;
        const bool covered = sum > 0 && 2 * sum >= total;
        if (covered && begin < 0) begin = position;
        if (!covered && begin >= 0) {
            writer.ones(begin, position);
            begin = -1;
        }
    }
}

}  // namespace

FusedMasks fuse_masks(const Rle& rle, const Votes& votes, double threshold) {
    const auto masks = open_masks(rle);
    struct Fused {
        Rle runs;  // one mask; `mask` looks into it
        OpenMask mask;
    };
    std::vector<Fused> fused;
    FusedMasks out;
    out.clusters = cluster(
        votes, threshold,
        [&](size_t c, int64_t i) {
            const int64_t both = fused[c].mask.intersection(masks[i]);
            return both == 0 ? 0.0 : static_cast<double>(both) / static_cast<double>(fused[c].mask.area + masks[i].area - both);
        },
        [&](size_t c, const std::vector<int64_t>& members) {
            if (c == fused.size()) fused.emplace_back();
            Rle runs{rle.height, rle.width, {}, {0}};
            RunWriter writer(runs);
            if (members.size() == 1) {
                writer.copy(rle.runs(members[0]));
            } else {
                vote(rle, members, votes.weights, writer);
            }
            writer.finish();
            fused[c].runs = std::move(runs);
            fused[c].mask = OpenMask(fused[c].runs.runs(0), rle.height);
        });
    out.masks = Rle{rle.height, rle.width, {}, {0}};
    for (const Fused& one : fused) append(out.masks, one.runs);
    return out;
}

FusedBoxes fuse_boxes(std::span<const double> boxes, const Votes& votes, double threshold) {
    FusedBoxes out;
    const auto area = [](double x0, double y0, double x1, double y1) {
        return std::max(0.0, x1 - x0) * std::max(0.0, y1 - y0);
    };
    out.clusters = cluster(
        votes, threshold,
        [&](size_t c, int64_t i) {
            const double *a = out.boxes.data() + 4 * c, *b = boxes.data() + 4 * i;
            const double both = area(std::max(a[0], b[0]), std::max(a[1], b[1]), std::min(a[2], b[2]), std::min(a[3], b[3]));
            return both > 0 ? both / (area(a[0], a[1], a[2], a[3]) + area(b[0], b[1], b[2], b[3]) - both) : 0.0;
        },
        [&](size_t c, const std::vector<int64_t>& members) {
            if (out.boxes.size() == 4 * c) out.boxes.resize(4 * c + 4);
            double total = 0, sums[4] = {};
            for (const int64_t i : members) total += votes.weights[i];
            const bool plain = members.size() == 1 || !(total > 0);  // one box stays as it is, to the bit
            if (plain) total = static_cast<double>(members.size());
            for (const int64_t i : members)
                for (int k = 0; k < 4; ++k) sums[k] += (plain ? 1 : votes.weights[i]) * boxes[4 * i + k];
            for (int k = 0; k < 4; ++k) out.boxes[4 * c + k] = sums[k] / total;
        });
    return out;
}

}  // namespace delineate
