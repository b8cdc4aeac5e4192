// Average precision against the rules written out detection by detection, and assignment against all permutations.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "algebra.hpp"
#include "assignment.hpp"
#include "check.hpp"
#include "dense.hpp"
#include "match.hpp"
#include "morphology.hpp"
#include "pairs.hpp"

using namespace delineate;
using delineate::test::Random;

namespace {

constexpr int64_t kHeight = 9, kWidth = 7, kClasses = 3;

struct Scene {
    std::vector<Rle> truth_masks, found_masks;  // per image
    std::vector<int64_t> truth_offsets{0}, found_offsets{0}, truth_labels, found_labels;
    std::vector<double> truth_areas, found_areas, scores;
    std::vector<uint8_t> crowd, lost;

    Truths truths() const { return {truth_offsets, truth_labels, truth_areas, crowd, lost}; }
    Detections detections() const { return {found_offsets, found_labels, scores, found_areas}; }
    std::unique_ptr<Overlap> overlap() const {
        std::vector<const Rle*> a, b;
        for (const Rle& rle : truth_masks) a.push_back(&rle);
        for (const Rle& rle : found_masks) b.push_back(&rle);
        return mask_overlap({std::move(a), nullptr}, {std::move(b), nullptr});
    }
};

Scene random_scene(Random& random) {
    Scene scene;
    for (int64_t image = random.below(5); image > 0; --image) {
        auto truths = test::random_pixels(random, random.below(5), kHeight, kWidth);
        auto found = test::random_pixels(random, random.below(9), kHeight, kWidth);
        for (int64_t d = 0; d < found.n; ++d)  // some detections are right
            if (truths.n > 0 && random.below(2))
                std::copy_n(truths.values.begin() + random.below(truths.n) * kHeight * kWidth, kHeight * kWidth,
                            found.values.begin() + d * kHeight * kWidth);
        for (int64_t g = 0; g < truths.n; ++g) {
            scene.truth_labels.push_back(random.below(kClasses));
            scene.truth_areas.push_back(static_cast<double>(random.below(40)));
            scene.crowd.push_back(random.below(6) == 0);
            scene.lost.push_back(random.below(10) == 0);
        }
        for (int64_t d = 0; d < found.n; ++d) {
            scene.found_labels.push_back(random.below(kClasses + 1) - (random.below(9) == 0));
            scene.found_areas.push_back(static_cast<double>(random.below(40)));
            scene.scores.push_back(random.below(20) ? static_cast<double>(random.below(6)) / 4
                                                    : std::numeric_limits<double>::quiet_NaN());
        }
        scene.truth_masks.push_back(encode_rows(truths.values.data(), truths.n, kHeight, kWidth));
        scene.found_masks.push_back(encode_rows(found.values.data(), found.n, kHeight, kWidth));
        scene.truth_offsets.push_back(scene.truth_offsets.back() + truths.n);
        scene.found_offsets.push_back(scene.found_offsets.back() + found.n);
    }
    return scene;
}

struct Found {
    double score;
    bool hit, ignored;
};

bool better(double a, double b) { return std::isnan(a) ? false : std::isnan(b) || a > b; }

// One image, class, threshold and range, as COCO's protocol tells it.
void match(const Scene& scene, int64_t image, int64_t label, double threshold, std::array<double, 2> range, int64_t limit,
           std::vector<Found>& found, int64_t& positives) {
    const int64_t g0 = scene.truth_offsets[image], d0 = scene.found_offsets[image];
    const auto outside = [&](double area) { return area < range[0] || area > range[1]; };
    std::vector<int64_t> truths, detections;
    for (const bool last : {false, true})
        for (int64_t g = g0; g < scene.truth_offsets[image + 1]; ++g)
            if (scene.truth_labels[g] == label && (scene.crowd[g] || outside(scene.truth_areas[g])) == last) {
                truths.push_back(g);
                positives += !last;
            }
    for (int64_t d = d0; d < scene.found_offsets[image + 1]; ++d)
        if (scene.found_labels[d] == label) detections.push_back(d);
    std::stable_sort(detections.begin(), detections.end(),
                     [&](int64_t a, int64_t b) { return better(scene.scores[a], scene.scores[b]); });
    if (static_cast<int64_t>(detections.size()) > limit) detections.resize(limit);
    const auto iou = mask_iou(scene.found_masks[image], scene.truth_masks[image],
                              std::span(scene.crowd).subspan(g0, scene.truth_masks[image].size()));
    std::vector<char> taken(scene.truth_labels.size(), 0);
    for (const int64_t d : detections) {
        int64_t best = -1;
        double least = std::min(threshold, 1 - 1e-10);
        const auto ignored = [&](int64_t g) { return scene.crowd[g] || outside(scene.truth_areas[g]); };
        for (const int64_t g : truths) {
            if (taken[g] && !scene.crowd[g]) continue;
            if (best >= 0 && !ignored(best) && ignored(g)) break;
            const double value = iou[(d - d0) * scene.truth_masks[image].size() + g - g0];
            if (value < least) continue;
            least = value;
            best = g;
        }
        const bool matched = best >= 0 && !scene.lost[best];
        bool ignore = best >= 0 && ignored(best);
        if (best >= 0) taken[best] = 1;
        if (!matched && outside(scene.found_areas[d])) ignore = true;
        found.push_back({scene.scores[d], matched && !ignore, ignore});
    }
}

void check_average_precision(const Scene& scene, const Protocol& protocol) {
    const Curves curves = average_precision(scene.truths(), scene.detections(), *scene.overlap(), protocol);
    const size_t A = protocol.ranges.size(), M = protocol.max_detections.size(), R = protocol.recalls.size();
    for (size_t t = 0; t < protocol.thresholds.size(); ++t)
        for (size_t k = 0; k < kClasses; ++k)
            for (size_t a = 0; a < A; ++a)
                for (size_t m = 0; m < M; ++m) {
                    std::vector<Found> found;
                    int64_t positives = 0;
                    for (size_t i = 0; i < scene.truth_masks.size(); ++i)
                        match(scene, static_cast<int64_t>(i), static_cast<int64_t>(k), protocol.thresholds[t],
                              protocol.ranges[a], protocol.max_detections[m], found, positives);
                    std::stable_sort(found.begin(), found.end(),
                                     [](const Found& x, const Found& y) { return better(x.score, y.score); });
                    std::vector<double> recall, precision;
                    double tp = 0, fp = 0;
                    for (const Found& one : found) {
                        tp += one.hit;
                        fp += !one.hit && !one.ignored;
                        recall.push_back(tp / static_cast<double>(positives));
                        precision.push_back(tp / (fp + tp + std::numeric_limits<double>::epsilon()));
                    }
                    for (size_t n = precision.size(); n-- > 1;)
                        precision[n - 1] = std::max(precision[n - 1], precision[n]);
                    const size_t tail = (k * A + a) * M + m, stride = kClasses * A * M;
                    const double all = positives == 0 ? -1 : recall.empty() ? 0 : recall.back();
                    CHECK(curves.recall[t * stride + tail] == all);
                    for (size_t r = 0; r < R; ++r) {
                        const size_t n = static_cast<size_t>(
                            std::lower_bound(recall.begin(), recall.end(), protocol.recalls[r]) - recall.begin());
                        const double p = positives == 0 ? -1 : n < recall.size() ? precision[n] : 0;
                        const double s = positives == 0 ? -1 : n < recall.size() ? found[n].score : 0;
                        const size_t at = (t * R + r) * stride + tail;
                        CHECK(curves.precision[at] == p);
                        CHECK(curves.scores[at] == s || (std::isnan(curves.scores[at]) && std::isnan(s)));
                    }
                }
}

// Boundary overlaps against the bands of all masks at once, in every order of asking.
void check_boundary_overlap(const Scene& scene, Random& random) {
    std::vector<const Rle*> a, b;
    for (const Rle& rle : scene.truth_masks) a.push_back(&rle);
    for (const Rle& rle : scene.found_masks) b.push_back(&rle);
    const std::vector<int64_t> widths(a.size(), random.between(1, 4));
    const auto overlap = boundary_overlap({a, nullptr}, {b, nullptr}, widths);
    const auto view = overlap->view();
    for (size_t i = 0; i < a.size(); ++i) {
        const int64_t g0 = scene.truth_offsets[i], d0 = scene.found_offsets[i], count = a[i]->size();
        const auto crowd = std::span(scene.crowd).subspan(g0, count);
        const auto band = [&](const Rle& rle) {
            return combine(rle, erode(rle, widths[i], Element::kSquare), Table::kDifference);
        };
        const auto masks = mask_iou(*b[i], *a[i], crowd), bands = mask_iou(band(*b[i]), band(*a[i]), {});
        std::vector<int64_t> truths(static_cast<size_t>(count));
        std::iota(truths.begin(), truths.end(), g0);
        std::vector<double> row(truths.size());
        view->open(static_cast<int64_t>(i), truths, crowd);
        for (int64_t d = 0; d < b[i]->size(); ++d) {
            const double floor = random.unit();
            view->row(d0 + d, floor, row);
            for (int64_t g = 0; g < count; ++g) {
                const double expected = crowd[g] ? masks[d * count + g] : std::min(masks[d * count + g], bands[d * count + g]);
                CHECK(row[g] == expected || (expected < floor && row[g] < floor));
            }
        }
    }
}

// The greatest total gain, by trying everything.
double best_gain(const std::vector<std::vector<double>>& gains, size_t row, std::vector<char>& taken) {
    if (row == gains.size()) return 0;
    double best = best_gain(gains, row + 1, taken);
    for (size_t c = 0; c < taken.size(); ++c) {
        if (taken[c] || gains[row][c] <= 0) continue;
        taken[c] = 1;
        best = std::max(best, gains[row][c] + best_gain(gains, row + 1, taken));
        taken[c] = 0;
    }
    return best;
}

void check_assignment(Random& random) {
    const size_t rows = static_cast<size_t>(random.below(6)), columns = static_cast<size_t>(random.below(6));
    std::vector<std::vector<double>> gains(rows, std::vector<double>(columns, 0));
    std::vector<int64_t> offsets{0};
    std::vector<Edge> edges;
    const bool whole = random.below(2);  // whole numbers tie
    for (auto& row : gains) {
        for (size_t c = 0; c < columns; ++c) {
            if (random.below(3) == 0) continue;
            row[c] = whole ? static_cast<double>(random.between(1, 3)) : random.unit() + 1e-6;
            edges.push_back({static_cast<int32_t>(c), row[c]});
        }
        offsets.push_back(static_cast<int64_t>(edges.size()));
    }
    const auto chosen = assign(offsets, edges, static_cast<int64_t>(columns));
    std::vector<char> taken(columns, 0);
    double gain = 0;
    for (size_t r = 0; r < rows; ++r) {
        if (chosen[r] < 0) continue;
        CHECK(chosen[r] >= offsets[r] && chosen[r] < offsets[r + 1]);
        const Edge& edge = edges[chosen[r]];
        CHECK(!taken[edge.column]);
        taken[edge.column] = 1;
        gain += edge.gain;
    }
    std::fill(taken.begin(), taken.end(), 0);
    CHECK(std::abs(gain - best_gain(gains, 0, taken)) < 1e-9);
}

}  // namespace

int main() {
    Random random(4);
    for (int round = 0; round < 400; ++round) {
        const Scene scene = random_scene(random);
        Protocol protocol;
        protocol.classes = kClasses;
        for (int64_t t = random.between(1, 40); t > 0; --t)
            protocol.thresholds.push_back(static_cast<double>(random.between(1, 20)) / 20);
        protocol.recalls = {0, 0.25, 0.5, 0.7, 1};
        protocol.ranges = {{0, 1e9}, {0, 10}, {10, 30}};
        protocol.max_detections = {1, 2, 100};
        protocol.threads = static_cast<unsigned>(random.between(1, 3));
        check_average_precision(scene, protocol);
        check_boundary_overlap(scene, random);
        const auto counts = count_matches(scene.truths(), scene.detections(), *scene.overlap(), protocol.thresholds, 2);
        CHECK(counts.matched.size() == scene.truth_masks.size() * protocol.thresholds.size());
    }
    for (int round = 0; round < 5000; ++round) check_assignment(random);
    std::puts("match: ok");
}
