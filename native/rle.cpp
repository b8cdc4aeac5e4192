#include "rle.hpp"

#include <string>

namespace delineate {

void append(Rle& whole, const Rle& part) {
    const int64_t base = static_cast<int64_t>(whole.counts.size());
    whole.counts.insert(whole.counts.end(), part.counts.begin(), part.counts.end());
    whole.offsets.reserve(whole.offsets.size() + part.offsets.size() - 1);
    for (size_t i = 1; i < part.offsets.size(); ++i) whole.offsets.push_back(base + part.offsets[i]);
}

Rle from_counts(int64_t height, int64_t width, std::span<const uint32_t> counts, std::span<const int64_t> offsets) {
    const int64_t n = static_cast<int64_t>(offsets.size()) - 1;
    return build(n, height, width, static_cast<int64_t>(counts.size()), [&](int64_t i, RunWriter& writer) {
        int64_t position = 0;
        bool value = false;
        for (int64_t k = offsets[i]; k < offsets[i + 1]; ++k) {
            if (value) writer.ones(position, position + counts[k]);
            position += counts[k];
            value = !value;
        }
        if (position != height * width)
            throw std::invalid_argument("counts must sum to " + std::to_string(height * width) + " (" +
                                        std::to_string(height) + " x " + std::to_string(width) + "), got " +
                                        std::to_string(position) + ". Check the size that belongs to these counts.");
    });
}

Rle take(const Rle& rle, std::span<const int64_t> indices) {
    Rle out{rle.height, rle.width, {}, {0}};
    size_t total = 0;
    for (const int64_t i : indices) total += rle.runs(i).size();
    out.counts.reserve(total);
    out.offsets.reserve(indices.size() + 1);
    for (const int64_t i : indices) {
        const auto runs = rle.runs(i);
        out.counts.insert(out.counts.end(), runs.begin(), runs.end());
        out.offsets.push_back(static_cast<int64_t>(out.counts.size()));
    }
    return out;
}

std::vector<int64_t> areas(const Rle& rle) {
    std::vector<int64_t> out(static_cast<size_t>(rle.size()));
    for (int64_t i = 0; i < rle.size(); ++i) {
        const auto runs = rle.runs(i);
        int64_t area = 0;
        for (size_t k = 1; k < runs.size(); k += 2) area += runs[k];
        out[i] = area;
    }
    return out;
}

Box tight_box(std::span<const uint32_t> runs, int64_t height) {
    if (runs.size() < 2) return {};
    int64_t x = 0, y = 0, top = height, bottom = 0;
    const auto advance = [&](int64_t count) {
        y += count;
        if (y < height) return;
        const int64_t columns = y < 2 * height ? 1 : y / height;
        x += columns;
        y -= columns * height;
    };
    advance(runs[0]);
    const int64_t first = x;
    int64_t last = x;
    for (size_t k = 1; k < runs.size(); k += 2) {
        if (k > 1) advance(runs[k - 1]);
        const int64_t end = y + runs[k];
        top = std::min(top, end > height ? 0 : y);
        bottom = std::max(bottom, std::min(end, height));
        last = end <= height ? x : x + (end - 1) / height;
        advance(runs[k]);
    }
    return {first, top, last + 1, bottom};
}

std::vector<Box> tight_boxes(const Rle& rle) {
    std::vector<Box> out(static_cast<size_t>(rle.size()));
    const int64_t grain = worth_a_thread(rle.size(), static_cast<int64_t>(rle.counts.size()));
    parallel_for(rle.size(), grain, 0, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) out[i] = tight_box(rle.runs(i), rle.height);
    });
    return out;
}

namespace {

// The union of two masks: walk both lists of runs at once.
void unite_two(std::span<const uint32_t> a, std::span<const uint32_t> b, RunWriter& writer) {
    size_t i = 1, j = 1;
    int64_t a_begin = a[0], b_begin = b[0];
    const auto next = [](std::span<const uint32_t> runs, size_t& k, int64_t& begin) {
        begin += runs[k];
        ++k;
        if (k < runs.size()) begin += runs[k];
        ++k;
    };
    int64_t written = 0;
    while (i < a.size() || j < b.size()) {
        const bool from_a = j >= b.size() || (i < a.size() && a_begin <= b_begin);
        const int64_t begin = from_a ? a_begin : b_begin;
        const int64_t end = begin + (from_a ? a[i] : b[j]);
        writer.ones(std::max(begin, written), end);
        written = std::max(written, end);
        if (from_a) {
            next(a, i, a_begin);
        } else {
            next(b, j, b_begin);
        }
    }
}

}  // namespace

Rle unite_groups(const Rle& rle, std::span<const int64_t> groups) {
    const int64_t n = static_cast<int64_t>(groups.size()) - 1;
    const int64_t work = 4 * static_cast<int64_t>(rle.counts.size());
    return build(n, rle.height, rle.width, work, [&](int64_t g, RunWriter& writer) {
        const int64_t begin = groups[g], end = groups[g + 1];
        if (begin == end) return;
        // Pairs, then pairs of pairs: the runs are read log(n) times instead of n times.
        std::vector<Rle> level;
        for (int64_t i = begin; i < end; i += 2) {
            Rle one{rle.height, rle.width, {}, {0}};
            RunWriter pair(one);
            if (i + 1 < end) {
                unite_two(rle.runs(i), rle.runs(i + 1), pair);
                pair.finish();
            } else {
                const int64_t index[] = {i};
                one = take(rle, index);
            }
            level.push_back(std::move(one));
        }
        while (level.size() > 1) {
            std::vector<Rle> above;
            for (size_t i = 0; i + 1 < level.size(); i += 2) {
                Rle one{rle.height, rle.width, {}, {0}};
                RunWriter pair(one);
                unite_two(level[i].runs(0), level[i + 1].runs(0), pair);
                pair.finish();
                above.push_back(std::move(one));
            }
            if (level.size() % 2) above.push_back(std::move(level.back()));
            level = std::move(above);
        }
        int64_t position = 0;
        const auto runs = level[0].runs(0);
        for (size_t k = 0; k < runs.size(); ++k) {
            if (k % 2) writer.ones(position, position + runs[k]);
            position += runs[k];
        }
    });
}

Rle unite(const Rle& rle) {
    const int64_t all[] = {0, rle.size()};
    return unite_groups(rle, all);
}

void moments(const Rle& rle, double* out) {
    const int64_t grain = worth_a_thread(rle.size(), 4 * static_cast<int64_t>(rle.counts.size()));
    parallel_for(rle.size(), grain, 0, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            double m[6] = {};
            for_each_span(rle.runs(i), rle.height, [&](int64_t column, int64_t y0, int64_t y1) {
                // Sums of y and y * y over [y0, y1) in closed form, around the middle so that nothing cancels.
                const double n = static_cast<double>(y1 - y0), x = static_cast<double>(column);
                const double middle = 0.5 * static_cast<double>(y0 + y1 - 1);
                m[0] += n;
                m[1] += n * middle;
                m[2] += n * x;
                m[3] += n * middle * middle + n * (n * n - 1) / 12;
                m[4] += n * x * x;
                m[5] += n * x * middle;
            });
            std::copy(m, m + 6, out + 6 * i);
        }
    });
}

}  // namespace delineate
