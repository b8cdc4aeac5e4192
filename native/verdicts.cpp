#include "verdicts.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "greedy.hpp"
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
    const CandidatesView& pairs;
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

    // The truth that detection d covers most among those that are free, or -1.
    template <class Free>
    int64_t most(int64_t d, double least, Free&& free) const {
        const int64_t pair = greediest(
            pairs.offsets[d], pairs.offsets[d + 1], least, [&](int64_t p) { return pairs.ious[p]; },
            [&](int64_t p) { return ignores(pairs.truths[p]); },
            [&](int64_t p) { return fits(d, p) && free(pairs.truths[p]); });
        return pair < 0 ? -1 : pairs.truths[pair];
    }

    void by_score(size_t t, double least, std::span<uint8_t> taken, int64_t first) const {
        const auto free = [&](int64_t truth) { return !taken[truth - first] || truths.crowd[truth]; };
        for (const int64_t d : order) {
            const int64_t best = most(d, least, free);
            if (best < 0) continue;
            taken[best - first] = 1;
            take(d, best, t);
        }
    }

    void by_nearest(size_t t, double least, std::span<uint8_t> taken, int64_t first) const {
        const auto any = [](int64_t) { return true; };
        for (const int64_t d : order) {
            const int64_t best = most(d, least, any);
            if (best < 0 || (taken[best - first] && !ignores(best))) continue;
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

void judge_image(const Truths& truths, const Detections& detections, const CandidatesView& pairs, const Judgement& how,
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

// A detection on the way along the curve that is more than wrong.
struct Event {
    uint32_t place, hit, ignored;
};

// All detections of one class, best first.
struct Way {
    std::vector<uint32_t> images;
    std::vector<Event> events;
};

// A curve at its n-th hit: hits so far (copies counted), all that counted so far.
struct Point {
    int64_t hits, all;
};

// How many hits reach each recall level.
void hits_needed(std::span<const double> recalls, int64_t positives, std::vector<int64_t>& needed) {
    needed.clear();
    const double whole = static_cast<double>(positives);
    for (const double recall : recalls) {
        int64_t hits = static_cast<int64_t>(recall * whole);
        while (hits > 0 && static_cast<double>(hits - 1) / whole >= recall) --hits;
        while (static_cast<double>(hits) / whole < recall) ++hits;
        needed.push_back(hits);
    }
}

// Mean precision at the recalls, or the area under the curve. Copies of one hit follow one another: the last one is the most
// precise of them, so the envelope needs only that one.
double mean_precision(const std::vector<Point>& points, int64_t positives, const std::vector<int64_t>& needed) {
    double sum = 0;
    Point best{0, 1};
    size_t r = needed.size();
    const auto precision = [&] { return static_cast<double>(best.hits) / (static_cast<double>(best.all) + kEpsilon); };
    if (!points.empty())
        while (r > 0 && needed[r - 1] > points.back().hits) --r;
    for (size_t n = points.size(); n-- > 0;) {
        const Point& point = points[n];
        if (point.hits * best.all > best.hits * point.all) best = point;
        const int64_t before = n > 0 ? points[n - 1].hits : -1;
        if (needed.empty())
            sum += precision() * static_cast<double>(point.hits - std::max<int64_t>(before, 0)) / static_cast<double>(positives);
        for (; r > 0 && needed[r - 1] > before; --r) sum += precision();
    }
    return needed.empty() ? sum : sum / static_cast<double>(needed.size());
}

// What one thread needs again and again.
struct Scratch {
    std::vector<std::vector<Point>> points;  // per threshold
    std::vector<int64_t> hits, ignored, needed;
};

// One class under one weighting.
void accumulate(const Way& way, int64_t positives, const Resampling& how,
                std::span<const int32_t> weights, Scratch& scratch, double* out) {
    for (auto& list : scratch.points) list.clear();
    std::fill(scratch.hits.begin(), scratch.hits.end(), 0);
    std::fill(scratch.ignored.begin(), scratch.ignored.end(), 0);
    int64_t all = 0;
    size_t place = 0;
    for (const Event& event : way.events) {
        while (place <= event.place) all += weights[way.images[place++]];
        const int64_t weight = weights[way.images[event.place]];
        if (weight == 0) continue;
        for (uint32_t bits = event.ignored; bits; bits &= bits - 1) scratch.ignored[std::countr_zero(bits)] += weight;
        for (uint32_t bits = event.hit & ~event.ignored; bits; bits &= bits - 1) {
            const int t = std::countr_zero(bits);
            scratch.hits[t] += weight;
            scratch.points[t].push_back({scratch.hits[t], all - scratch.ignored[t]});
        }
    }
    hits_needed(how.recalls, positives, scratch.needed);
    for (size_t t = 0; t < scratch.points.size(); ++t)
        out[t] = mean_precision(scratch.points[t], positives, scratch.needed);
}

}  // namespace

Candidates overlapping_pairs(const Truths& truths, const Detections& detections, const Overlap& overlap, double floor,
                        unsigned threads) {
    const int64_t images = static_cast<int64_t>(truths.offsets.size()) - 1;
    std::vector<Candidates> found(static_cast<size_t>(images));
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
            Candidates& mine = found[image];
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
    Candidates all;
    all.offsets.push_back(0);
    for (const Candidates& mine : found) {
        const int64_t before = static_cast<int64_t>(all.truths.size());
        for (const int64_t end : mine.offsets) all.offsets.push_back(before + end);
        all.truths.insert(all.truths.end(), mine.truths.begin(), mine.truths.end());
        all.ious.insert(all.ious.end(), mine.ious.begin(), mine.ious.end());
    }
    return all;
}

Verdicts judge(const Truths& truths, const Detections& detections, const CandidatesView& pairs, const Judgement& how,
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
    std::vector<Way> ways(K);
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
                if (verdict.hit[d] | verdict.ignored[d])
                    ways[k].events.push_back({static_cast<uint32_t>(ways[k].images.size()), verdict.hit[d], verdict.ignored[d]});
                ways[k].images.push_back(static_cast<uint32_t>(after - detections.offsets.begin() - 1));
            }
        }
    });
    std::vector<double> out(static_cast<size_t>(B) * K * T, -1);
    parallel_for(B, 1, threads, [&](int64_t begin, int64_t end) {
        Scratch scratch{std::vector<std::vector<Point>>(T), std::vector<int64_t>(T), std::vector<int64_t>(T), {}};
        for (int64_t b = begin; b < end; ++b) {
            const auto weights = how.weights.subspan(static_cast<size_t>(b * images), static_cast<size_t>(images));
            for (size_t k = 0; k < K; ++k) {
                int64_t positives = 0;
                for (const int64_t image : owners[k]) positives += weights[image];
                if (positives > 0)
                    accumulate(ways[k], positives, how, weights, scratch, out.data() + (static_cast<size_t>(b) * K + k) * T);
            }
        }
    });
    return out;
}

}  // namespace delineate
