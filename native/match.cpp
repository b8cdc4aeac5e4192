#include "match.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

#include "greedy.hpp"
#include "threads.hpp"

namespace delineate {
namespace {

constexpr double kEpsilon = std::numeric_limits<double>::epsilon();  // pycocotools' np.spacing(1)
constexpr size_t kBlock = 32;                                        // thresholds that one machine word decides on

struct Pair {
    int64_t truth;
    double iou;
};

// The objects of one image and one label: ranges of Cells::truths and Cells::detections.
struct Cell {
    int64_t image, label;
    int64_t truth_begin, truth_end;
    int64_t begin, end;  // detections, best first
};

struct Cells {
    std::vector<int64_t> truths;             // object numbers, grouped by image, then label, then input order
    std::vector<int64_t> detections;         // the same, but by falling score inside a label (ties: input order)
    std::vector<std::vector<Cell>> images;   // cells of each image by rising label
    std::vector<std::vector<Pair>> pairs;    // per image: pairs at or above the lowest threshold, detection by detection
    std::vector<uint32_t> first, count;      // per place in `detections`: its slice of pairs[image]
};

// NaN last, as numpy sorts.
bool better(double a, double b) { return std::isnan(a) ? false : std::isnan(b) ? true : a > b; }

// Sorts one image's objects into cells; keeps at most `limit` detections per cell.
void group(const Truths& truths, const Detections& detections, int64_t classes, int64_t limit, int64_t image,
           Cells& cells) {
    auto by_label = [](std::span<const int64_t> labels) {
        return [labels](int64_t a, int64_t b) { return labels[a] < labels[b]; };
    };
    const int64_t t0 = truths.offsets[image], t1 = truths.offsets[image + 1];
    const int64_t d0 = detections.offsets[image], d1 = detections.offsets[image + 1];
    const auto t = cells.truths.begin(), d = cells.detections.begin();
    std::stable_sort(t + t0, t + t1, by_label(truths.labels));
    std::stable_sort(d + d0, d + d1, [&](int64_t a, int64_t b) {
        const int64_t la = detections.labels[a], lb = detections.labels[b];
        return la != lb ? la < lb : better(detections.scores[a], detections.scores[b]);
    });
    int64_t i = t0, j = d0;
    while (i < t1 || j < d1) {
        const int64_t li = i < t1 ? truths.labels[t[i]] : std::numeric_limits<int64_t>::max();
        const int64_t lj = j < d1 ? detections.labels[d[j]] : std::numeric_limits<int64_t>::max();
        const int64_t label = std::min(li, lj);
        Cell cell{image, label, i, i, j, j};
        while (i < t1 && truths.labels[t[i]] == label) ++i;
        while (j < d1 && detections.labels[d[j]] == label) ++j;
        cell.truth_end = i;
        cell.end = cell.begin + std::min(j - cell.begin, limit);
        if (label >= 0 && label < classes) cells.images[image].push_back(cell);
    }
}

// Fills the pairs of one image that reach `floor`.
void overlap_pairs(const Truths& truths, Overlap::View& view, double floor, int64_t image, Cells& cells) {
    std::vector<double> row;
    std::vector<uint8_t> crowd;
    auto& pairs = cells.pairs[image];
    for (const Cell& cell : cells.images[image]) {
        const size_t width = static_cast<size_t>(cell.truth_end - cell.truth_begin);
        if (width == 0 || cell.begin == cell.end) continue;
        const std::span<const int64_t> chosen(cells.truths.data() + cell.truth_begin, width);
        crowd.assign(width, 0);
        for (size_t g = 0; g < width; ++g) crowd[g] = truths.crowd[chosen[g]];
        row.resize(width);
        view.open(image, chosen, crowd);
        for (int64_t d = cell.begin; d < cell.end; ++d) {
            view.row(cells.detections[d], floor, row);
            cells.first[d] = static_cast<uint32_t>(pairs.size());
            for (size_t g = 0; g < width; ++g)
                if (row[g] >= floor) pairs.push_back({cell.truth_begin + static_cast<int64_t>(g), row[g]});
            cells.count[d] = static_cast<uint32_t>(pairs.size()) - cells.first[d];
        }
    }
}

Cells make_cells(const Truths& truths, const Detections& detections, const Overlap& overlap, int64_t classes,
                 int64_t limit, double floor, unsigned threads) {
    const int64_t images = static_cast<int64_t>(truths.offsets.size()) - 1;
    Cells cells;
    cells.truths.resize(truths.labels.size());
    cells.detections.resize(detections.labels.size());
    std::iota(cells.truths.begin(), cells.truths.end(), int64_t{0});
    std::iota(cells.detections.begin(), cells.detections.end(), int64_t{0});
    cells.images.resize(images);
    cells.pairs.resize(images);
    cells.first.assign(detections.labels.size(), 0);
    cells.count.assign(detections.labels.size(), 0);
    parallel_for(images, 8, threads, [&](int64_t begin, int64_t end) {
        const auto view = overlap.view();
        for (int64_t image = begin; image < end; ++image) {
            group(truths, detections, classes, limit, image, cells);
            overlap_pairs(truths, *view, floor, image, cells);
        }
    });
    return cells;
}

// All detections of one class in the order in which the curve meets them.
struct Ranking {
    std::vector<const Cell*> cells;  // by image
    std::vector<int64_t> offsets;    // (cells + 1) first detection of each cell, in image order
    std::vector<double> areas;       // in image order
    std::vector<int64_t> place;      // image order -> place in the ranking
    std::vector<double> scores;      // by place
    std::vector<int64_t> rank;       // by place: rank inside the detection's own cell
};

void rank(const Detections& detections, const Cells& cells, Ranking& ranking) {
    ranking.offsets = {0};
    std::vector<double> scores;
    std::vector<int64_t> ranks;
    for (const Cell* cell : ranking.cells) {
        for (int64_t d = cell->begin; d < cell->end; ++d) {
            scores.push_back(detections.scores[cells.detections[d]]);
            ranking.areas.push_back(detections.areas[cells.detections[d]]);
            ranks.push_back(d - cell->begin);
        }
        ranking.offsets.push_back(static_cast<int64_t>(scores.size()));
    }
    struct Item {
        double score;
        int64_t at;
    };
    std::vector<Item> order;
    order.reserve(scores.size());
    for (const double score : scores) order.push_back({score, static_cast<int64_t>(order.size())});
    std::sort(order.begin(), order.end(), [](const Item& a, const Item& b) {
        if (better(a.score, b.score)) return true;
        return !better(b.score, a.score) && a.at < b.at;
    });
    ranking.place.resize(order.size());
    ranking.scores.resize(order.size());
    ranking.rank.resize(order.size());
    for (size_t p = 0; p < order.size(); ++p) {
        ranking.place[order[p].at] = static_cast<int64_t>(p);
        ranking.scores[p] = order[p].score;
        ranking.rank[p] = ranks[order[p].at];
    }
}

// What became of each detection of a class, one bit per threshold of the block; by place in the ranking.
struct Verdicts {
    std::vector<uint32_t> hit, ignored;
    int64_t positives = 0;  // truths that count
};

// Greedy matching of one cell in one area range, detections best first; crowds may be taken again and again.
// `areas` and `place` are the ranking's, from the cell's first detection on.
void match_cell(const Truths& truths, const Cells& cells, const Cell& cell, std::array<double, 2> range,
                std::span<const double> thresholds, const double* areas, const int64_t* place,
                std::vector<uint32_t>& taken, std::vector<uint8_t>& ignore, Verdicts& verdicts) {
    const int64_t width = cell.truth_end - cell.truth_begin;
    taken.assign(static_cast<size_t>(width), 0);
    ignore.resize(static_cast<size_t>(width));
    for (int64_t g = 0; g < width; ++g) {
        const int64_t truth = cells.truths[cell.truth_begin + g];
        ignore[g] = truths.crowd[truth] || truths.areas[truth] < range[0] || truths.areas[truth] > range[1];
        verdicts.positives += !ignore[g];
    }
    const auto& pairs = cells.pairs[cell.image];
    const uint32_t every = thresholds.size() == kBlock ? ~uint32_t{0} : (uint32_t{1} << thresholds.size()) - 1;
    for (int64_t d = cell.begin; d < cell.end; ++d) {
        const double area = *areas++;
        const bool outside = area < range[0] || area > range[1];
        uint32_t hit = 0, ignored = outside ? every : 0;
        const Pair* const mine = pairs.data() + cells.first[d];
        const int64_t count = cells.count[d];
        for (size_t t = 0; count > 0 && t < thresholds.size(); ++t) {
            const uint32_t bit = uint32_t{1} << t;
            const auto place = [&](int64_t p) { return mine[p].truth - cell.truth_begin; };
            const int64_t pair = greediest(
                0, count, std::min(thresholds[t], 1 - 1e-10), [&](int64_t p) { return mine[p].iou; },
                [&](int64_t p) { return ignore[place(p)] != 0; },
                [&](int64_t p) { return !(taken[place(p)] & bit) || truths.crowd[cells.truths[mine[p].truth]]; });
            if (pair < 0) continue;
            const int64_t best = place(pair);
            taken[best] |= bit;
            if (truths.lost[cells.truths[cell.truth_begin + best]]) {
                if (ignore[best]) ignored |= bit;
                continue;
            }
            hit |= bit;
            ignored = ignore[best] ? ignored | bit : ignored & ~bit;
        }
        verdicts.hit[*place] = hit & ~ignored;
        verdicts.ignored[*place++] = ignored;
    }
}

// A curve as it is built: one point per hit. In between precision falls, and recall stands still.
struct Curve {
    std::vector<std::array<double, 2>> points;  // (envelope of precision, score) at the n-th hit

    // `needed`: how many hits reach each recall level; `first`: the best score of all.
    void read(std::span<const int64_t> needed, std::optional<double> first, double* precision, double* scores, size_t stride) {
        for (size_t i = points.size(); i-- > 1;) points[i - 1][0] = std::max(points[i - 1][0], points[i][0]);
        const int64_t n = static_cast<int64_t>(points.size());
        for (const int64_t hits : needed) {
            const bool reached = hits <= n && first;
            const size_t at = static_cast<size_t>(std::max<int64_t>(hits - 1, 0));
            *precision = reached && n > 0 ? points[at][0] : 0;
            *scores = !reached ? 0 : hits > 0 ? points[at][1] : *first;
            precision += stride;
            scores += stride;
        }
    }
};

// How many hits of `positives` reach each recall level.
void hits_needed(const std::vector<double>& recalls, int64_t positives, std::vector<int64_t>& needed) {
    int64_t hits = 0;
    needed.clear();
    for (const double recall : recalls) {
        while (hits <= positives && static_cast<double>(hits) / static_cast<double>(positives) < recall) ++hits;
        needed.push_back(hits);
    }
}

// The curves of a whole block of thresholds at once: most detections are missed or ignored at all of them.
void trace(const Verdicts& verdicts, const Ranking& ranking, const std::vector<int64_t>& places, std::span<Curve> curves) {
    const uint32_t every = curves.size() == kBlock ? ~uint32_t{0} : (uint32_t{1} << curves.size()) - 1;
    int64_t everywhere = 0;                    // misses at all thresholds
    std::array<int64_t, kBlock> somewhere{};  // at some only
    for (Curve& curve : curves) curve.points.clear();
    for (const int64_t p : places) {
        const uint32_t hit = verdicts.hit[p], missed = every & ~(hit | verdicts.ignored[p]);
        for (uint32_t left = hit; left != 0; left &= left - 1) {
            const size_t t = static_cast<size_t>(std::countr_zero(left));
            const double tp = static_cast<double>(curves[t].points.size() + 1);
            const double misses = static_cast<double>(everywhere + somewhere[t]);
            curves[t].points.push_back({tp / (misses + tp + kEpsilon), ranking.scores[p]});
        }
        if (missed == every) {
            ++everywhere;
        } else {
            for (uint32_t left = missed; left != 0; left &= left - 1) ++somewhere[static_cast<size_t>(std::countr_zero(left))];
        }
    }
}

// All curves of one class: (T, R, A, M) and (T, A, M), as `Curves` has them for all classes.
Curves curves_of(const Truths& truths, const Cells& cells, const Ranking& ranking, const Protocol& protocol) {
    const size_t A = protocol.ranges.size(), M = protocol.max_detections.size(), R = protocol.recalls.size();
    const size_t T = protocol.thresholds.size(), stride = A * M;
    Curves out;
    out.precision.assign(T * R * stride, -1);
    out.recall.assign(T * stride, -1);
    out.scores.assign(T * R * stride, -1);
    std::vector<std::vector<int64_t>> places(M);
    for (size_t m = 0; m < M; ++m)
        for (size_t p = 0; p < ranking.rank.size(); ++p)
            if (ranking.rank[p] < protocol.max_detections[m]) places[m].push_back(static_cast<int64_t>(p));
    std::vector<uint32_t> taken;
    std::vector<uint8_t> ignore;
    std::vector<int64_t> needed;
    std::array<Curve, kBlock> found;
    const std::vector<uint32_t> nothing(ranking.rank.size());
    std::vector<Verdicts> verdicts(A, {nothing, nothing});
    for (size_t t0 = 0; t0 < T; t0 += kBlock) {
        const size_t n = std::min(kBlock, T - t0);
        const std::span<const double> block(protocol.thresholds.data() + t0, n);
        for (Verdicts& one : verdicts) one.positives = 0;
        for (size_t c = 0; c < ranking.cells.size(); ++c)  // a cell for all ranges: the class lies scattered over the images
            for (size_t area = 0; area < A; ++area)
                match_cell(truths, cells, *ranking.cells[c], protocol.ranges[area], block,
                           ranking.areas.data() + ranking.offsets[c], ranking.place.data() + ranking.offsets[c], taken,
                           ignore, verdicts[area]);
        for (size_t area = 0; area < A; ++area) {
            const int64_t positives = verdicts[area].positives;
            if (positives == 0) continue;
            hits_needed(protocol.recalls, positives, needed);
            for (size_t m = 0; m < M; ++m) {
                trace(verdicts[area], ranking, places[m], {found.data(), n});
                const auto first = places[m].empty() ? std::nullopt : std::optional(ranking.scores[places[m].front()]);
                for (size_t t = 0; t < n; ++t) {
                    const size_t row = t0 + t, tail = area * M + m, at = row * R * stride + tail;
                    out.recall[row * stride + tail] =
                        static_cast<double>(found[t].points.size()) / static_cast<double>(positives);
                    found[t].read(needed, first, out.precision.data() + at, out.scores.data() + at, stride);
                }
            }
        }
    }
    return out;
}

// Row n of `from` becomes row n * rows + at of `to`.
void spread(const std::vector<double>& from, size_t width, size_t rows, size_t at, std::vector<double>& to) {
    for (size_t n = 0; n * width < from.size(); ++n)
        std::copy_n(from.data() + n * width, width, to.data() + (n * rows + at) * width);
}

}  // namespace

Curves average_precision(const Truths& truths, const Detections& detections, const Overlap& overlap,
                         const Protocol& protocol) {
    const double lowest = *std::min_element(protocol.thresholds.begin(), protocol.thresholds.end());
    const Cells cells = make_cells(truths, detections, overlap, protocol.classes, protocol.max_detections.back(),
                                   std::min(lowest, 1 - 1e-10), protocol.threads);
    const int64_t K = protocol.classes;
    const size_t width = protocol.ranges.size() * protocol.max_detections.size();
    std::vector<Ranking> rankings(static_cast<size_t>(K));
    for (const auto& image : cells.images)
        for (const Cell& cell : image) rankings[cell.label].cells.push_back(&cell);
    parallel_for(K, 1, protocol.threads, [&](int64_t begin, int64_t end) {
        for (int64_t k = begin; k < end; ++k) rank(detections, cells, rankings[k]);
    });
    Curves curves;
    const size_t points = protocol.thresholds.size() * static_cast<size_t>(K) * width;
    curves.precision.resize(points * protocol.recalls.size());
    curves.recall.resize(points);
    curves.scores.resize(points * protocol.recalls.size());
    parallel_for(K, 1, protocol.threads, [&](int64_t begin, int64_t end) {
        for (int64_t k = begin; k < end; ++k) {
            const Curves mine = curves_of(truths, cells, rankings[k], protocol);
            const size_t rows = static_cast<size_t>(K), at = static_cast<size_t>(k);
            spread(mine.precision, width, rows, at, curves.precision);
            spread(mine.recall, width, rows, at, curves.recall);
            spread(mine.scores, width, rows, at, curves.scores);
        }
    });
    return curves;
}

}  // namespace delineate
