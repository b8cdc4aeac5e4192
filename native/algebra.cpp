#include "algebra.hpp"

#include <queue>

#include "geometry.hpp"

namespace delineate {

namespace {

int64_t work_of(const Rle& rle) { return 4 * static_cast<int64_t>(rle.counts.size()); }

// Ones [begin, end) that belong to mask `owner`.
struct Piece {
    int64_t owner, begin, end;
};

// Pieces of all masks in rising order of positions -> n masks.
Rle gather(const std::vector<Piece>& pieces, int64_t n, int64_t height, int64_t width) {
    std::vector<int64_t> starts(static_cast<size_t>(n) + 1);
    for (const Piece& piece : pieces) ++starts[piece.owner + 1];
    for (int64_t i = 0; i < n; ++i) starts[i + 1] += starts[i];
    std::vector<size_t> sorted(pieces.size());
    std::vector<int64_t> next(starts.begin(), starts.end() - 1);
    for (size_t p = 0; p < pieces.size(); ++p) sorted[next[pieces[p].owner]++] = p;
    return build(n, height, width, 4 * static_cast<int64_t>(pieces.size()), [&](int64_t i, RunWriter& writer) {
        for (int64_t k = starts[i]; k < starts[i + 1]; ++k) writer.ones(pieces[sorted[k]].begin, pieces[sorted[k]].end);
    });
}

}  // namespace

Rle combine(const Rle& a, const Rle& b, Table table) {
    const auto bits = static_cast<unsigned>(table);
    return build(a.size(), a.height, a.width, work_of(a) + work_of(b), [&](int64_t i, RunWriter& writer) {
        const auto first = a.runs(i), second = b.runs(i);
        size_t j = 0, k = 0;
        int64_t end_j = first[0], end_k = second[0];
        for (int64_t at = 0; at < a.pixels();) {
            const int64_t end = std::min(end_j, end_k);
            if (bits >> (j % 2 + 2 * (k % 2)) & 1) writer.ones(at, end);
            at = end;
            if (end_j == at && ++j < first.size()) end_j += first[j];
            if (end_k == at && ++k < second.size()) end_k += second[k];
        }
    });
}

Rle complement(const Rle& rle) { return combine(rle, rle, Table::kNeither); }

Rle resolve(const Rle& rle, std::span<const int64_t> ranks) {
    struct Run {
        int64_t rank, begin, end, owner;
        bool operator<(const Run& other) const { return rank < other.rank; }
    };
    std::vector<Run> runs;
    runs.reserve(rle.counts.size() / 2);
    for (int64_t i = 0; i < rle.size(); ++i)
        for (OnesCursor c(rle.runs(i)); !c.done(); c.next()) runs.push_back({ranks[i], c.begin, c.end, i});
    std::sort(runs.begin(), runs.end(), [](const Run& a, const Run& b) { return a.begin < b.begin; });

    // One pass over all positions. The queue holds the runs that have begun; what has ended goes when it surfaces.
    std::vector<Piece> pieces;
    pieces.reserve(runs.size());
    std::priority_queue<Run> open;
    int64_t at = 0;
    for (size_t k = 0;;) {
        while (!open.empty() && open.top().end <= at) open.pop();
        if (open.empty()) {
            if (k == runs.size()) break;
            at = runs[k].begin;
        }
        while (k < runs.size() && runs[k].begin == at) open.push(runs[k++]);
        const Run& top = open.top();
        const int64_t end = k < runs.size() ? std::min(top.end, runs[k].begin) : top.end;
        pieces.push_back({top.owner, at, end});
        at = end;
    }
    return gather(pieces, rle.size(), rle.height, rle.width);
}

template <class T>
Labels read_labels(const T* map, int64_t height, int64_t width) {
    Labels out;
    std::vector<Piece> pieces;  // row by row, owned by values for now
    const int64_t pixels = height * width;
    for (int64_t at = 0; at < pixels;) {
        const T value = map[at];
        const int64_t begin = at;
        while (at < pixels && map[at] == value) ++at;
        if (value == 0) continue;
        pieces.push_back({static_cast<int64_t>(value), begin, at});
        if (out.values.empty() || out.values.back() != value) out.values.push_back(static_cast<uint32_t>(value));
    }
    std::sort(out.values.begin(), out.values.end());
    out.values.erase(std::unique(out.values.begin(), out.values.end()), out.values.end());
    for (Piece& piece : pieces)
        piece.owner = std::lower_bound(out.values.begin(), out.values.end(), piece.owner) - out.values.begin();
    // Row by row is column by column of the transposed picture.
    out.masks = transpose(gather(pieces, static_cast<int64_t>(out.values.size()), width, height));
    return out;
}

template <class T>
void write_labels(const Rle& rle, std::span<const T> values, T* map) {
    const Rle rows = transpose(rle);
    // Threads share no pixel: each paints a band of rows, of all masks.
    const int64_t grain = std::max<int64_t>(1, (int64_t{1} << 18) / std::max<int64_t>(1, rle.width));
    parallel_for(rle.height, std::max(grain, rle.height / 16), 0, [&](int64_t top, int64_t bottom) {
        const int64_t low = top * rle.width, high = bottom * rle.width;
        for (int64_t i = 0; i < rows.size(); ++i)
            for (OnesCursor c(rows.runs(i)); !c.done() && c.begin < high; c.next())
                if (c.end > low) std::fill(map + std::max(c.begin, low), map + std::min(c.end, high), values[i]);
    });
}

template Labels read_labels(const uint8_t*, int64_t, int64_t);
template Labels read_labels(const uint16_t*, int64_t, int64_t);
template Labels read_labels(const uint32_t*, int64_t, int64_t);
template void write_labels(const Rle&, std::span<const uint8_t>, uint8_t*);
template void write_labels(const Rle&, std::span<const uint16_t>, uint16_t*);
template void write_labels(const Rle&, std::span<const uint32_t>, uint32_t*);

}  // namespace delineate
