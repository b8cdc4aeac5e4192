// Average precision as pycocotools computes it: overlaps, greedy matching, precision-recall curves. Flat columns in, three arrays out.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "mask_texts.hpp"
#include "rle.hpp"

namespace delineate {

// How much detections cover truths. Objects are numbered over all images, in image order.
class Overlap {
   public:
    // One thread's view: it owns the scratch space.
    class View {
       public:
        virtual ~View() = default;
        // Chooses the truths (of one image) that the next rows are about; crowd is parallel to truths.
        virtual void open(int64_t image, std::span<const int64_t> truths, std::span<const uint8_t> crowd) = 0;
        // out[j]: IoU of the detection with truths[j] (over the detection's own area where truths[j] is a crowd).
        // May be 0 where the value is certainly below `floor`.
        virtual void row(int64_t detection, double floor, std::span<double> out) = 0;
    };
    virtual ~Overlap() = default;
    virtual std::unique_ptr<View> view() const = 0;
};

// The masks of one side, kept alive by the caller: per image one Rle, or texts that are decoded when their cell is matched.
struct MaskSide {
    std::vector<const Rle*> images;
    const MaskTexts* texts = nullptr;
    std::shared_ptr<const TextMeasures> measures = nullptr;  // of the texts, if they are known by now
};
std::unique_ptr<Overlap> mask_overlap(MaskSide truths, MaskSide detections);
// The smaller of that and the IoU of the bands within widths[image] pixels of the contours; crowds count by their masks
// alone (as in the API of boundary IoU). Bands are made where they are asked for and not kept beyond one image and label.
std::unique_ptr<Overlap> boundary_overlap(MaskSide truths, MaskSide detections, std::span<const int64_t> widths);
// Boxes: (N, 4) x, y, width, height, kept alive by the caller.
std::unique_ptr<Overlap> box_overlap(std::span<const double> truths, std::span<const double> detections);
// Given numbers: per image a (detections, truths) block, row-major, one after the other.
std::unique_ptr<Overlap> dense_overlap(std::span<const double> values, std::span<const int64_t> truth_offsets,
                                       std::span<const int64_t> detection_offsets);

// Objects followed through videos. A frame has the same number on both sides.
struct Tubes {
    std::vector<const Rle*> frames;     // of all videos, one video after the other, kept alive by the caller
    std::span<const int64_t> tube_of;  // per mask, frame after frame: the number of its object, below `count`
    int64_t count = 0;
};
// Intersection over union of volumes (YouTube-VIS): pixels summed over all frames. An "image" is a video; crowds are
// compared like all others.
std::unique_ptr<Overlap> tube_overlap(Tubes truths, Tubes detections);

struct Truths {
    std::span<const int64_t> offsets;  // (I + 1) image i owns [offsets[i], offsets[i + 1])
    std::span<const int64_t> labels;   // 0 .. classes - 1; others take no part
    std::span<const double> areas;     // as annotated; decides the area range
    std::span<const uint8_t> crowd;
    std::span<const uint8_t> lost;  // a detection that takes this truth still counts as unmatched (pycocotools: annotation id 0)
};

struct Detections {
    std::span<const int64_t> offsets;
    std::span<const int64_t> labels;
    std::span<const double> scores;
    std::span<const double> areas;
};

struct Protocol {
    int64_t classes = 0;                         // K
    std::vector<double> thresholds;              // (T)
    std::vector<double> recalls;                 // (R) ascending
    std::vector<std::array<double, 2>> ranges;   // (A) both ends belong to the range
    std::vector<int64_t> max_detections;         // (M) ascending
    unsigned threads = 0;                        // 0 = all
};

// C-order arrays, -1 where a class has no truth in the range.
struct Curves {
    std::vector<double> precision;  // (T, R, K, A, M)
    std::vector<double> recall;     // (T, K, A, M)
    std::vector<double> scores;     // (T, R, K, A, M)
};

Curves average_precision(const Truths& truths, const Detections& detections, const Overlap& overlap,
                         const Protocol& protocol);

// One image and one category as pycocotools reports it, for each of A area ranges.
struct CellTruths {
    std::span<const double> ids, areas;
    std::span<const uint8_t> crowd, ignored;  // `ignored` in every range
};

struct CellDetections {
    std::span<const double> ids, areas;  // best first
};

struct CellMatches {
    std::vector<int64_t> order;             // (A, G) truths, those that count first
    std::vector<int64_t> truth_ignored;     // (A, G) 0 or 1, in that order
    std::vector<double> truth_matches;      // (A, T, G) id of the detection or 0, in that order
    std::vector<double> detection_matches;  // (A, T, D) id of the truth or 0
    std::vector<uint8_t> detection_ignored;  // (A, T, D)
};

// `overlaps`: (D, G) row-major IoU, rows in the order of the detections.
CellMatches match_cell(const CellTruths& truths, const CellDetections& detections, std::span<const double> overlaps,
                       std::span<const double> thresholds, std::span<const std::array<double, 2>> ranges);

// Counts of an optimal one-to-one matching within each label, per image and threshold.
struct Counts {
    std::vector<int64_t> matched;  // (I, T)
    std::vector<int64_t> ignored;  // (I, T) unmatched detections that lie in a crowd
    std::vector<double> overlap;   // (I, T) sum of the IoU of the matched pairs
};

// Crowds are never matched. `thresholds` lie in (0, 1].
Counts count_matches(const Truths& truths, const Detections& detections, const Overlap& overlap,
                     std::span<const double> thresholds, unsigned threads);

}  // namespace delineate
