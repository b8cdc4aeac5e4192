// The matches of one image and one category, with ids, as pycocotools' `evalImgs` lists them.
#include <algorithm>

#include "match.hpp"

namespace delineate {
namespace {

struct Scene {
    const CellTruths& truths;
    std::span<const double> overlaps;
    std::span<const int64_t> order, ignored;  // of one range

    // The place that a detection takes, or -1. `taken`: per place the id of its detection. A truth is free again where
    // that id is 0 or negative, as in pycocotools.
    int64_t best(size_t detection, double threshold, const double* taken) const {
        double least = std::min(threshold, 1 - 1e-10);
        int64_t found = -1;
        for (size_t g = 0; g < order.size(); ++g) {
            const size_t truth = static_cast<size_t>(order[g]);
            if (taken[g] > 0 && !truths.crowd[truth]) continue;
            if (found >= 0 && !ignored[static_cast<size_t>(found)] && ignored[g]) break;
            const double iou = overlaps[detection * order.size() + truth];
            if (iou < least) continue;
            least = iou;
            found = static_cast<int64_t>(g);
        }
        return found;
    }
};

}  // namespace

CellMatches match_cell(const CellTruths& truths, const CellDetections& detections, std::span<const double> overlaps,
                       std::span<const double> thresholds, std::span<const std::array<double, 2>> ranges) {
    const size_t G = truths.ids.size(), D = detections.ids.size(), T = thresholds.size(), A = ranges.size();
    auto outside = [](double area, const std::array<double, 2>& range) { return area < range[0] || area > range[1]; };
    CellMatches out;
    out.order.resize(A * G);
    out.truth_ignored.resize(A * G);
    out.truth_matches.resize(A * T * G);
    out.detection_matches.resize(A * T * D);
    out.detection_ignored.resize(A * T * D);
    for (size_t a = 0; a < A; ++a) {
        const std::span<int64_t> order(out.order.data() + a * G, G), ignored(out.truth_ignored.data() + a * G, G);
        size_t place = 0;
        for (const int64_t wanted : {int64_t{0}, int64_t{1}})
            for (size_t g = 0; g < G; ++g) {
                if ((truths.ignored[g] || outside(truths.areas[g], ranges[a])) != (wanted == 1)) continue;
                order[place] = static_cast<int64_t>(g);
                ignored[place++] = wanted;
            }
        const Scene scene{truths, overlaps, order, ignored};
        for (size_t t = 0; t < T; ++t) {
            double* const taken = out.truth_matches.data() + (a * T + t) * G;
            for (size_t d = 0; d < D; ++d) {
                const size_t at = (a * T + t) * D + d;
                const int64_t best = G > 0 ? scene.best(d, thresholds[t], taken) : -1;
                if (best >= 0) {
                    out.detection_ignored[at] = ignored[static_cast<size_t>(best)] != 0;
                    out.detection_matches[at] = truths.ids[static_cast<size_t>(order[static_cast<size_t>(best)])];
                    taken[best] = detections.ids[d];
                }
                if (out.detection_matches[at] == 0 && outside(detections.areas[d], ranges[a]))
                    out.detection_ignored[at] = 1;
            }
        }
    }
    return out;
}

}  // namespace delineate
