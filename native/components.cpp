#include "components.hpp"

#include <numeric>

namespace delineate {

namespace {

int64_t work_of(const Rle& rle) { return 16 * static_cast<int64_t>(rle.counts.size()); }

// Joins spans of neighbouring columns that touch.
struct Labeller {
    std::vector<Span> spans;      // in column order; those of one column do not adjoin
    std::vector<int32_t> labels;  // of each span: 0, 1, ... in the order of first spans
    int32_t count = 0;

    void label(bool diagonal) {
        parents_.resize(spans.size());
        std::iota(parents_.begin(), parents_.end(), 0);
        for (size_t previous = 0, begin = 0, end; begin < spans.size(); previous = begin, begin = end) {
            for (end = begin; end < spans.size() && spans[end].x == spans[begin].x;) ++end;
            if (spans[previous].x + 1 == spans[begin].x) join_columns(previous, begin, end, diagonal);
        }
        labels.resize(spans.size());
        count = 0;
        for (size_t k = 0; k < spans.size(); ++k) {
            const int32_t root = find(static_cast<int32_t>(k));
            labels[k] = root == static_cast<int32_t>(k) ? count++ : labels[root];
        }
    }

    // (count) pixels of each label.
    const std::vector<int64_t>& areas() {
        areas_.assign(static_cast<size_t>(count), 0);
        for (size_t k = 0; k < spans.size(); ++k) areas_[labels[k]] += spans[k].y1 - spans[k].y0;
        return areas_;
    }

   private:
    void join_columns(size_t a, size_t b, size_t end, bool diagonal) {
        const int32_t reach = diagonal ? 1 : 0;
        for (const size_t a_end = b; a < a_end && b < end;) {
            if (spans[a].y0 < spans[b].y1 + reach && spans[b].y0 < spans[a].y1 + reach) join(a, b);
            if (spans[a].y1 < spans[b].y1) {
                ++a;
            } else {
                ++b;
            }
        }
    }
    // The lower index becomes the root, so that a root is the first span of its part.
    void join(size_t a, size_t b) {
        const int32_t first = find(static_cast<int32_t>(a)), second = find(static_cast<int32_t>(b));
        parents_[std::max(first, second)] = std::min(first, second);
    }
    int32_t find(int32_t k) {
        while (parents_[k] != k) k = parents_[k] = parents_[parents_[k]];
        return k;
    }
    std::vector<int32_t> parents_;
    std::vector<int64_t> areas_;
};

void write(const Span& span, int64_t height, RunWriter& writer) {
    writer.ones(span.x * height + span.y0, span.x * height + span.y1);
}

// Writes the parts one after the other, with finish() between them.
void write_parts(const Labeller& parts, int64_t height, RunWriter& writer) {
    std::vector<size_t> starts(static_cast<size_t>(parts.count) + 1), sorted(parts.spans.size());
    for (const int32_t label : parts.labels) ++starts[label + 1];
    for (int32_t p = 0; p < parts.count; ++p) starts[p + 1] += starts[p];
    std::vector<size_t> next(starts.begin(), starts.end() - 1);
    for (size_t k = 0; k < parts.spans.size(); ++k) sorted[next[parts.labels[k]]++] = k;
    for (int32_t p = 0; p < parts.count; ++p) {
        if (p > 0) writer.finish();
        for (size_t k = starts[p]; k < starts[p + 1]; ++k) write(parts.spans[sorted[k]], height, writer);
    }
}

// The vertical gaps of a mask inside its tight box; outside[k] says that gap k reaches the edge of the box.
void find_gaps(const std::vector<Span>& spans, const Box& box, std::vector<Span>& gaps, std::vector<uint8_t>& outside) {
    const auto top = static_cast<int32_t>(box.y0), bottom = static_cast<int32_t>(box.y1);
    gaps.clear();
    outside.clear();
    size_t k = 0;
    for (auto x = static_cast<int32_t>(box.x0); x < box.x1; ++x) {
        const bool edge = x == box.x0 || x + 1 == box.x1;
        int32_t y = top;
        const auto add = [&](int32_t end) {
            if (y < end) {
                gaps.push_back({x, y, end});
                outside.push_back(edge || y == top || end == bottom);
            }
        };
        for (; k < spans.size() && spans[k].x == x; ++k) {
            add(spans[k].y0);
            y = spans[k].y1;
        }
        add(bottom);
    }
}

struct Filler {
    std::vector<Span> spans;
    Labeller gaps;
    std::vector<uint8_t> outside, open;
};

}  // namespace

Parts components(const Rle& rle, bool diagonal) {
    const int64_t n = rle.size();
    std::vector<int64_t> found(static_cast<size_t>(n));
    const int64_t work = work_of(rle);
    Rle parts = build<Labeller>(n, rle.height, rle.width, work, [&](int64_t i, RunWriter& writer, Labeller& mask) {
        collect_spans(rle.runs(i), rle.height, mask.spans);
        mask.label(diagonal);
        found[i] = mask.count;
        write_parts(mask, rle.height, writer);
    });
    Parts out;
    std::vector<int64_t> kept;  // a mask without pixels has left one empty mask behind
    int64_t position = 0;
    for (int64_t i = 0; i < n; ++i) {
        for (int64_t p = 0; p < found[i]; ++p) {
            out.owners.push_back(i);
            kept.push_back(position++);
        }
        if (found[i] == 0) ++position;
    }
    out.masks = static_cast<int64_t>(kept.size()) == parts.size() ? std::move(parts) : take(parts, kept);
    return out;
}

Rle remove_specks(const Rle& rle, int64_t least, bool diagonal) {
    return build<Labeller>(
        rle.size(), rle.height, rle.width, work_of(rle), [&](int64_t i, RunWriter& writer, Labeller& mask) {
            collect_spans(rle.runs(i), rle.height, mask.spans);
            mask.label(diagonal);
            const auto& areas = mask.areas();
            for (size_t k = 0; k < mask.spans.size(); ++k)
                if (areas[mask.labels[k]] >= least) write(mask.spans[k], rle.height, writer);
        });
}

Rle largest_component(const Rle& rle, bool diagonal) {
    return build<Labeller>(
        rle.size(), rle.height, rle.width, work_of(rle), [&](int64_t i, RunWriter& writer, Labeller& mask) {
            collect_spans(rle.runs(i), rle.height, mask.spans);
            mask.label(diagonal);
            const auto& areas = mask.areas();
            const auto best = std::max_element(areas.begin(), areas.end()) - areas.begin();
            for (size_t k = 0; k < mask.spans.size(); ++k)
                if (mask.labels[k] == best) write(mask.spans[k], rle.height, writer);
        });
}

Rle fill_holes(const Rle& rle) {
    const int64_t work = 2 * work_of(rle);
    return build<Filler>(rle.size(), rle.height, rle.width, work, [&](int64_t i, RunWriter& writer, Filler& f) {
        collect_spans(rle.runs(i), rle.height, f.spans);
        find_gaps(f.spans, tight_box(rle.runs(i), rle.height), f.gaps.spans, f.outside);
        f.gaps.label(false);
        f.open.assign(static_cast<size_t>(f.gaps.count), 0);
        for (size_t k = 0; k < f.outside.size(); ++k) f.open[f.gaps.labels[k]] |= f.outside[k];
        size_t g = 0;
        const auto gaps_before = [&](const Span* span) {
            for (; g < f.gaps.spans.size(); ++g) {
                const Span& gap = f.gaps.spans[g];
                if (span && (gap.x > span->x || (gap.x == span->x && gap.y0 > span->y0))) return;
                if (!f.open[f.gaps.labels[g]]) write(gap, rle.height, writer);
            }
        };
        for (const Span& span : f.spans) {
            gaps_before(&span);
            write(span, rle.height, writer);
        }
        gaps_before(nullptr);
    });
}

}  // namespace delineate
