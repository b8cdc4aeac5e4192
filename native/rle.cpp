#include "rle.hpp"

#include <string>

#include "bits.hpp"

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

void unite_two(std::span<const uint32_t> first, std::span<const uint32_t> second, RunWriter& writer) {
    OnesCursor a(first), b(second);
    int64_t written = 0;
    while (!a.done() || !b.done()) {
        OnesCursor& next = b.done() || (!a.done() && a.begin <= b.begin) ? a : b;
        writer.ones(std::max(next.begin, written), next.end);
        written = std::max(written, next.end);
        next.next();
    }
}

// In pairs, then pairs of pairs: the runs are read log(n) times instead of n times.
void unite_pairs(const Rle& rle, int64_t begin, int64_t end, RunWriter& writer) {
    const auto halve = [](const Rle& from, int64_t first, int64_t last) {
        Rle to{from.height, from.width, {}, {0}};
        RunWriter half(to);
        for (int64_t i = first; i < last; i += 2) {
            if (i + 1 < last) {
                unite_two(from.runs(i), from.runs(i + 1), half);
            } else {
                half.copy(from.runs(i));
            }
            half.finish();
        }
        return to;
    };
    Rle level = halve(rle, begin, end);
    while (level.size() > 2) level = halve(level, 0, level.size());
    unite_two(level.runs(0), level.runs(1), writer);
}

// Paints all masks into one row of bits over the positions [low, high), and reads that.
void unite_bits(const Rle& rle, int64_t begin, int64_t end, int64_t low, int64_t high, RunWriter& writer) {
    std::vector<uint64_t> bits(static_cast<size_t>((high - low + 63) / 64));
    for (int64_t i = begin; i < end; ++i) {
        for (OnesCursor c(rle.runs(i)); !c.done(); c.next()) {
            const int64_t first = c.begin - low, last = c.end - low - 1;
            const uint64_t head = ~uint64_t{0} << (first % 64), tail = ~uint64_t{0} >> (63 - last % 64);
            if (first / 64 == last / 64) {
                bits[first / 64] |= head & tail;
                continue;
            }
            bits[first / 64] |= head;
            std::fill(bits.begin() + first / 64 + 1, bits.begin() + last / 64, ~uint64_t{0});
            bits[last / 64] |= tail;
        }
    }
    BitScanner scanner(writer);
    for (size_t w = 0; w < bits.size(); ++w) scanner.feed(bits[w], low + 64 * static_cast<int64_t>(w), 64);
    scanner.zeros(low + 64 * static_cast<int64_t>(bits.size()));
}

void unite_some(const Rle& rle, int64_t begin, int64_t end, RunWriter& writer) {
    if (end - begin == 1) return writer.copy(rle.runs(begin));
    if (end - begin == 2) return unite_two(rle.runs(begin), rle.runs(begin + 1), writer);
    int64_t ones = 0, low = rle.pixels(), high = 0;
    for (int64_t i = begin; i < end; ++i) {
        const auto runs = rle.runs(i);
        if (runs.size() < 2) continue;
        for (size_t k = 1; k < runs.size(); k += 2) ones += runs[k];
        low = std::min<int64_t>(low, runs[0]);
        high = std::max(high, rle.pixels() - (runs.size() % 2 ? runs.back() : 0));
    }
    if (high <= low) return;
    if ((ones + high - low) / 64 < 4 * (rle.offsets[end] - rle.offsets[begin])) {
        unite_bits(rle, begin, end, low, high, writer);
    } else {
        unite_pairs(rle, begin, end, writer);
    }
}

}  // namespace

Rle unite_groups(Rle rle, std::span<const int64_t> groups) {
    const int64_t n = static_cast<int64_t>(groups.size()) - 1;
    bool single = n == rle.size();
    for (int64_t g = 0; g < n && single; ++g) single = groups[g] == g;
    if (single) return rle;
    const int64_t work = 4 * static_cast<int64_t>(rle.counts.size());
    return build(n, rle.height, rle.width, work, [&](int64_t g, RunWriter& writer) {
        if (groups[g] < groups[g + 1]) unite_some(rle, groups[g], groups[g + 1], writer);
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
