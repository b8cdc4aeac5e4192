#include "decode.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "column_solver.hpp"
#include "pairs.hpp"
#include "simd.hpp"
#include "threads.hpp"

namespace delineate {
namespace {

constexpr int64_t kBins = 16;  // DFL bins per box side

// ---------------------------------------------------------------------------------------------- head -> detections

struct Candidate {
    float score;
    int32_t label;
    int64_t anchor;
};

// Best class of n neighbouring anchors whose class scores lie in rows `stride` apart. NaN never wins.
DELINEATE_SIMD_CLONES void best_in_columns(const float* scores, int64_t stride, int64_t classes, int64_t n, float* best,
                                           int32_t* label) {
    for (int64_t i = 0; i < n; ++i) {
        best[i] = -std::numeric_limits<float>::infinity();
        label[i] = 0;
    }
    for (int64_t c = 0; c < classes; ++c) {
        const float* row = scores + c * stride;
        for (int64_t i = 0; i < n; ++i) {
            const float value = row[i];
            label[i] = value > best[i] ? static_cast<int32_t>(c) : label[i];
            best[i] = value > best[i] ? value : best[i];
        }
    }
}

// Highest of n numbers, -inf where all are NaN: sixteen independent lanes, because a float maximum must keep its order.
DELINEATE_SIMD_CLONES float highest(const float* values, int64_t n) {
    std::array<float, 16> lanes;
    lanes.fill(-std::numeric_limits<float>::infinity());
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        for (int64_t k = 0; k < 16; ++k) lanes[k] = values[i + k] > lanes[k] ? values[i + k] : lanes[k];
    }
    for (; i < n; ++i) lanes[0] = values[i] > lanes[0] ? values[i] : lanes[0];
    return *std::max_element(lanes.begin(), lanes.end());
}

int64_t row_width(const Head& head) {
    const int64_t box = head.layout == Head::Layout::bins ? 4 * kBins : 4;
    return box + head.classes + (head.separate ? 0 : head.coefficients);
}

std::vector<Candidate> above(const Head& head, float threshold) {
    std::vector<Candidate> found;
    if (head.layout == Head::Layout::columns) {
        constexpr int64_t block = 512;
        std::array<float, block> best;
        std::array<int32_t, block> label;
        for (int64_t begin = 0; begin < head.anchors; begin += block) {
            const int64_t n = std::min(block, head.anchors - begin);
            const float* scores = head.data + 4 * head.anchors + begin;
            best_in_columns(scores, head.anchors, head.classes, n, best.data(), label.data());
            for (int64_t i = 0; i < n; ++i) {
                if (best[i] > threshold) found.push_back({best[i], label[i], begin + i});
            }
        }
        return found;
    }
    const int64_t width = row_width(head);
    const int64_t first = head.layout == Head::Layout::bins ? 4 * kBins : 4;
    for (int64_t a = 0; a < head.anchors; ++a) {
        const float* scores = head.data + a * width + first;
        const float best = highest(scores, head.classes);
        if (!(best > threshold)) continue;
        found.push_back({best, static_cast<int32_t>(std::find(scores, scores + head.classes, best) - scores), a});
    }
    return found;
}

// Expected value of the softmax over one side's bins: a distance in anchor strides.
double expected_bin(const float* bins) {
    const float top = highest(bins, kBins);
    double sum = 0, weighted = 0;
    for (int64_t k = 0; k < kBins; ++k) {
        const double e = std::exp(static_cast<double>(bins[k] - top));
        sum += e;
        weighted += e * static_cast<double>(k);
    }
    return weighted / sum;
}

std::array<float, 4> box_from_bins(const Head& head, int64_t anchor) {
    int64_t first = 0;
    for (const int64_t stride : head.strides) {
        const int64_t columns = head.input_width / stride, count = columns * (head.input_height / stride);
        if (anchor >= first + count) {
            first += count;
            continue;
        }
        const double x = static_cast<double>((anchor - first) % columns) + 0.5;
        const double y = static_cast<double>((anchor - first) / columns) + 0.5;
        const float* bins = head.data + anchor * row_width(head);
        const double side[4] = {expected_bin(bins), expected_bin(bins + kBins), expected_bin(bins + 2 * kBins),
                                expected_bin(bins + 3 * kBins)};
        const auto s = static_cast<double>(stride);
        return {static_cast<float>((x - side[0]) * s), static_cast<float>((y - side[1]) * s),
                static_cast<float>((x + side[2]) * s), static_cast<float>((y + side[3]) * s)};
    }
    return {0, 0, 0, 0};
}

std::array<float, 4> box_of(const Head& head, int64_t anchor) {
    if (head.layout == Head::Layout::bins) return box_from_bins(head, anchor);
    const bool columns = head.layout == Head::Layout::columns;
    const float* at = columns ? head.data + anchor : head.data + anchor * row_width(head);
    const int64_t step = columns ? head.anchors : 1;
    const float cx = at[0], cy = at[step], w = at[2 * step], h = at[3 * step];
    return {cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2};
}

bool usable(const std::array<float, 4>& box) {
    return std::isfinite(box[0]) && std::isfinite(box[1]) && std::isfinite(box[2]) && std::isfinite(box[3]) &&
           box[2] > box[0] && box[3] > box[1];
}

// (N, coefficients) of the kept candidates.
std::vector<float> coefficients_of(const Head& head, const std::vector<Candidate>& found,
                                   const std::vector<int64_t>& kept) {
    const int64_t depth = head.coefficients;
    std::vector<float> out(kept.size() * static_cast<size_t>(depth));
    if (head.layout == Head::Layout::columns) {
        for (int64_t k = 0; k < depth; ++k) {  // row by row: a column of the head would touch a page per number
            const float* row = head.data + (4 + head.classes + k) * head.anchors;
            for (size_t n = 0; n < kept.size(); ++n) out[n * depth + k] = row[found[kept[n]].anchor];
        }
        return out;
    }
    const int64_t width = row_width(head);
    for (size_t n = 0; n < kept.size(); ++n) {
        const int64_t anchor = found[kept[n]].anchor;
        const float* at = head.separate ? head.separate + anchor * depth : head.data + (anchor + 1) * width - depth;
        std::copy(at, at + depth, out.data() + n * depth);
    }
    return out;
}

// Score threshold in the head's own terms: logits or probabilities.
float native_threshold(const Head& head, double score) {
    if (head.layout != Head::Layout::bins) return static_cast<float>(score);
    if (score <= 0) return -std::numeric_limits<float>::infinity();
    if (score >= 1) return std::numeric_limits<float>::infinity();
    return static_cast<float>(std::log(score / (1 - score)));
}

// Candidates above the threshold, best first, without those whose box is of no use; `boxes` gets (N, 4).
std::vector<Candidate> candidates_of(const Head& head, const Selection& selection, std::vector<float>& boxes) {
    auto found = above(head, native_threshold(head, selection.score));
    const auto better = [](const Candidate& a, const Candidate& b) {
        return a.score > b.score || (a.score == b.score && a.anchor < b.anchor);
    };
    if (static_cast<int64_t>(found.size()) > selection.max_candidates) {
        std::nth_element(found.begin(), found.begin() + selection.max_candidates, found.end(), better);
        found.resize(static_cast<size_t>(selection.max_candidates));
    }
    std::sort(found.begin(), found.end(), better);
    std::erase_if(found, [&](const Candidate& candidate) {
        const auto box = box_of(head, candidate.anchor);
        if (!usable(box) || !std::isfinite(candidate.score)) return true;
        boxes.insert(boxes.end(), box.begin(), box.end());
        return false;
    });
    return found;
}

// Indices of the candidates that greedy suppression leaves, best first.
std::vector<int64_t> suppress(const std::vector<Candidate>& found, const std::vector<float>& boxes,
                              const Selection& selection) {
    std::vector<int64_t> order(found.size());
    std::iota(order.begin(), order.end(), int64_t{0});
    const auto threshold = static_cast<float>(selection.iou);
    if (selection.agnostic) return box_nms(boxes, order, threshold);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return found[a].label < found[b].label; });
    std::vector<int64_t> kept;
    for (size_t begin = 0; begin < order.size();) {
        size_t end = begin + 1;
        while (end < order.size() && found[order[end]].label == found[order[begin]].label) ++end;
        const auto part = box_nms(boxes, {order.data() + begin, end - begin}, threshold);
        kept.insert(kept.end(), part.begin(), part.end());
        begin = end;
    }
    std::sort(kept.begin(), kept.end());
    return kept;
}

}  // namespace

Selected detect(const Head& head, const Selection& selection) {
    std::vector<float> boxes;
    const auto found = candidates_of(head, selection, boxes);
    auto kept = suppress(found, boxes, selection);
    if (static_cast<int64_t>(kept.size()) > selection.max_detections)
        kept.resize(static_cast<size_t>(selection.max_detections));
    const bool logits = head.layout == Head::Layout::bins;
    Selected out;
    for (const int64_t i : kept) {
        const double score = found[i].score;
        out.boxes.insert(out.boxes.end(), &boxes[4 * i], &boxes[4 * i] + 4);
        out.scores.push_back(static_cast<float>(logits ? 1 / (1 + std::exp(-score)) : score));
        out.labels.push_back(found[i].label);
    }
    out.coefficients = coefficients_of(head, found, kept);
    return out;
}

// ------------------------------------------------------------------------------------------------ prototypes -> runs

namespace {

bool make_window(const float* box, const Prototypes& p, const Sampling& s, Window& w) {
    if (!(box[2] > box[0]) || !(box[3] > box[1])) return false;  // also NaN
    w.column0 = first_pixel(box[0], s.width);
    w.column1 = first_pixel(box[2], s.width);
    w.row0 = first_pixel(box[1], s.height);
    w.row1 = first_pixel(box[3], s.height);
    if (w.column0 >= w.column1 || w.row0 >= w.row1) return false;
    w.i0 = static_cast<int64_t>(cell_at(w.row0, s.step_y, s.offset_y, p.height));
    w.j0 = left_cell(cell_at(w.column0, s.step_x, s.offset_x, p.width), p.width);
    w.i1 = std::min(static_cast<int64_t>(cell_at(w.row1 - 1, s.step_y, s.offset_y, p.height)) + 1, p.height - 1);
    w.j1 = std::min(static_cast<int64_t>(cell_at(w.column1 - 1, s.step_x, s.offset_x, p.width)) + 1, p.width - 1);
    return true;
}

// Logits of the window's cells, column by column: out[(j - j0) * rows + (i - i0)].
DELINEATE_SIMD_CLONES void evaluate(const float* coefficients, const Prototypes& p, const Window& w, float* out) {
    const int64_t rows = w.i1 - w.i0 + 1, columns = w.j1 - w.j0 + 1, plane = p.height * p.width;
    constexpr int64_t lanes = 16;
    for (int64_t i = 0; i < rows; ++i) {
        const float* line = p.data + (w.i0 + i) * p.width + w.j0;
        for (int64_t j = 0; j < columns; j += lanes) {
            float sum[lanes] = {};
            if (w.j0 + j + lanes <= p.width) {  // may compute cells right of the window, but reads inside the row
                for (int64_t k = 0; k < p.depth; ++k) {
                    const float* cells = line + j + k * plane;
                    for (int64_t t = 0; t < lanes; ++t) sum[t] += coefficients[k] * cells[t];
                }
            } else {
                for (int64_t k = 0; k < p.depth; ++k) {
                    const float* cells = line + j + k * plane;
                    for (int64_t t = 0; t < columns - j; ++t) sum[t] += coefficients[k] * cells[t];
                }
            }
            for (int64_t t = 0; t < std::min(lanes, columns - j); ++t) out[(j + t) * rows + i] = sum[t];
        }
    }
}

void solve(const float* box, const float* coefficients, const Prototypes& p, const Sampling& s, Scratch& scratch,
           RunWriter& runs) {
    Window w;
    if (!make_window(box, p, s, w)) return;
    const int64_t rows = w.i1 - w.i0 + 1, columns = w.j1 - w.j0 + 1;
    scratch.logits.resize(static_cast<size_t>(rows * columns));
    evaluate(coefficients, p, w, scratch.logits.data());
    if (!all_moderate(scratch.logits.data(), rows * columns)) return;
    solve_window(scratch.logits.data(), p.width, w, s, scratch.mixed, runs);
}

}  // namespace

Rle masks_from_prototypes(std::span<const float> boxes, std::span<const float> coefficients,
                          const Prototypes& prototypes, const Sampling& sampling, unsigned threads) {
    const auto n = static_cast<int64_t>(boxes.size() / 4);
    constexpr int64_t grain = 4;
    const int64_t parts = (n + grain - 1) / grain;
    const Rle nothing{sampling.height, sampling.width, {}, {0}};
    std::vector<Rle> pieces(static_cast<size_t>(parts), nothing);
    parallel_for(parts, 1, threads, [&](int64_t begin, int64_t end) {
        Scratch scratch;
        for (int64_t part = begin; part < end; ++part) {
            RunWriter runs(pieces[part]);
            for (int64_t i = part * grain; i < std::min(n, (part + 1) * grain); ++i) {
                solve(&boxes[4 * i], &coefficients[i * prototypes.depth], prototypes, sampling, scratch, runs);
                runs.finish();
            }
        }
    });
    Rle whole = nothing;
    for (const auto& piece : pieces) append(whole, piece);
    return whole;
}

}  // namespace delineate
