#include "outline.hpp"

#include "geometry.hpp"

namespace delineate {

namespace {

// A vertical border piece on the line between columns x - 1 and x. Where the left side is covered it is walked downwards,
// else upwards, so that the mask is always on the right hand.
struct Piece {
    int64_t x, y0, y1;
    bool down;
    int64_t start() const { return down ? y0 : y1; }
    int64_t end() const { return down ? y1 : y0; }
};

// Follows the outlines of one mask. Horizontal borders are never stored: all ends of pieces in one row, sorted by x, are
// joined in pairs.
class Tracer {
   public:
    void trace(std::span<const uint32_t> runs, int64_t height, Outlines& out) {
        find_pieces(runs, height);
        join_rows(height);
        follow();
        const auto parents = find_parents();
        emit(parents, out);
    }

   private:
    void find_pieces(std::span<const uint32_t> runs, int64_t height) {
        spans_.clear();
        pieces_.clear();
        for_each_span(runs, height, [&](int64_t x, int64_t y0, int64_t y1) { spans_.push_back({x, y0, y1}); });
        for_each_column_line(spans_, [&](int64_t x, std::span<const Span> left, std::span<const Span> right) {
            size_t i = 0, j = 0;
            const size_t n = 2 * left.size(), m = 2 * right.size();
            const auto end_of = [](std::span<const Span> s, size_t k) { return k % 2 ? s[k / 2].y1 : s[k / 2].y0; };
            int64_t begin = 0;
            while (i < n || j < m) {
                const bool was_left = i % 2 && !(j % 2), was_right = j % 2 && !(i % 2);
                const int64_t a = i < n ? end_of(left, i) : INT64_MAX, b = j < m ? end_of(right, j) : INT64_MAX;
                const int64_t y = std::min(a, b);
                i += a == y;
                j += b == y;
                const bool is_left = i % 2 && !(j % 2), is_right = j % 2 && !(i % 2);
                if (was_left == is_left && was_right == is_right) continue;
                if (was_left || was_right) pieces_.push_back({x, begin, y, was_left});
                begin = y;
            }
        });
    }

    // next_[p]: the piece whose start is joined with the end of p. Two pieces that share an end (or a start) are twins: there
    // two diagonal pixels touch.
    void join_rows(int64_t height) {
        top_ = height;
        bottom_ = 0;
        for (const auto& p : pieces_) {
            top_ = std::min(top_, p.y0);
            bottom_ = std::max(bottom_, p.y1);
        }
        const size_t rows = pieces_.empty() ? 0 : static_cast<size_t>(bottom_ - top_) + 1;
        rows_.assign(rows + 1, 0);
        for (const auto& p : pieces_) {
            ++rows_[p.y0 - top_ + 1];
            ++rows_[p.y1 - top_ + 1];
        }
        for (size_t r = 0; r < rows; ++r) rows_[r + 1] += rows_[r];
        ends_.resize(2 * pieces_.size());
        fill_.assign(rows_.begin(), rows_.end());
        for (size_t p = 0; p < pieces_.size(); ++p) {
            ends_[fill_[pieces_[p].y0 - top_]++] = static_cast<int64_t>(p);
            ends_[fill_[pieces_[p].y1 - top_]++] = static_cast<int64_t>(p);
        }
        next_.resize(pieces_.size());
        twin_end_.assign(pieces_.size(), -1);
        twin_start_.assign(pieces_.size(), -1);
        for (size_t r = 0; r < rows; ++r) join_row(static_cast<int64_t>(r) + top_, rows_[r], rows_[r + 1]);
    }

    void join_row(int64_t y, int64_t begin, int64_t end) {
        for (int64_t k = begin; k + 1 < end; ++k) {
            const int64_t a = ends_[k], b = ends_[k + 1];
            if (pieces_[a].x != pieces_[b].x) continue;
            auto& twin = pieces_[a].end() == y ? twin_end_ : twin_start_;
            twin[a] = b;
            twin[b] = a;
            // The corner of the left pixel belongs to the horizontal border on the left.
            if (!pieces_[a].down) std::swap(ends_[k], ends_[k + 1]);
            ++k;
        }
        for (int64_t k = begin; k + 1 < end; k += 2) {
            const int64_t a = ends_[k], b = ends_[k + 1];
            if (pieces_[a].end() == y) {
                next_[a] = b;
            } else {
                next_[b] = a;
            }
        }
    }

    void follow() {
        ring_of_.assign(pieces_.size(), -1);
        place_.assign(pieces_.size(), -1);
        ring_pieces_.clear();
        ring_starts_.assign(1, 0);
        for (size_t first = 0; first < pieces_.size(); ++first) {
            if (ring_of_[first] >= 0) continue;
            path_.clear();
            int64_t p = static_cast<int64_t>(first);
            do {
                const int64_t same_start = twin_start_[p];
                if (same_start >= 0 && place_[same_start] >= 0) close_ring(place_[same_start]);
                place_[p] = static_cast<int64_t>(path_.size());
                path_.push_back(p);
                const int64_t same_end = twin_end_[p];
                if (same_end >= 0 && place_[same_end] >= 0) close_ring(place_[same_end] + 1);
                p = next_[p];
            } while (p != static_cast<int64_t>(first));
            if (!path_.empty()) close_ring(0);
        }
    }

    // The path from place `from` on has come back to where it was: that is a ring of its own.
    void close_ring(int64_t from) {
        const int64_t ring = static_cast<int64_t>(ring_starts_.size()) - 1;
        for (size_t k = static_cast<size_t>(from); k < path_.size(); ++k) {
            ring_of_[path_[k]] = ring;
            place_[path_[k]] = -1;
            ring_pieces_.push_back(path_[k]);
        }
        path_.resize(static_cast<size_t>(from));
        ring_starts_.push_back(static_cast<int64_t>(ring_pieces_.size()));
    }

    // For every ring the exterior that it is a hole of, or -1 for an exterior.
    std::vector<int64_t> find_parents() {
        const size_t rings = ring_starts_.size() - 1;
        std::vector<int64_t> parents(rings, -1), leftmost(rings);
        bool holes = false;
        for (size_t r = 0; r < rings; ++r) {
            const auto begin = ring_pieces_.begin() + ring_starts_[r], end = ring_pieces_.begin() + ring_starts_[r + 1];
            leftmost[r] = *std::min_element(begin, end);  // pieces are numbered from left to right
            holes |= pieces_[leftmost[r]].down;           // covered on its left: this ring is a hole
        }
        if (!holes) return parents;
        // From left to right: what a hole sees to its left is its exterior, or a hole whose exterior is known.
        std::vector<int64_t> seen(static_cast<size_t>(bottom_ - top_), -1);
        for (size_t p = 0; p < pieces_.size(); ++p) {
            const auto& piece = pieces_[p];
            const int64_t ring = ring_of_[p];
            if (piece.down && leftmost[ring] == static_cast<int64_t>(p)) {
                const int64_t left = ring_of_[seen[piece.y0 - top_]];
                parents[ring] = parents[left] < 0 ? left : parents[left];
            }
            std::fill(seen.begin() + (piece.y0 - top_), seen.begin() + (piece.y1 - top_), static_cast<int64_t>(p));
        }
        return parents;
    }

    void emit(const std::vector<int64_t>& parents, Outlines& out) {
        const size_t rings = parents.size();
        std::vector<std::vector<size_t>> holes(rings);
        for (size_t r = 0; r < rings; ++r)
            if (parents[r] >= 0) holes[parents[r]].push_back(r);
        for (size_t r = 0; r < rings; ++r) {
            if (parents[r] >= 0) continue;
            emit_ring(r, out);
            for (const size_t hole : holes[r]) emit_ring(hole, out);
        }
        out.masks.push_back(static_cast<int64_t>(out.rings.size()) - 1);
    }

    void emit_ring(size_t r, Outlines& out) {
        for (int64_t k = ring_starts_[r]; k < ring_starts_[r + 1]; ++k) {
            const auto& p = pieces_[ring_pieces_[k]];
            for (const int64_t y : {p.start(), p.end()}) {
                out.points.push_back(static_cast<int32_t>(p.x));
                out.points.push_back(static_cast<int32_t>(y));
            }
        }
        out.rings.push_back(static_cast<int64_t>(out.points.size() / 2));
    }

    int64_t top_ = 0, bottom_ = 0;
    std::vector<Span> spans_;
    std::vector<Piece> pieces_;
    std::vector<int64_t> rows_, ends_, fill_;            // ends_[rows_[r], rows_[r + 1]): pieces that end in a row, by x
    std::vector<int64_t> next_, twin_end_, twin_start_;  // by piece; -1: none
    std::vector<int64_t> ring_of_, place_, path_;        // place_: by piece, where it is in the path, or -1
    std::vector<int64_t> ring_pieces_, ring_starts_;
};

// Column by column with 64 rows in a word; only three columns of the mask and of its border are kept.
class BorderMeter {
   public:
    double measure(std::span<const uint32_t> runs, int64_t height) {
        const Box box = tight_box(runs, height);
        if (box.empty()) return 0;
        // One empty word before and after, so that neighbours are always there.
        words_ = static_cast<size_t>((box.height() + 63) / 64) + 2;
        for (auto* columns : {mask_, border_})
            for (int k = 0; k < 3; ++k) columns[k].assign(words_, 0);
        ones_ = diagonals_ = halves_ = 0;
        int64_t next = box.x0;
        const auto step = [&] {
            take_border();
            count();
            std::rotate(mask_, mask_ + 1, mask_ + 3);
            std::rotate(border_, border_ + 1, border_ + 3);
            std::fill(mask_[2].begin(), mask_[2].end(), 0);
            ++next;
        };
        for_each_span(runs, height, [&](int64_t x, int64_t y0, int64_t y1) {
            while (next < x) step();
            paint(y0 - box.y0 + 64, y1 - box.y0 + 64);
        });
        for (int k = 0; k < 3; ++k) step();
        return static_cast<double>(ones_) + static_cast<double>(diagonals_) * kRoot2 +
               static_cast<double>(halves_) * (1 + kRoot2) / 2;
    }

   private:
    static constexpr double kRoot2 = 1.4142135623730951;
    using Column = std::vector<uint64_t>;

    // Sets rows [begin, end) of the newest column.
    void paint(int64_t begin, int64_t end) {
        for (int64_t y = begin; y < end;) {
            const int64_t count = std::min(end - y, 64 - y % 64);
            const uint64_t bits = count == 64 ? ~uint64_t{0} : ((uint64_t{1} << count) - 1) << (y % 64);
            mask_[2][static_cast<size_t>(y / 64)] |= bits;
            y += count;
        }
    }
    static uint64_t above(const Column& c, size_t w) { return c[w] << 1 | c[w - 1] >> 63; }
    static uint64_t below(const Column& c, size_t w) { return c[w] >> 1 | c[w + 1] << 63; }

    // The border of the middle column: covered pixels with an uncovered neighbour among four.
    void take_border() {
        for (size_t w = 1; w + 1 < words_; ++w) {
            const uint64_t inner = above(mask_[1], w) & below(mask_[1], w) & mask_[0][w] & mask_[2][w];
            border_[2][w] = mask_[1][w] & ~inner;
        }
    }

    // A number from 0 to 4 in each bit position.
    struct Sum {
        uint64_t bit0, bit1, bit2;
        Sum(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
            const uint64_t carry = (a ^ b) & (c ^ d);
            bit0 = a ^ b ^ c ^ d;
            bit1 = (a & b) ^ (c & d) ^ carry;
            bit2 = a & b & c & d;
        }
        uint64_t is(int n) const { return (n & 1 ? bit0 : ~bit0) & (n & 2 ? bit1 : ~bit1) & (n & 4 ? bit2 : ~bit2); }
    };

    // Sorts the border pixels of the middle border column by how many border pixels are beside them and diagonal to them.
    void count() {
        const Column &left = border_[0], &middle = border_[1], &right = border_[2];
        for (size_t w = 1; w + 1 < words_; ++w) {
            if (!middle[w]) continue;
            const Sum beside(left[w], right[w], above(middle, w), below(middle, w));
            const Sum diagonal(above(left, w), below(left, w), above(right, w), below(right, w));
            const uint64_t straight = (beside.is(2) | beside.is(3)) & (diagonal.is(0) | diagonal.is(1) | diagonal.is(2));
            const uint64_t slanted = (beside.is(0) & diagonal.is(2)) | (beside.is(1) & diagonal.is(3));
            const uint64_t mixed = beside.is(1) & (diagonal.is(1) | diagonal.is(2));
            ones_ += __builtin_popcountll(middle[w] & straight);
            diagonals_ += __builtin_popcountll(middle[w] & slanted);
            halves_ += __builtin_popcountll(middle[w] & mixed);
        }
    }

    size_t words_ = 0;
    Column mask_[3], border_[3];  // from left to right; border_ is one column behind mask_
    int64_t ones_ = 0, diagonals_ = 0, halves_ = 0;
};

}  // namespace

Outlines trace(const Rle& rle) {
    const int64_t n = rle.size();
    const int64_t grain = worth_a_thread(n, 32 * static_cast<int64_t>(rle.counts.size()));
    std::vector<Outlines> parts(static_cast<size_t>(std::max<int64_t>(1, (n + grain - 1) / grain)));
    parallel_for(static_cast<int64_t>(parts.size()), 1, 0, [&](int64_t begin, int64_t end) {
        Tracer tracer;
        for (int64_t p = begin; p < end; ++p)
            for (int64_t i = p * grain; i < std::min(n, (p + 1) * grain); ++i)
                tracer.trace(rle.runs(i), rle.height, parts[p]);
    });
    Outlines whole = std::move(parts[0]);
    for (size_t p = 1; p < parts.size(); ++p) {
        const int64_t points = whole.rings.back(), rings = whole.masks.back();
        whole.points.insert(whole.points.end(), parts[p].points.begin(), parts[p].points.end());
        for (size_t r = 1; r < parts[p].rings.size(); ++r) whole.rings.push_back(points + parts[p].rings[r]);
        for (size_t m = 1; m < parts[p].masks.size(); ++m) whole.masks.push_back(rings + parts[p].masks[m]);
    }
    return whole;
}

std::vector<double> perimeters(const Rle& rle) {
    std::vector<double> out(static_cast<size_t>(rle.size()));
    const int64_t grain = worth_a_thread(rle.size(), 32 * static_cast<int64_t>(rle.counts.size()));
    parallel_for(rle.size(), grain, 0, [&](int64_t begin, int64_t end) {
        BorderMeter meter;
        for (int64_t i = begin; i < end; ++i) out[i] = meter.measure(rle.runs(i), rle.height);
    });
    return out;
}

}  // namespace delineate
