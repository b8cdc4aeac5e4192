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
    // The columns follow from the first and the last covered position. Of every run the row where it starts is followed,
    // from start to start: one addition and one subtraction that wait for each other.
    const size_t ones = runs.size() / 2;
    int64_t total = runs[0], y = runs[0] % height, top = height, bottom = 0;
    for (size_t k = 1;; k += 2) {
        const int64_t end = y + runs[k];
        top = std::min(top, end > height ? 0 : y);
        bottom = std::max(bottom, std::min(end, height));
        total += runs[k];
        if (k == 2 * ones - 1) break;
        int64_t step = int64_t{runs[k]} + runs[k + 1];
        total += runs[k + 1];
        if (step >= 2 * height) step %= height;
        step -= step >= height ? height : 0;
        const int64_t below = y + step, wrapped = y + (step - height);
        y = wrapped >= 0 ? wrapped : below;
    }
    return {runs[0] / height, top, (total - 1) / height + 1, bottom};
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

// Paints all masks into one row of bits over the positions [low, high), and reads that. No branch depends on how long a run
// is: its two ends are painted, and of the words between them only the count of runs that begin and end is kept.
void unite_bits(const Rle& rle, int64_t begin, int64_t end, int64_t low, int64_t high, RunWriter& writer) {
    struct Word {
        uint64_t ends = 0;
        int64_t change = 0;  // of the number of runs that cover the whole word
    };
    std::vector<Word> words(static_cast<size_t>((high - low + 63) / 64) + 1);
    for (int64_t i = begin; i < end; ++i) {
        for (OnesCursor c(rle.runs(i)); !c.done(); c.next()) {
            const int64_t first = c.begin - low, last = c.end - low - 1;
            const uint64_t head = ~uint64_t{0} << (first % 64), tail = ~uint64_t{0} >> (63 - last % 64);
            Word* const one = words.data() + first / 64;
            Word* const other = words.data() + last / 64;
            const bool apart = one != other;
            one->ends |= apart ? head : head & tail;
            other->ends |= apart ? tail : 0;
            one[1].change += apart;
            other->change -= apart;
        }
    }
    BitScanner scanner(writer);
    int64_t position = low, covering = 0;
    for (const Word& word : words) {
        covering += word.change;
        scanner.feed(covering > 0 ? ~uint64_t{0} : word.ends, position, 64);
        position += 64;
    }
    scanner.zeros(position);
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

Rle unite_groups(const Rle& rle, std::span<const int64_t> groups) {
    const int64_t n = static_cast<int64_t>(groups.size()) - 1;
    const int64_t work = 4 * static_cast<int64_t>(rle.counts.size());
    return build(n, rle.height, rle.width, work, [&](int64_t g, RunWriter& writer) {
        if (groups[g] < groups[g + 1]) unite_some(rle, groups[g], groups[g + 1], writer);
    });
}

Rle unite(const Rle& rle) {
    // Where there are threads and enough to do: unions of parts first.
    const int64_t n = rle.size(), threads = available_threads();
    const int64_t grain = std::max((n + threads - 1) / threads, worth_a_thread(n, 4 * static_cast<int64_t>(rle.counts.size())));
    std::vector<int64_t> bounds{0};
    while (bounds.back() < n) bounds.push_back(std::min(n, bounds.back() + grain));
    const int64_t all[] = {0, n}, parts[] = {0, static_cast<int64_t>(bounds.size()) - 1};
    return bounds.size() <= 2 ? unite_groups(rle, all) : unite_groups(unite_groups(rle, bounds), parts);
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
