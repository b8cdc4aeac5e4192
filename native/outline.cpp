#include "outline.hpp"

#include <bit>
#include <numeric>
#include <tuple>

#include "geometry.hpp"

namespace delineate {

namespace {

// A vertical border piece on the line between columns x - 1 and x. Where the left side is covered it is walked downwards,
// else upwards, so that the mask is always on the right hand.
struct Piece {
    int32_t x, y0, y1;
    bool down;
    int32_t start() const { return down ? y0 : y1; }
    int32_t end() const { return down ? y1 : y0; }
};

// Follows the outlines of one mask. Horizontal borders are never stored: all ends of pieces in one row, sorted by x, are
// joined in pairs.
class Tracer {
   public:
    void trace(std::span<const uint32_t> runs, int64_t height, Outlines& out) {
        find_pieces(runs, height);
        join_rows(height);
        follow();
        const bool holes = find_parents();
        emit(holes, out);
    }

   private:
    void find_pieces(std::span<const uint32_t> runs, int64_t height) {
        pieces_.clear();
        collect_spans(runs, height, spans_);
        for_each_vertical_edge(spans_, [&](int32_t x, int32_t y0, int32_t y1, bool opens) {
            pieces_.push_back({x, y0, y1, !opens});
        });
    }

    // Puts the ends of pieces in order, row by row and by x, and joins them in pairs.
    void join_rows(int64_t height) {
        top_ = static_cast<int32_t>(height);
        int32_t bottom = 0;
        for (const auto& p : pieces_) {
            top_ = std::min(top_, p.y0);
            bottom = std::max(bottom, p.y1);
        }
        rows_ = pieces_.empty() ? 0 : bottom - top_ + 1;
        row_ends_.assign(static_cast<size_t>(rows_) + 1, 0);
        for (const auto& p : pieces_) {
            ++row_ends_[p.y0 - top_ + 1];
            ++row_ends_[p.y1 - top_ + 1];
        }
        for (int32_t r = 0; r < rows_; ++r) row_ends_[r + 1] += row_ends_[r];
        ends_.resize(2 * pieces_.size());
        links_.assign(pieces_.size(), Link{});
        for (size_t p = 0; p < pieces_.size(); ++p) {
            ends_[row_ends_[pieces_[p].y0 - top_]++] = static_cast<int32_t>(p);
            ends_[row_ends_[pieces_[p].y1 - top_]++] = static_cast<int32_t>(p);
        }
        // Now row_ends_[r] is where row r ends.
        for (int32_t r = 0, begin = 0; r < rows_; begin = row_ends_[r++]) join_row(r + top_, begin, row_ends_[r]);
    }

    void join_row(int32_t y, int32_t begin, int32_t end) {
        for (int32_t k = begin; k + 1 < end; ++k) {
            const int32_t a = ends_[k], b = ends_[k + 1];
            if (pieces_[a].x != pieces_[b].x) continue;
            const auto twin = pieces_[a].end() == y ? &Link::twin_end : &Link::twin_start;
            links_[a].*twin = b;
            links_[b].*twin = a;
            // The corner of the left pixel belongs to the horizontal border on the left.
            if (!pieces_[a].down) std::swap(ends_[k], ends_[k + 1]);
            ++k;
        }
        for (int32_t k = begin; k + 1 < end; k += 2) {
            const int32_t a = ends_[k], b = ends_[k + 1];
            if (pieces_[a].end() == y) {
                links_[a].next = b;
            } else {
                links_[b].next = a;
            }
        }
    }

    void follow() {
        ring_pieces_.clear();
        ring_starts_.assign(1, 0);
        for (size_t k = 0; k < pieces_.size(); ++k) {
            if (links_[k].ring >= 0) continue;
            path_.clear();
            const int32_t first = static_cast<int32_t>(k);
            int32_t p = first;
            do {
                Link& link = links_[p];
                if (link.twin_start >= 0 && links_[link.twin_start].place >= 0) close_ring(links_[link.twin_start].place);
                link.place = static_cast<int32_t>(path_.size());
                path_.push_back(p);
                if (link.twin_end >= 0 && links_[link.twin_end].place >= 0) close_ring(links_[link.twin_end].place + 1);
                p = link.next;
            } while (p != first);
            if (!path_.empty()) close_ring(0);
        }
    }

    // The path from place `from` on has come back to where it was: that is a ring of its own.
    void close_ring(int32_t from) {
        const int32_t ring = static_cast<int32_t>(ring_starts_.size()) - 1;
        for (size_t k = static_cast<size_t>(from); k < path_.size(); ++k) {
            links_[path_[k]].ring = ring;
            links_[path_[k]].place = -1;
            ring_pieces_.push_back(path_[k]);
        }
        path_.resize(static_cast<size_t>(from));
        ring_starts_.push_back(static_cast<int32_t>(ring_pieces_.size()));
    }

    // Of every ring: the exterior that it is a hole of, or -1 for an exterior. Returns whether there are holes.
    bool find_parents() {
        const size_t rings = ring_starts_.size() - 1;
        parents_.assign(rings, -1);
        leftmost_.resize(rings);
        bool holes = false;
        for (size_t r = 0; r < rings; ++r) {
            const auto begin = ring_pieces_.begin() + ring_starts_[r], end = ring_pieces_.begin() + ring_starts_[r + 1];
            leftmost_[r] = *std::min_element(begin, end);  // pieces are numbered from left to right
            holes |= pieces_[leftmost_[r]].down;           // covered on its left: this ring is a hole
        }
        if (!holes) return false;
        // From left to right: what a hole sees to its left is its exterior, or a hole whose exterior is known.
        std::vector<int32_t> seen(static_cast<size_t>(rows_), -1);
        for (size_t p = 0; p < pieces_.size(); ++p) {
            const auto& piece = pieces_[p];
            const int32_t ring = links_[p].ring;
            if (piece.down && leftmost_[ring] == static_cast<int32_t>(p)) {
                const int32_t left = links_[seen[piece.y0 - top_]].ring;
                parents_[ring] = parents_[left] < 0 ? left : parents_[left];
            }
            std::fill(seen.begin() + (piece.y0 - top_), seen.begin() + (piece.y1 - top_), static_cast<int32_t>(p));
        }
        return true;
    }

    void emit(bool holes, Outlines& out) {
        const size_t rings = parents_.size();
        order_.resize(rings);
        std::iota(order_.begin(), order_.end(), 0);
        const auto exterior = [&](int32_t r) { return parents_[r] < 0 ? r : parents_[r]; };
        if (holes)
            std::sort(order_.begin(), order_.end(), [&](int32_t a, int32_t b) {
                return std::tuple(exterior(a), a != exterior(a), a) < std::tuple(exterior(b), b != exterior(b), b);
            });
        for (const int32_t r : order_) {
            for (int32_t k = ring_starts_[r]; k < ring_starts_[r + 1]; ++k) {
                const auto& p = pieces_[ring_pieces_[k]];
                out.points.insert(out.points.end(), {p.x, p.start(), p.x, p.end()});
            }
            out.rings.push_back(static_cast<int64_t>(out.points.size() / 2));
        }
        out.masks.push_back(static_cast<int64_t>(out.rings.size()) - 1);
    }

    // How a piece hangs together with others, by number; -1: not, or not yet.
    struct Link {
        int32_t next = -1;                        // the piece whose start is joined with the end of this one
        int32_t twin_start = -1, twin_end = -1;   // shares its start (its end) with this one: two diagonal pixels touch
        int32_t place = -1, ring = -1;            // in the path, and once the path has closed
    };
    int32_t top_ = 0, rows_ = 0;
    std::vector<Span> spans_;
    std::vector<Piece> pieces_;
    std::vector<Link> links_;
    std::vector<int32_t> row_ends_, ends_;  // the pieces that begin or end in each row
    std::vector<int32_t> path_, ring_pieces_, ring_starts_;
    std::vector<int32_t> parents_, leftmost_, order_;
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
            ones_ += std::popcount(middle[w] & straight);
            diagonals_ += std::popcount(middle[w] & slanted);
            halves_ += std::popcount(middle[w] & mixed);
        }
    }

    size_t words_ = 0;
    Column mask_[3], border_[3];  // from left to right; border_ is one column behind mask_
    int64_t ones_ = 0, diagonals_ = 0, halves_ = 0;
};

}  // namespace

Outlines trace(const Rle& rle) {
    const int64_t n = rle.size();
    const int64_t grain = chunk_size(n, 32 * static_cast<int64_t>(rle.counts.size()));
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
