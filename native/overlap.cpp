// Where the overlaps of match.hpp come from: masks, boxes, or given numbers.
#include <algorithm>
#include <optional>

#include "match.hpp"
#include "morphology.hpp"

namespace delineate {
namespace {

std::vector<int64_t> mask_offsets(const MaskSide& side) {
    std::vector<int64_t> offsets{0};
    for (const Rle* rle : side.images) offsets.push_back(offsets.back() + rle->size());
    return offsets;
}

// One thread's view of one side: the runs of masks, numbered over all images.
class SideReader {
   public:
    SideReader(const MaskSide& side, const std::vector<int64_t>& offsets) : side_(side), offsets_(offsets) {
        if (side.texts != nullptr) texts_.emplace(*side.texts);
    }
    void open(int64_t image) {
        if (texts_) texts_->open(image);
        image_ = image;
    }
    // Valid until the next call.
    std::span<const uint32_t> runs(int64_t mask) {
        return texts_ ? texts_->runs(mask) : side_.images[image_]->runs(mask - offsets_[image_]);
    }
    // Area and tight box of a mask, where they are known before it is decoded.
    bool measured(int64_t mask, int64_t& area, Box& box) const {
        if (!side_.measures) return false;
        const TextMeasures& all = *side_.measures;
        const float* const row = all.boxes.data() + 4 * mask;
        area = static_cast<int64_t>(all.areas[mask]);
        box = {static_cast<int64_t>(row[0]), static_cast<int64_t>(row[1]), static_cast<int64_t>(row[0] + row[2]),
               static_cast<int64_t>(row[1] + row[3])};
        return true;
    }
    int64_t height() const { return texts_ ? texts_->height() : side_.images[image_]->height; }

   private:
    const MaskSide& side_;
    const std::vector<int64_t>& offsets_;
    std::optional<MaskTexts::Reader> texts_;
    int64_t image_ = 0;
};

// One mask opened for repeated comparison: [edges[2k], edges[2k + 1]) are the positions of ones, column by column.
struct Shape {
    std::vector<int64_t> edges;
    int64_t area = 0;
    Box box;

    void read(std::span<const uint32_t> runs, int64_t height) {
        read_edges(runs);
        box = tight_box(runs, height);
    }

    // Where the box is known.
    void read_edges(std::span<const uint32_t> runs) {
        edges.clear();
        area = 0;
        int64_t position = 0;
        for (size_t k = 0; k < runs.size(); ++k) {
            const int64_t begin = position;
            position += runs[k];
            if (k % 2 == 0 || runs[k] == 0) continue;
            edges.push_back(begin);
            edges.push_back(position);
            area += runs[k];
        }
    }
};

// Pixels that two shapes share.
int64_t shared(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
    // Start where both have begun: the first run that ends after the other's first pixel.
    auto skip = [](const std::vector<int64_t>& edges, int64_t position) {
        const auto edge = std::upper_bound(edges.begin(), edges.end(), position);
        return static_cast<size_t>(edge - edges.begin()) & ~size_t{1};
    };
    size_t i = skip(a, b.front()), j = skip(b, a.front());
    int64_t sum = 0;
    while (i < a.size() && j < b.size()) {
        sum += std::max<int64_t>(0, std::min(a[i + 1], b[j + 1]) - std::max(a[i], b[j]));
        if (a[i + 1] < b[j + 1]) {
            i += 2;
        } else {
            j += 2;
        }
    }
    return sum;
}

// `common` pixels over the union, or over the area of `mine` where the truth is a crowd.
double ratio(int64_t common, const Shape& mine, const Shape& truth, bool crowd) {
    const int64_t whole = crowd ? mine.area : mine.area + truth.area - common;
    return static_cast<double>(common) / static_cast<double>(whole);
}

class MaskOverlap final : public Overlap {
   public:
    MaskOverlap(MaskSide truths, MaskSide detections)
        : truths_(std::move(truths)),
          detections_(std::move(detections)),
          truth_offsets_(mask_offsets(truths_)),
          detection_offsets_(mask_offsets(detections_)) {}

    class Cell final : public View {
       public:
        explicit Cell(const MaskOverlap& source)
            : truths_(source.truths_, source.truth_offsets_), detections_(source.detections_, source.detection_offsets_) {}

        void open(int64_t image, std::span<const int64_t> truths, std::span<const uint8_t> crowd) override {
            crowd_ = crowd;
            count_ = truths.size();
            if (shapes_.size() < count_) shapes_.resize(count_);
            truths_.open(image);
            detections_.open(image);
            for (size_t g = 0; g < count_; ++g) shapes_[g].read(truths_.runs(truths[g]), truths_.height());
        }

        void row(int64_t detection, double floor, std::span<double> out) override {
            std::fill(out.begin(), out.end(), 0.0);
            if (detections_.measured(detection, mine_.area, mine_.box)) {
                bool any = false;
                for (size_t g = 0; g < count_ && !any; ++g) any = possible(shapes_[g], crowd_[g] != 0, floor);
                if (!any) return;  // most masks need never be decoded
                mine_.read_edges(detections_.runs(detection));
            } else {
                mine_.read(detections_.runs(detection), detections_.height());
            }
            for (size_t g = 0; g < count_; ++g) {
                const bool crowd = crowd_[g] != 0;
                const Shape& truth = shapes_[g];
                if (possible(truth, crowd, floor)) out[g] = ratio(shared(mine_.edges, truth.edges), mine_, truth, crowd);
            }
        }

        SideReader& truths() { return truths_; }
        SideReader& detections() { return detections_; }

       private:
        // No more than the common part of the boxes can be shared: enough to reject most pairs without a look at the runs.
        bool possible(const Shape& truth, bool crowd, double floor) const {
            const Box &a = mine_.box, &b = truth.box;
            const int64_t width = std::min(a.x1, b.x1) - std::max(a.x0, b.x0);
            const int64_t height = std::min(a.y1, b.y1) - std::max(a.y0, b.y0);
            if (width <= 0 || height <= 0) return false;
            const int64_t most = std::min({width * height, mine_.area, truth.area});
            return ratio(most, mine_, truth, crowd) >= floor * (1 - 1e-9);
        }

        SideReader truths_, detections_;
        std::vector<Shape> shapes_;
        Shape mine_;
        std::span<const uint8_t> crowd_;
        size_t count_ = 0;
    };

    std::unique_ptr<View> view() const override { return std::make_unique<Cell>(*this); }

   private:
    MaskSide truths_, detections_;
    std::vector<int64_t> truth_offsets_, detection_offsets_;
};

class BoundaryOverlap final : public Overlap {
   public:
    BoundaryOverlap(MaskSide truths, MaskSide detections, std::span<const int64_t> widths)
        : masks_(std::move(truths), std::move(detections)), widths_(widths) {}

    class Cell final : public View {
       public:
        explicit Cell(const BoundaryOverlap& source) : source_(source), masks_(source.masks_) {}

        void open(int64_t image, std::span<const int64_t> truths, std::span<const uint8_t> crowd) override {
            masks_.open(image, truths, crowd);
            width_ = source_.widths_[image];
            chosen_ = truths;
            crowd_ = crowd;
            ready_.assign(truths.size(), 0);
            if (bands_.size() < truths.size()) bands_.resize(truths.size());
        }

        // Most pairs fail by their masks already, and most masks without a partner need no band.
        void row(int64_t detection, double floor, std::span<double> out) override {
            masks_.row(detection, floor, out);
            bool mine_ready = false;
            for (size_t g = 0; g < chosen_.size(); ++g) {
                if (crowd_[g] || out[g] <= 0 || out[g] < floor) continue;
                if (!mine_ready) read(masks_.detections(), detection, mine_);
                if (!ready_[g]) read(masks_.truths(), chosen_[g], bands_[g]);
                mine_ready = true;
                ready_[g] = 1;
                out[g] = std::min(out[g], ratio(shared(mine_.edges, bands_[g].edges), mine_, bands_[g], false));
            }
        }

       private:
        void read(SideReader& side, int64_t mask, Shape& shape) const {
            shape.read(boundary_band(side.runs(mask), side.height(), width_).runs(0), side.height());
        }

        const BoundaryOverlap& source_;
        MaskOverlap::Cell masks_;
        std::vector<Shape> bands_;  // of the truths, where `ready_`
        std::vector<uint8_t> ready_;
        Shape mine_;
        std::span<const int64_t> chosen_;
        std::span<const uint8_t> crowd_;
        int64_t width_ = 0;
    };

    std::unique_ptr<View> view() const override { return std::make_unique<Cell>(*this); }

   private:
    const MaskOverlap masks_;
    std::span<const int64_t> widths_;
};

class BoxOverlap final : public Overlap {
   public:
    BoxOverlap(std::span<const double> truths, std::span<const double> detections)
        : truths_(truths), detections_(detections) {}

    class Cell final : public View {
       public:
        explicit Cell(const BoxOverlap& source) : source_(source) {}
        void open(int64_t, std::span<const int64_t> truths, std::span<const uint8_t> crowd) override {
            chosen_ = truths;
            crowd_ = crowd;
        }
        // The order of the operations is pycocotools' own: the last bit of the ratio depends on it.
        void row(int64_t detection, double, std::span<double> out) override {
            const double* const d = source_.detections_.data() + 4 * detection;
            const double area = d[2] * d[3];
            for (size_t j = 0; j < chosen_.size(); ++j) {
                const double* const g = source_.truths_.data() + 4 * chosen_[j];
                out[j] = 0;
                const double width = std::min(d[2] + d[0], g[2] + g[0]) - std::max(d[0], g[0]);
                if (width <= 0) continue;
                const double height = std::min(d[3] + d[1], g[3] + g[1]) - std::max(d[1], g[1]);
                if (height <= 0) continue;
                const double common = width * height;
                out[j] = common / (crowd_[j] ? area : area + g[2] * g[3] - common);
            }
        }

       private:
        const BoxOverlap& source_;
        std::span<const int64_t> chosen_;
        std::span<const uint8_t> crowd_;
    };

    std::unique_ptr<View> view() const override { return std::make_unique<Cell>(*this); }

   private:
    std::span<const double> truths_, detections_;
};

class DenseOverlap final : public Overlap {
   public:
    DenseOverlap(std::span<const double> values, std::span<const int64_t> truth_offsets,
                 std::span<const int64_t> detection_offsets)
        : values_(values), truth_offsets_(truth_offsets), detection_offsets_(detection_offsets) {
        int64_t at = 0;
        for (size_t i = 0; i + 1 < truth_offsets.size(); ++i) {
            starts_.push_back(at);
            at += (truth_offsets[i + 1] - truth_offsets[i]) * (detection_offsets[i + 1] - detection_offsets[i]);
        }
    }

    class Cell final : public View {
       public:
        explicit Cell(const DenseOverlap& source) : source_(source) {}
        void open(int64_t image, std::span<const int64_t> truths, std::span<const uint8_t>) override {
            image_ = image;
            chosen_ = truths;
        }
        void row(int64_t detection, double, std::span<double> out) override {
            const int64_t first = source_.truth_offsets_[image_], width = source_.truth_offsets_[image_ + 1] - first;
            const double* const values =
                source_.values_.data() + source_.starts_[image_] + (detection - source_.detection_offsets_[image_]) * width;
            for (size_t j = 0; j < chosen_.size(); ++j) out[j] = values[chosen_[j] - first];
        }

       private:
        const DenseOverlap& source_;
        std::span<const int64_t> chosen_;
        int64_t image_ = 0;
    };

    std::unique_ptr<View> view() const override { return std::make_unique<Cell>(*this); }

   private:
    std::span<const double> values_;
    std::span<const int64_t> truth_offsets_, detection_offsets_;
    std::vector<int64_t> starts_;
};

}  // namespace

std::unique_ptr<Overlap> mask_overlap(MaskSide truths, MaskSide detections) {
    return std::make_unique<MaskOverlap>(std::move(truths), std::move(detections));
}

std::unique_ptr<Overlap> boundary_overlap(MaskSide truths, MaskSide detections, std::span<const int64_t> widths) {
    return std::make_unique<BoundaryOverlap>(std::move(truths), std::move(detections), widths);
}

std::unique_ptr<Overlap> box_overlap(std::span<const double> truths, std::span<const double> detections) {
    return std::make_unique<BoxOverlap>(truths, detections);
}

std::unique_ptr<Overlap> dense_overlap(std::span<const double> values, std::span<const int64_t> truth_offsets,
                                       std::span<const int64_t> detection_offsets) {
    return std::make_unique<DenseOverlap>(values, truth_offsets, detection_offsets);
}

}  // namespace delineate
