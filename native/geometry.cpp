#include "geometry.hpp"

namespace delineate {

namespace {

using Spans = std::vector<Span>;

int64_t work_of(const Rle& rle) { return 8 * static_cast<int64_t>(rle.counts.size()); }

// For 0 .. source: the first target pixel whose source pixel is at least that.
std::vector<int64_t> first_targets(int64_t source, int64_t target) {
    std::vector<int64_t> first(static_cast<size_t>(source) + 1, target);
    int64_t next = 0;
    for (int64_t i = 0; i < target; ++i) {
        const int64_t from = (2 * i + 1) * source / (2 * target);
        while (next <= from) first[next++] = i;
    }
    return first;
}

}  // namespace

void RowReader::collect(std::span<const uint32_t> runs, int64_t height) {
    edges_.clear();
    collect_spans(runs, height, spans_);
    for_each_vertical_edge(spans_, [&](int32_t x, int32_t y0, int32_t y1, bool) { edges_.push_back({x, y0, y1}); });
    top_ = height;
    bottom_ = 0;
    for (const auto& edge : edges_) {
        top_ = std::min<int64_t>(top_, edge.y0);
        bottom_ = std::max<int64_t>(bottom_, edge.y1);
    }
    bottom_ = std::max(top_, bottom_);
    const size_t rows = static_cast<size_t>(bottom_ - top_);
    starts_.assign(rows + 2, 0);
    for (const auto& edge : edges_) {
        ++starts_[edge.y0 - top_ + 1];
        --starts_[edge.y1 - top_ + 1];
    }
    // Twice summed: changes of the number of toggles -> toggles of each row -> where each row starts.
    int64_t in_row = 0;
    for (size_t y = 0; y < rows; ++y) {
        in_row += starts_[y + 1];
        starts_[y + 1] = starts_[y] + in_row;
    }
    starts_.resize(rows + 1);
    toggles_.resize(static_cast<size_t>(starts_[rows]));
    next_.assign(starts_.begin(), starts_.end());
    for (const auto& edge : edges_)
        for (int64_t y = edge.y0; y < edge.y1; ++y) toggles_[next_[y - top_]++] = edge.x;
}

Rle transpose(const Rle& rle) {
    const int64_t work = 4 * work_of(rle);
    return build<RowReader>(rle.size(), rle.width, rle.height, work, [&](int64_t i, RunWriter& writer, RowReader& rows) {
        rows.for_each_run(rle.runs(i), rle.height, [&](int64_t y, int64_t x0, int64_t x1) {
            writer.ones(y * rle.width + x0, y * rle.width + x1);
        });
    });
}

Rle flip_horizontal(const Rle& rle) {
    return build<Spans>(rle.size(), rle.height, rle.width, work_of(rle), [&](int64_t i, RunWriter& writer, Spans& spans) {
        collect_spans(rle.runs(i), rle.height, spans);
        for (size_t end = spans.size(); end > 0;) {
            size_t begin = end;
            while (begin > 0 && spans[begin - 1].x == spans[end - 1].x) --begin;
            const int64_t base = (rle.width - 1 - spans[begin].x) * rle.height;
            for (size_t k = begin; k < end; ++k) writer.ones(base + spans[k].y0, base + spans[k].y1);
            end = begin;
        }
    });
}

Rle rotate180(const Rle& rle) {
    return build(rle.size(), rle.height, rle.width, work_of(rle), [&](int64_t i, RunWriter& writer) {
        const auto runs = rle.runs(i);
        int64_t position = rle.pixels();
        for (const auto count : runs) position -= count;
        for (size_t k = runs.size(); k-- > 0;) {
            if (k % 2) writer.ones(position, position + runs[k]);
            position += runs[k];
        }
    });
}

Rle flip_vertical(const Rle& rle) { return flip_horizontal(rotate180(rle)); }

Rle shift(const Rle& rle, std::span<const int64_t> dy, std::span<const int64_t> dx, int64_t height, int64_t width) {
    return build(rle.size(), height, width, work_of(rle), [&](int64_t i, RunWriter& writer) {
        for_each_span(rle.runs(i), rle.height, [&](int64_t x, int64_t y0, int64_t y1) {
            if (x + dx[i] < 0 || x + dx[i] >= width) return;
            const int64_t base = (x + dx[i]) * height;
            writer.ones(base + std::clamp<int64_t>(y0 + dy[i], 0, height), base + std::clamp<int64_t>(y1 + dy[i], 0, height));
        });
    });
}

Rle shift(const Rle& rle, int64_t dy, int64_t dx, int64_t height, int64_t width) {
    const std::vector<int64_t> down(static_cast<size_t>(rle.size()), dy), right(static_cast<size_t>(rle.size()), dx);
    return shift(rle, down, right, height, width);
}

Rle resize(const Rle& rle, int64_t height, int64_t width) {
    const auto rows = first_targets(rle.height, height), columns = first_targets(rle.width, width);
    const double scale = static_cast<double>(width) / static_cast<double>(std::max<int64_t>(1, rle.width));
    const int64_t work = static_cast<int64_t>(static_cast<double>(work_of(rle)) * std::max(1.0, scale));
    return build<Spans>(rle.size(), height, width, work, [&](int64_t i, RunWriter& writer, Spans& spans) {
        collect_spans(rle.runs(i), rle.height, spans);
        for (size_t begin = 0, end; begin < spans.size(); begin = end) {
            const int64_t x = spans[begin].x;
            for (end = begin; end < spans.size() && spans[end].x == x;) ++end;
            for (int64_t j = columns[x]; j < columns[x + 1]; ++j)
                for (size_t k = begin; k < end; ++k)
                    writer.ones(j * height + rows[spans[k].y0], j * height + rows[spans[k].y1]);
        }
    });
}

}  // namespace delineate
