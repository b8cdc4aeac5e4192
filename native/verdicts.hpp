// What became of each detection, and average precision of any weighting of the images: for analyses that look behind the curves.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "match.hpp"

namespace delineate {

// Detections and truths of one image that overlap, whatever their classes.
struct Candidates {
    std::vector<int64_t> offsets;  // (D + 1) detection d owns [offsets[d], offsets[d + 1])
    std::vector<int64_t> truths;   // rising for each detection
    std::vector<double> ious;
};

struct CandidatesView {
    std::span<const int64_t> offsets, truths;
    std::span<const double> ious;
};

// All pairs with an IoU of at least `floor`, which is above 0.
Candidates overlapping_pairs(const Truths& truths, const Detections& detections, const Overlap& overlap, double floor,
                        unsigned threads);

// How detections of one class in one image are given their truths.
enum class Rule : int64_t {
    kScore = 0,    // COCO: best score first, each takes the free truth that it covers most
    kNearest = 1,  // PASCAL VOC: each goes to the truth that it covers most; only the first one is right
    kOverlap = 2,  // pairs by falling IoU, whatever the scores
};

struct Judgement {
    int64_t classes = 0;
    std::span<const double> thresholds;  // (T) at most 32
    std::array<double, 2> range{};       // truths outside are ignored, as are unmatched detections outside
    int64_t limit = 0;                   // detections of one class in one image
    Rule rule = Rule::kScore;
};

struct Verdicts {
    std::vector<int64_t> rank;           // (D) place among its class in its image, -1 if it does not count
    std::vector<uint32_t> hit, ignored;  // (D) one bit per threshold
    std::vector<int64_t> matches;        // (T, D) the truth taken, or -1
};

Verdicts judge(const Truths& truths, const Detections& detections, const CandidatesView& pairs, const Judgement& how,
               unsigned threads);

struct Verdict {
    std::span<const int64_t> rank;
    std::span<const uint32_t> hit, ignored;
};

struct Resampling {
    int64_t classes = 0, thresholds = 0;
    std::span<const double> recalls;   // ascending; empty: the area under the curve
    std::span<const int32_t> weights;  // (B, I) how often each image occurs
};

// (B, K, T) average precision where image i occurs weights[b, i] times, -1 where a class has no truth. `positive` marks the
// truths that count. Copies of an image follow one another, and copies of a detection too.
std::vector<double> resampled_precision(const Truths& truths, std::span<const uint8_t> positive,
                                        const Detections& detections, const Verdict& verdict, const Resampling& how,
                                        unsigned threads);

}  // namespace delineate
