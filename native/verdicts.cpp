#include "verdicts.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "threads.hpp"

namespace delineate {
namespace {

constexpr double kEpsilon = std::numeric_limits<double>::epsilon();  // pycocotools' np.spacing(1)

// NaN last, as numpy sorts.
bool better(double a, double b) { return std::isnan(a) ? false : std::isnan(b) ? true : a > b; }

// One class in one image: its detections that count, best first, and what they may take.
struct Scene {
    const Truths& truths;
    const Detections& detections;
    const PairsView& pairs;
    const Judgement& how;
    std::span<const int64_t> order;
    Verdicts& out;

    bool outside(double area) const { return area < how.range[0] || area > how.range[1]; }
    bool ignores(int64_t truth) const { return truths.crowd[truth] || outside(truths.areas[truth]); }
    bool fits(int64_t d, int64_t pair) const { return truths.labels[pairs.truths[pair]] == detections.labels[d]; }

    void take(int64_t d, int64_t truth, size_t t) const {
        const uint32_t bit = uint32_t{1} << t;
        out.matches[t * detections.labels.size() + d] = truth;
        if (ignores(truth)) {
            out.ignored[d] |= bit;
        } else if (!truths.lost[truth]) {
            out.hit[d] |= bit;
            out.ignored[d] &= ~bit;
        }
    }

    // The truth that detection d covers most among those that (do not) count, from `least` on; of equals the later one.
    template <class Free>
    int64_t most(int64_t d, bool ignored, double least, Free&& free) const {
        int64_t best = -1;
        for (int64_t p = pairs.offsets[d]; p < pairs.offsets[d + 1]; ++p) {
            const int64_t truth = pairs.truths[p];
            if (pairs.ious[p] < least || !fits(d, p) || ignores(truth) != ignored || !free(truth)) continue;
            least = pairs.ious[p];
            best = truth;
        }
        return best;
    }

    void by_score(size_t t, double least, std::span<uint8_t> taken, int64_t first) const {
        const auto free = [&](int64_t truth) { return !taken[truth - first] || truths.crowd[truth]; };
        for (const int64_t d : order) {
            int64_t best = most(d, false, least, free);
            if (best < 0) best = most(d, true, least, free);
            if (best < 0) continue;
            taken[best - first] = 1;
            take(d, best, t);
        }
    }

    void by_nearest(size_t t, double least, std::span<uint8_t> taken, int64_t first) const {
        const auto any = [](int64_t) { return true; };
        for (const int64_t d : order) {
            int64_t best = most(d, false, least, any);
            if (best >= 0 && taken[best - first]) continue;
            if (best < 0) best = most(d, true, least, any);
            if (best < 0) continue;
            taken[best - first] = 1;
            take(d, best, t);
        }
    }

    void by_overlap(size_t t, double least, std::span<uint8_t> taken, int64_t first) const {
        struct Candidate {
            double iou;
            int64_t detection, truth;
        };
        std::vector<Candidate> candidates;
        for (const int64_t d : order)
            for (int64_t p = pairs.offsets[d]; p < pairs.offsets[d + 1]; ++p)
                if (pairs.ious[p] >= least && fits(d, p)) candidates.push_back({pairs.ious[p], d, pairs.truths[p]});
        std::stable_sort(candidates.begin(), candidates.end(),
                         [](const Candidate& a, const Candidate& b) { return a.iou > b.iou; });
        int64_t* const found = out.matches.data() + t * detections.labels.size();
        for (const bool ignored : {false, true})
            for (const Candidate& one : candidates) {
                if (ignores(one.truth) != ignored || found[one.detection] >= 0) continue;
                if (taken[one.truth - first] && !truths.crowd[one.truth]) continue;
                taken[one.truth - first] = 1;
                take(one.detection, one.truth, t);
            }
    }
};

void judge_image(const Truths& truths, const Detections& detections, const PairsView& pairs, const Judgement& how,
                 int64_t image, Verdicts& out) {
    const int64_t d0 = detections.offsets[image], d1 = detections.offsets[image + 1], first = truths.offsets[image];
    std::vector<int64_t> order(static_cast<size_t>(d1 - d0));
    std::iota(order.begin(), order.end(), d0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        const int64_t la = detections.labels[a], lb = detections.labels[b];
        return la != lb ? la < lb : better(detections.scores[a], detections.scores[b]);
    });
    std::vector<uint8_t> taken(static_cast<size_t>(truths.offsets[image + 1] - first));
    const uint32_t every = how.thresholds.size() == 32 ? ~uint32_t{0} : (uint32_t{1} << how.thresholds.size()) - 1;
    for (size_t begin = 0, end = 0; begin < order.size(); begin = end) {
        const int64_t label = detections.labels[order[begin]];
        while (end < order.size() && detections.labels[order[end]] == label) ++end;
        if (label < 0 || label >= how.classes) continue;
        const size_t count = std::min(end - begin, static_cast<size_t>(how.limit));
        const Scene scene{truths, detections, pairs, how, std::span(order).subspan(begin, count), out};
        for (size_t n = 0; n < count; ++n) {
            const int64_t d = order[begin + n];
            out.rank[d] = static_cast<int64_t>(n);
            out.ignored[d] = scene.outside(detections.areas[d]) ? every : 0;
        }
        for (size_t t = 0; t < how.thresholds.size(); ++t) {
            std::fill(taken.begin(), taken.end(), uint8_t{0});
            const double least = std::min(how.thresholds[t], 1 - 1e-10);
            if (how.rule == Rule::kScore) scene.by_score(t, least, taken, first);
            if (how.rule == Rule::kNearest) scene.by_nearest(t, least, taken, first);
            if (how.rule == Rule::kOverlap) scene.by_overlap(t, least, taken, first);
        }
    }
}

// One detection on its way along the curve.
struct Step {
    int64_t image;
    uint32_t hit, ignored;
};

// A curve at its n-th hit: hits so far (copies counted), all that counted so far.
struct Point {
    int64_t hits, all;
};

// Mean precision at the recalls, or the area under the curve. Copies of one hit follow one another: the last one is the most
// precise of them, so the envelope needs only that one.
double mean_precision(const std::vector<Point>& points, int64_t positives, std::span<const double> recalls) {
    double best = 0, sum = 0;
    size_t r = recalls.size();
    const auto recall = [&](int64_t hits) { return static_cast<double>(hits) / static_cast<double>(positives); };
    if (!points.empty())
        while (r > 0 && recalls[r - 1] > recall(points.back().hits)) --r;
    for (size_t n = points.size(); n-- > 0;) {
        const double hits = static_cast<double>(points[n].hits);
        best = std::max(best, hits / (static_cast<double>(points[n].all) + kEpsilon));
        const int64_t before = n > 0 ? points[n - 1].hits : 0;
        if (recalls.empty()) sum += best * recall(points[n].hits - before);
        while (r > 0 && (n == 0 || recalls[r - 1] > recall(before))) {
            sum += best;
            --r;
        }
    }
    return recalls.empty() ? sum : sum / static_cast<double>(recalls.size());
}

// One class under one weighting; `points` is scratch space, one list per threshold.
void accumulate(const std::vector<Step>& steps, int64_t positives, const Resampling& how,
                std::span<const int32_t> weights, std::vector<std::vector<Point>>& points, double* out) {
    const size_t T = static_cast<size_t>(how.thresholds);
    std::vector<int64_t> hits(T, 0), ignored(T, 0);
    for (auto& list : points) list.clear();
    int64_t all = 0;
    for (const Step& step : steps) {
        const int64_t weight = weights[step.image];
        all += weight;
        if (weight == 0 || !(step.hit | step.ignored)) continue;
        for (size_t t = 0; t < T; ++t) {
            const uint32_t bit = uint32_t{1} << t;
            if (step.ignored & bit) {
                ignored[t] += weight;
            } else if (step.hit & bit) {
                hits[t] += weight;
                points[t].push_back({hits[t], all - ignored[t]});
            }
        }
    }
    for (size_t t = 0; t < T; ++t) out[t] = mean_precision(points[t], positives, how.recalls);
}

}  // namespace

Pairs overlapping_pairs(const Truths& truths, const Detections& detections, const Overlap& overlap, double floor,
                        unsigned threads) {
    const int64_t images = static_cast<int64_t>(truths.offsets.size()) - 1;
    std::vector<Pairs> found(static_cast<size_t>(images));
    parallel_for(images, 8, threads, [&](int64_t begin, int64_t end) {
        const auto view = overlap.view();
        std::vector<int64_t> chosen;
        std::vector<double> row;
        for (int64_t image = begin; image < end; ++image) {
            const int64_t first = truths.offsets[image], width = truths.offsets[image + 1] - first;
            chosen.resize(static_cast<size_t>(width));
            row.resize(static_cast<size_t>(width));
            std::iota(chosen.begin(), chosen.end(), first);
            view->open(image, chosen, truths.crowd.subspan(static_cast<size_t>(first), static_cast<size_t>(width)));
            Pairs& mine = found[image];
            for (int64_t d = detections.offsets[image]; d < detections.offsets[image + 1]; ++d) {
                if (width > 0) view->row(d, floor, row);
                for (int64_t g = 0; g < width; ++g) {
                    if (!(row[g] >= floor)) continue;
                    mine.truths.push_back(first + g);
                    mine.ious.push_back(row[g]);
                }
                mine.offsets.push_back(static_cast<int64_t>(mine.truths.size()));
            }
        }
    });
    Pairs all;
    all.offsets.push_back(0);
    for (const Pairs& mine : found) {
        const int64_t before = static_cast<int64_t>(all.truths.size());
        for (const int64_t end : mine.offsets) all.offsets.push_back(before + end);
        all.truths.insert(all.truths.end(), mine.truths.begin(), mine.truths.end());
        all.ious.insert(all.ious.end(), mine.ious.begin(), mine.ious.end());
    }
    return all;
}

Verdicts judge(const Truths& truths, const Detections& detections, const PairsView& pairs, const Judgement& how,
               unsigned threads) {
    const size_t count = detections.labels.size();
    Verdicts out;
    out.rank.assign(count, -1);
    out.hit.assign(count, 0);
    out.ignored.assign(count, 0);
    out.matches.assign(count * how.thresholds.size(), -1);
    parallel_for(static_cast<int64_t>(truths.offsets.size()) - 1, 8, threads, [&](int64_t begin, int64_t end) {
        for (int64_t image = begin; image < end; ++image) judge_image(truths, detections, pairs, how, image, out);
    });
    return out;
}

std::vector<double> resampled_precision(const Truths& truths, std::span<const uint8_t> positive,
                                        const Detections& detections, const Verdict& verdict, const Resampling& how,
                                        unsigned threads) {
    const int64_t images = static_cast<int64_t>(truths.offsets.size()) - 1;
    const size_t K = static_cast<size_t>(how.classes), T = static_cast<size_t>(how.thresholds);
    const int64_t B = images > 0 ? static_cast<int64_t>(how.weights.size()) / images : 0;
    std::vector<std::vector<Step>> steps(K);
    std::vector<std::vector<int64_t>> owners(K), chosen(K);  // images of the truths; detections
    for (int64_t image = 0; image < images; ++image) {
        for (int64_t g = truths.offsets[image]; g < truths.offsets[image + 1]; ++g)
            if (positive[g]) owners[truths.labels[g]].push_back(image);
        // Image by image and best first inside, so that a stable sort breaks ties as the protocol does.
        const int64_t d0 = detections.offsets[image], d1 = detections.offsets[image + 1];
        std::vector<int64_t> order;
        for (int64_t d = d0; d < d1; ++d)
            if (verdict.rank[d] >= 0) order.push_back(d);
        std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return verdict.rank[a] < verdict.rank[b]; });
        for (const int64_t d : order) chosen[detections.labels[d]].push_back(d);
    }
    parallel_for(how.classes, 1, threads, [&](int64_t begin, int64_t end) {
        for (int64_t k = begin; k < end; ++k) {
            auto& mine = chosen[k];
            std::stable_sort(mine.begin(), mine.end(),
                             [&](int64_t a, int64_t b) { return better(detections.scores[a], detections.scores[b]); });
            for (const int64_t d : mine) {
                const auto after = std::upper_bound(detections.offsets.begin(), detections.offsets.end(), d);
                steps[k].push_back({after - detections.offsets.begin() - 1, verdict.hit[d], verdict.ignored[d]});
            }
        }
    });
    std::vector<double> out(static_cast<size_t>(B) * K * T, -1);
    parallel_for(B, 1, threads, [&](int64_t begin, int64_t end) {
        std::vector<std::vector<Point>> points(T);
        for (int64_t b = begin; b < end; ++b) {
            const auto weights = how.weights.subspan(static_cast<size_t>(b * images), static_cast<size_t>(images));
            for (size_t k = 0; k < K; ++k) {
                int64_t positives = 0;
                for (const int64_t image : owners[k]) positives += weights[image];
                if (positives > 0)
                    accumulate(steps[k], positives, how, weights, points, out.data() + (static_cast<size_t>(b) * K + k) * T);
            }
        }
    });
    return out;
}

}  // namespace delineate
