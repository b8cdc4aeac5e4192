// Judged detections against the curves of average_precision, on random overlaps with crowds, ties, lost truths and NaN scores.
#include "verdicts.hpp"

#include <cmath>
#include <limits>

#include "check.hpp"

using namespace delineate;
using delineate::test::Random;

namespace {

constexpr int64_t kClasses = 3;

struct Scene {
    std::vector<int64_t> truth_offsets{0}, found_offsets{0}, truth_labels, found_labels;
    std::vector<double> truth_areas, found_areas, scores, values;
    std::vector<uint8_t> crowd, lost;

    Truths truths() const { return {truth_offsets, truth_labels, truth_areas, crowd, lost}; }
    Detections detections() const { return {found_offsets, found_labels, scores, found_areas}; }
    std::unique_ptr<Overlap> overlap() const { return dense_overlap(values, truth_offsets, found_offsets); }
};

Scene random_scene(Random& random) {
    Scene scene;
    for (int64_t image = random.below(5); image > 0; --image) {
        const int64_t truths = random.below(5), found = random.below(7);
        for (int64_t g = 0; g < truths; ++g) {
            scene.truth_labels.push_back(random.below(kClasses));
            scene.truth_areas.push_back(static_cast<double>(random.below(40)));
            scene.crowd.push_back(random.below(6) == 0);
            scene.lost.push_back(random.below(10) == 0);
        }
        for (int64_t d = 0; d < found; ++d) {
            scene.found_labels.push_back(random.below(kClasses + 1) - (random.below(9) == 0));
            scene.found_areas.push_back(static_cast<double>(random.below(40)));
            scene.scores.push_back(random.below(20) ? static_cast<double>(random.below(6)) / 4
                                                    : std::numeric_limits<double>::quiet_NaN());
        }
        for (int64_t n = 0; n < truths * found; ++n) scene.values.push_back(static_cast<double>(random.below(5)) / 4);
        scene.truth_offsets.push_back(scene.truth_offsets.back() + truths);
        scene.found_offsets.push_back(scene.found_offsets.back() + found);
    }
    return scene;
}

struct Judged {
    Candidates pairs;
    Verdicts verdicts;
    std::vector<double> precision;
};

Judged judged(const Scene& scene, const Protocol& protocol, Rule rule, std::span<const int32_t> weights) {
    const auto overlap = scene.overlap();
    Judged out;
    out.pairs = overlapping_pairs(scene.truths(), scene.detections(), *overlap, 0.25, protocol.threads);
    const CandidatesView view{out.pairs.offsets, out.pairs.truths, out.pairs.ious};
    out.verdicts = judge(scene.truths(), scene.detections(), view,
                         {kClasses, protocol.thresholds, protocol.ranges[0], protocol.max_detections[0], rule},
                         protocol.threads);
    std::vector<uint8_t> positive;
    for (size_t g = 0; g < scene.crowd.size(); ++g)
        positive.push_back(!scene.crowd[g] && scene.truth_areas[g] >= protocol.ranges[0][0] &&
                           scene.truth_areas[g] <= protocol.ranges[0][1]);
    const Verdicts& v = out.verdicts;
    const Resampling how{kClasses, static_cast<int64_t>(protocol.thresholds.size()), protocol.recalls, weights};
    out.precision = resampled_precision(scene.truths(), positive, scene.detections(), {v.rank, v.hit, v.ignored}, how,
                                        protocol.threads);
    return out;
}

void check_against_curves(const Scene& scene, const Protocol& protocol) {
    const size_t images = scene.truth_offsets.size() - 1, T = protocol.thresholds.size(), R = protocol.recalls.size();
    const std::vector<int32_t> once(images, 1);
    const auto ours = judged(scene, protocol, Rule::kScore, once).precision;
    const Curves curves = average_precision(scene.truths(), scene.detections(), *scene.overlap(), protocol);
    CHECK(ours.size() == (images > 0 ? kClasses * T : 0));
    for (size_t k = 0; k < kClasses && images > 0; ++k)
        for (size_t t = 0; t < T; ++t) {
            double sum = 0;
            for (size_t r = 0; r < R; ++r) sum += curves.precision[(t * R + r) * kClasses + k];
            CHECK(std::abs(ours[k * T + t] - sum / static_cast<double>(R)) < 1e-12);
        }
}

void check_rules(const Scene& scene, const Protocol& protocol) {
    const size_t D = scene.found_labels.size();
    for (const Rule rule : {Rule::kScore, Rule::kNearest, Rule::kOverlap}) {
        const auto verdicts = judged(scene, protocol, rule, {}).verdicts;
        for (size_t t = 0; t < protocol.thresholds.size(); ++t) {
            std::vector<char> taken(scene.truth_labels.size(), 0);
            for (size_t d = 0; d < D; ++d) {
                const int64_t truth = verdicts.matches[t * D + d];
                const bool hit = verdicts.hit[d] >> t & 1, ignored = verdicts.ignored[d] >> t & 1;
                CHECK(!(hit && ignored) && (truth >= 0 || !hit));
                if (truth < 0) continue;
                CHECK(verdicts.rank[d] >= 0 && scene.found_labels[d] == scene.truth_labels[truth]);
                CHECK(!taken[truth] || scene.crowd[truth] || (rule == Rule::kNearest && ignored));
                taken[truth] = 1;
            }
        }
    }
}

}  // namespace

int main() {
    Random random(4);
    for (int round = 0; round < 400; ++round) {
        const Scene scene = random_scene(random);
        Protocol protocol;
        protocol.classes = kClasses;
        protocol.thresholds = {0.5, 0.25, 1.0};
        protocol.recalls = {0, 0.25, 0.5, 0.75, 1};
        const double low = static_cast<double>(random.below(20));
        protocol.ranges = {{low, low + 25}};
        protocol.max_detections = {random.between(1, 5)};
        protocol.threads = round % 2 ? 1 : 3;
        check_against_curves(scene, protocol);
        check_rules(scene, protocol);
    }
    std::puts("verdicts: ok");
}
