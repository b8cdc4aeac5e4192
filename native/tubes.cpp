// Overlap of objects followed through videos: all frames of a video count as one volume.
#include <algorithm>
#include <stdexcept>

#include "match.hpp"
#include "open_mask.hpp"

namespace delineate {
namespace {

// A tube is known by its pieces, in frame order.
struct Piece {
    int64_t frame, mask;
};

struct Side {
    std::vector<const Rle*> frames;
    std::vector<int64_t> offsets;  // (tubes + 1) tube t owns pieces [offsets[t], offsets[t + 1])
    std::vector<Piece> pieces;

    explicit Side(Tubes tubes) : frames(std::move(tubes.frames)) {
        if (tubes.count < 0) throw std::invalid_argument("count of tubes must be at least 0.");
        offsets.assign(static_cast<size_t>(tubes.count) + 1, 0);
        for (const int64_t tube : tubes.tube_of) {
            if (tube < 0 || tube >= tubes.count) throw std::invalid_argument("tubes must be numbered from 0.");
            ++offsets[tube + 1];
        }
        for (size_t t = 1; t < offsets.size(); ++t) offsets[t] += offsets[t - 1];
        pieces.resize(tubes.tube_of.size());
        std::vector<int64_t> at(offsets.begin(), offsets.end() - 1);
        size_t n = 0;
        for (size_t frame = 0; frame < frames.size(); ++frame)
            for (int64_t mask = 0; mask < frames[frame]->size(); ++mask) {
                if (n == tubes.tube_of.size()) throw std::invalid_argument("every mask must have a tube.");
                pieces[at[tubes.tube_of[n++]]++] = {static_cast<int64_t>(frame), mask};
            }
        if (n != tubes.tube_of.size()) throw std::invalid_argument("every tube number must have a mask.");
    }
};

struct OpenTube {
    std::vector<int64_t> frames;
    std::vector<OpenMask> masks;
    int64_t volume = 0;

    void read(const Side& side, int64_t tube) {
        frames.clear();
        masks.clear();
        volume = 0;
        for (int64_t p = side.offsets[tube]; p < side.offsets[tube + 1]; ++p) {
            const auto [frame, mask] = side.pieces[p];
            const Rle& rle = *side.frames[frame];
            frames.push_back(frame);
            masks.emplace_back(rle.runs(mask), rle.height);
            volume += masks.back().area;
        }
    }
};

// Sums fn(a's mask, b's mask) over the frames that both are in.
template <class Fn>
int64_t sum_of_common(const OpenTube& a, const OpenTube& b, Fn&& fn) {
    int64_t sum = 0;
    for (size_t i = 0, j = 0; i < a.frames.size() && j < b.frames.size();) {
        if (a.frames[i] == b.frames[j]) {
            sum += fn(a.masks[i++], b.masks[j++]);
        } else {
            ++(a.frames[i] < b.frames[j] ? i : j);
        }
    }
    return sum;
}

class TubeOverlap final : public Overlap {
   public:
    TubeOverlap(Tubes truths, Tubes detections) : truths_(std::move(truths)), detections_(std::move(detections)) {}

    class Video final : public View {
       public:
        explicit Video(const TubeOverlap& source) : source_(source) {}

        void open(int64_t, std::span<const int64_t> truths, std::span<const uint8_t>) override {
            if (tubes_.size() < truths.size()) tubes_.resize(truths.size());
            for (size_t g = 0; g < truths.size(); ++g) tubes_[g].read(source_.truths_, truths[g]);
            count_ = truths.size();
        }

        void row(int64_t detection, double floor, std::span<double> out) override {
            mine_.read(source_.detections_, detection);
            for (size_t g = 0; g < count_; ++g) {
                const OpenTube& truth = tubes_[g];
                const auto ratio = [&](int64_t common) {
                    const int64_t whole = mine_.volume + truth.volume - common;
                    return whole > 0 ? static_cast<double>(common) / static_cast<double>(whole) : 0;
                };
                const int64_t most = sum_of_common(
                    mine_, truth, [](const OpenMask& a, const OpenMask& b) { return std::min(a.area, b.area); });
                out[g] = 0;
                if (most == 0 || ratio(most) < floor * (1 - 1e-9)) continue;
                out[g] = ratio(sum_of_common(
                    mine_, truth, [](const OpenMask& a, const OpenMask& b) { return a.intersection(b); }));
            }
        }

       private:
        const TubeOverlap& source_;
        std::vector<OpenTube> tubes_;
        OpenTube mine_;
        size_t count_ = 0;
    };

    std::unique_ptr<View> view() const override { return std::make_unique<Video>(*this); }

   private:
    Side truths_, detections_;
};

}  // namespace

std::unique_ptr<Overlap> tube_overlap(Tubes truths, Tubes detections) {
    if (truths.frames.size() != detections.frames.size())
        throw std::invalid_argument("both sides must have the same frames.");
    return std::make_unique<TubeOverlap>(std::move(truths), std::move(detections));
}

}  // namespace delineate
