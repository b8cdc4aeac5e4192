// Counting matched objects: the microscopy way (one-to-one, no scores), as StarDist's matching does it.
#include <algorithm>

#include "assignment.hpp"
#include "match.hpp"
#include "threads.hpp"

namespace delineate {
namespace {

// The overlaps of one image and label. Rows are the truths that are no crowd, columns the detections.
struct Graph {
    std::vector<std::vector<std::pair<int32_t, double>>> rows;  // (column, IoU > 0)
    std::vector<double> in_crowd;                               // per column: greatest share that lies in one crowd
};

Graph graph_of(const Truths& truths, std::span<const int64_t> chosen, std::span<const int64_t> detections, int64_t image,
               Overlap::View& view) {
    std::vector<uint8_t> crowd;
    std::vector<int64_t> rows;
    Graph graph;
    for (const int64_t truth : chosen) {
        crowd.push_back(truths.crowd[truth]);
        rows.push_back(truths.crowd[truth] ? -1 : static_cast<int64_t>(graph.rows.size()));
        if (!truths.crowd[truth]) graph.rows.emplace_back();
    }
    graph.in_crowd.assign(detections.size(), 0);
    std::vector<double> row(chosen.size());
    view.open(image, chosen, crowd);
    for (size_t d = 0; d < detections.size(); ++d) {
        view.row(detections[d], 0, row);
        for (size_t g = 0; g < row.size(); ++g) {
            if (crowd[g]) {
                graph.in_crowd[d] = std::max(graph.in_crowd[d], row[g]);
            } else if (row[g] > 0) {
                graph.rows[rows[g]].emplace_back(static_cast<int32_t>(d), row[g]);
            }
        }
    }
    return graph;
}

// StarDist's goal: as many pairs at or above the threshold as possible; among those the greatest sum of IoU, in which pairs
// below the threshold have a say too.
void count(const Graph& graph, double threshold, int64_t& matched, int64_t& ignored, double& overlap) {
    const size_t columns = graph.in_crowd.size();
    const double scale = 2.0 * static_cast<double>(std::max<size_t>(1, std::min(graph.rows.size(), columns)));
    std::vector<int64_t> offsets{0};
    std::vector<Edge> edges;
    std::vector<double> values;
    for (const auto& row : graph.rows) {
        for (const auto& [column, iou] : row) {
            edges.push_back({column, (iou >= threshold ? 1.0 : 0.0) + iou / scale});
            values.push_back(iou);
        }
        offsets.push_back(static_cast<int64_t>(edges.size()));
    }
    std::vector<char> used(columns, 0);
    for (const int64_t edge : assign(offsets, edges, static_cast<int64_t>(columns))) {
        if (edge < 0 || values[edge] < threshold) continue;
        used[edges[edge].column] = 1;
        ++matched;
        overlap += values[edge];
    }
    for (size_t d = 0; d < columns; ++d) ignored += !used[d] && graph.in_crowd[d] >= threshold;
}

std::vector<int64_t> by_label(std::span<const int64_t> labels, int64_t begin, int64_t end) {
    std::vector<int64_t> order;
    for (int64_t i = begin; i < end; ++i) order.push_back(i);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return labels[a] < labels[b]; });
    return order;
}

}  // namespace

Counts count_matches(const Truths& truths, const Detections& detections, const Overlap& overlap,
                     std::span<const double> thresholds, unsigned threads) {
    const int64_t images = static_cast<int64_t>(truths.offsets.size()) - 1;
    const size_t T = thresholds.size(), size = static_cast<size_t>(images) * T;
    Counts counts{std::vector<int64_t>(size, 0), std::vector<int64_t>(size, 0), std::vector<double>(size, 0)};
    parallel_for(images, 4, threads, [&](int64_t begin, int64_t end) {
        const auto view = overlap.view();
        for (int64_t image = begin; image < end; ++image) {
            const auto t = by_label(truths.labels, truths.offsets[image], truths.offsets[image + 1]);
            const auto d = by_label(detections.labels, detections.offsets[image], detections.offsets[image + 1]);
            size_t i = 0, j = 0;
            while (i < t.size() && j < d.size()) {  // a label on one side only has nothing to match
                const int64_t label = std::min(truths.labels[t[i]], detections.labels[d[j]]);
                size_t i1 = i, j1 = j;
                while (i1 < t.size() && truths.labels[t[i1]] == label) ++i1;
                while (j1 < d.size() && detections.labels[d[j1]] == label) ++j1;
                if (i1 > i && j1 > j) {
                    const Graph graph = graph_of(truths, {t.data() + i, i1 - i}, {d.data() + j, j1 - j}, image, *view);
                    for (size_t n = 0; n < T; ++n) {
                        const size_t at = static_cast<size_t>(image) * T + n;
                        count(graph, thresholds[n], counts.matched[at], counts.ignored[at], counts.overlap[at]);
                    }
                }
                i = i1;
                j = j1;
            }
        }
    });
    return counts;
}

}  // namespace delineate
