// Rle: N run-length masks on one canvas. The value type that everything else in the core takes and returns.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "threads.hpp"

namespace delineate {

// COCO's convention: each mask is read column by column (Fortran order); counts alternate zeros, ones, zeros, ...,
// starting with zeros (so the first count may be 0); the counts of one mask sum to height * width.
// Canonical form, which every function here keeps: no count but the first is 0, and there is always at least one count.
struct Rle {
    int64_t height = 0;
    int64_t width = 0;
    std::vector<uint32_t> counts;       // the runs of all masks, one after the other
    std::vector<int64_t> offsets = {0};  // (N + 1) mask i owns counts[offsets[i], offsets[i + 1])

    int64_t size() const { return static_cast<int64_t>(offsets.size()) - 1; }
    int64_t pixels() const { return height * width; }
    std::span<const uint32_t> runs(int64_t i) const {
        return {counts.data() + offsets[i], static_cast<size_t>(offsets[i + 1] - offsets[i])};
    }
    bool operator==(const Rle&) const = default;
};

// Half-open; all zero for an empty mask.
struct Box {
    int64_t x0 = 0, y0 = 0, x1 = 0, y1 = 0;
    int64_t width() const { return x1 - x0; }
    int64_t height() const { return y1 - y0; }
    bool empty() const { return x1 <= x0 || y1 <= y0; }
};

// A vertical piece of a mask: rows [y0, y1) of column x.
struct Span {
    int32_t x, y0, y1;
};

// Writes one mask after the other into an Rle, in canonical form. Positions are x * height + y.
class RunWriter {
   public:
    explicit RunWriter(Rle& target) : rle_(target) {}

    // Ones over positions [begin, end); calls of one mask come in rising order and may adjoin.
    void ones(int64_t begin, int64_t end) {
        if (begin >= end) return;
        if (begin == last_ && last_ > 0) {
            rle_.counts.back() = checked(int64_t{rle_.counts.back()} + end - begin);
        } else {
            rle_.counts.push_back(checked(begin - last_));
            rle_.counts.push_back(checked(end - begin));
        }
        last_ = end;
    }
    // All runs of a mask that is in canonical form, instead of ones().
    void copy(std::span<const uint32_t> runs) {
        rle_.counts.insert(rle_.counts.end(), runs.begin(), runs.end());
        last_ = rle_.pixels();
    }
    void finish() {
        const int64_t rest = rle_.pixels() - last_;
        const bool nothing = static_cast<int64_t>(rle_.counts.size()) == rle_.offsets.back();
        if (rest > 0 || nothing) rle_.counts.push_back(checked(rest));
        rle_.offsets.push_back(static_cast<int64_t>(rle_.counts.size()));
        last_ = 0;
    }

   private:
    static uint32_t checked(int64_t count) {
        if (count > std::numeric_limits<uint32_t>::max())
            throw std::invalid_argument("runs must be at most 4294967295 pixels long, got " + std::to_string(count) +
                                        ". Cut the canvas into tiles.");
        return static_cast<uint32_t>(count);
    }
    Rle& rle_;
    int64_t last_ = 0;  // end of the last run of ones
};

// Walks over the runs of ones of a mask: positions [begin, end), then the next.
struct OnesCursor {
    std::span<const uint32_t> runs;
    size_t k = 1;
    int64_t begin, end;
    explicit OnesCursor(std::span<const uint32_t> r) : runs(r), begin(r[0]), end(r.size() > 1 ? begin + r[1] : begin) {}
    bool done() const { return k >= runs.size(); }
    void next() {
        k += 2;
        if (done()) return;
        begin = end + runs[k - 1];
        end = begin + runs[k];
    }
};

// Calls fn(x, y0, y1) for every vertical span of ones, in column order; a run over several columns is split.
template <class Fn>
void for_each_span(std::span<const uint32_t> runs, int64_t height, Fn&& fn) {
    int64_t x = 0, y = 0;
    for (size_t k = 0; k + 1 < runs.size(); k += 2) {
        y += runs[k];
        if (y >= height) {
            const int64_t columns = y < 2 * height ? 1 : y / height;
            x += columns;
            y -= columns * height;
        }
        int64_t left = runs[k + 1];
        while (y + left >= height) {
            fn(x, y, height);
            left -= height - y;
            ++x;
            y = 0;
            if (left == 0) break;
        }
        if (left > 0) fn(x, y, y + left);
        y += left;
    }
}

inline void collect_spans(std::span<const uint32_t> runs, int64_t height, std::vector<Span>& spans) {
    spans.clear();
    for_each_span(runs, height, [&](int64_t x, int64_t y0, int64_t y1) {
        spans.push_back({static_cast<int32_t>(x), static_cast<int32_t>(y0), static_cast<int32_t>(y1)});
    });
}

// How many of `items` make one chunk that is worth a thread, when all of them cost `work` steps together.
inline int64_t worth_a_thread(int64_t items, int64_t work) {
    constexpr double kSteps = 1 << 17;
    const double grain = static_cast<double>(items) * kSteps / (static_cast<double>(work) + 1);
    return std::max<int64_t>(1, grain < static_cast<double>(items) ? static_cast<int64_t>(grain) : items);
}

// The same for work whose results are put together afterwards: few chunks, one where there is one thread.
inline int64_t chunk_size(int64_t items, int64_t work) {
    const int64_t threads = available_threads();
    const int64_t least = threads == 1 ? items : (items + 4 * threads - 1) / (4 * threads);
    return std::max<int64_t>({1, least, worth_a_thread(items, work)});
}

// Appends the masks of `part` to `whole` (same canvas).
void append(Rle& whole, const Rle& part);

// Builds N masks in parallel: fn(i, writer) writes mask i with writer.ones(); `work` is the expected number of steps.
// An error names its mask. Each thread has a Scratch of its own, which fn takes as third argument if it wants.
struct NoScratch {};
template <class Scratch = NoScratch, class Fn>
Rle build(int64_t n, int64_t height, int64_t width, int64_t work, Fn&& fn) {
    const int64_t grain = chunk_size(n, work);
    const int64_t parts = std::max<int64_t>(1, (n + grain - 1) / grain);
    std::vector<Rle> pieces(static_cast<size_t>(parts), Rle{height, width, {}, {0}});
    parallel_for(parts, 1, 0, [&](int64_t begin, int64_t end) {
        for (int64_t p = begin; p < end; ++p) {
            RunWriter writer(pieces[p]);
            Scratch scratch;
            for (int64_t i = p * grain; i < std::min(n, (p + 1) * grain); ++i) {
                try {
                    if constexpr (std::is_invocable_v<Fn, int64_t, RunWriter&, Scratch&>) {
                        fn(i, writer, scratch);
                    } else {
                        fn(i, writer);
                    }
                    writer.finish();
                } catch (const std::invalid_argument& error) {
                    throw std::invalid_argument("masks[" + std::to_string(i) + "]: " + error.what());
                }
            }
        }
    });
    Rle whole = std::move(pieces[0]);
    size_t counts = 0;
    for (const Rle& piece : pieces) counts += piece.counts.size();
    whole.counts.reserve(whole.counts.size() + counts);
    for (size_t p = 1; p < pieces.size(); ++p) append(whole, pieces[p]);
    return whole;
}

// From counts that nobody has checked: zero runs are merged; throws when they do not fill the canvas.
Rle from_counts(int64_t height, int64_t width, std::span<const uint32_t> counts, std::span<const int64_t> offsets);

Rle take(const Rle& rle, std::span<const int64_t> indices);
std::vector<int64_t> areas(const Rle& rle);
Box tight_box(std::span<const uint32_t> runs, int64_t height);
std::vector<Box> tight_boxes(const Rle& rle);
// One mask: every pixel that any of them covers.
Rle unite(const Rle& rle);
// The union of each group: group g owns masks [groups[g], groups[g + 1]); no mask gives an empty mask.
Rle unite_groups(const Rle& rle, std::span<const int64_t> groups);
// (N, 6) float64, about pixel centres: area, sum y, sum x, sum yy, sum xx, sum xy.
void moments(const Rle& rle, double* out);

}  // namespace delineate
