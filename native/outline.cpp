#include "outline.hpp"

#include <bit>
#include <cmath>
#include <numeric>
#include <tuple>
#include <utility>

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

// Follows the outlines of one mask. Horizontal borders are never stored: of all ends of pieces in one row, each is joined
// with the next to its right, in pairs.
class Tracer {
   public:
    void trace(std::span<const uint32_t> runs, int64_t height, Outlines& out) {
        find_pieces(runs, height);
        const size_t first_ring = out.rings.size() - 1, first_value = out.points.size();
        out.points.resize(first_value + 4 * pieces_.size());
        value_ = out.points.data() + first_value;
        leftmost_.clear();
        if (twins_.empty()) {
            follow(out);
        } else {
            follow_touching(out);
        }
        if (find_parents()) move_holes(first_ring, out);
        out.masks.push_back(static_cast<int64_t>(out.rings.size()) - 1);
    }

   private:
    void find_pieces(std::span<const uint32_t> runs, int64_t height) {
        pieces_.clear();
        next_.clear();
        twins_.clear();
        open_.resize(static_cast<size_t>(height) + 1, kNone);  // all are joined again when a mask is done
        collect_spans(runs, height, spans_);
        for_each_vertical_edge(spans_, [&](int32_t x, int32_t y0, int32_t y1, bool opens) { add({x, y0, y1, !opens}); });
    }

    // Pieces come from left to right, and from top to bottom on one line.
    void add(Piece piece) {
        const int32_t p = static_cast<int32_t>(pieces_.size());
        const bool touches = p > 0 && pieces_[p - 1].x == piece.x && pieces_[p - 1].y1 == piece.y0;
        pieces_.push_back(piece);
        next_.push_back(kNone);
        if (touches) {
            twins_.push_back(p);
            // The corner of the left pixel belongs to the horizontal border on the left: where this is not what has just
            // been joined, the two change places.
            if (pieces_[p - 1].down) {
                join(piece.y0, p, !piece.down);
            } else {
                next_[joined_] = p;
                open_[piece.y0] = 2 * (p - 1);
            }
        } else {
            join(piece.y0, p, !piece.down);
        }
        join(piece.y1, p, piece.down);
    }

    // Piece p has its end (or else its start) in row y.
    void join(int32_t y, int32_t p, bool end) {
        const int32_t open = open_[y];
        if (open == kNone) {
            open_[y] = 2 * p + end;
            return;
        }
        open_[y] = kNone;
        joined_ = end ? p : open / 2;
        next_[joined_] = end ? open / 2 : p;
    }

    // Afterwards next_[p] is -1 - the ring of piece p.
    void follow(Outlines& out) {
        for (size_t k = 0; k < pieces_.size(); ++k) {
            if (next_[k] < 0) continue;
            const int32_t first = static_cast<int32_t>(k), ring = static_cast<int32_t>(leftmost_.size());
            int32_t p = first;
            do {
                emit(p);
                p = std::exchange(next_[p], -1 - ring);
            } while (p != first);
            leftmost_.push_back(first);  // pieces are numbered from left to right
            end_ring(out);
        }
    }

    // The same where pixels touch at a corner: a path that comes back to such a corner has closed a ring.
    void follow_touching(Outlines& out) {
        links_.assign(pieces_.size(), Link{});
        for (const int32_t b : twins_) {
            const int32_t a = b - 1;
            const auto twin = pieces_[a].down ? &Link::twin_end : &Link::twin_start;
            links_[a].*twin = b;
            links_[b].*twin = a;
        }
        for (size_t k = 0; k < pieces_.size(); ++k) {
            if (next_[k] < 0) continue;
            path_.clear();
            const int32_t first = static_cast<int32_t>(k);
            int32_t p = first;
            do {
                Link& link = links_[p];
                const int32_t next = next_[p];
                if (link.twin_start >= 0 && links_[link.twin_start].place >= 0)
                    close_ring(links_[link.twin_start].place, out);
                link.place = static_cast<int32_t>(path_.size());
                path_.push_back(p);
                if (link.twin_end >= 0 && links_[link.twin_end].place >= 0)
                    close_ring(links_[link.twin_end].place + 1, out);
                p = next;
            } while (p != first);
            if (!path_.empty()) close_ring(0, out);
        }
    }

    // The path from place `from` on has come back to where it was: that is a ring of its own.
    void close_ring(int32_t from, Outlines& out) {
        const int32_t ring = static_cast<int32_t>(leftmost_.size());
        leftmost_.push_back(*std::min_element(path_.begin() + from, path_.end()));
        for (size_t k = static_cast<size_t>(from); k < path_.size(); ++k) {
            emit(path_[k]);
            next_[path_[k]] = -1 - ring;
            links_[path_[k]].place = kNone;
        }
        path_.resize(static_cast<size_t>(from));
        end_ring(out);
    }

    void emit(int32_t p) {
        const Piece& piece = pieces_[p];
        *value_++ = piece.x;
        *value_++ = piece.start();
        *value_++ = piece.x;
        *value_++ = piece.end();
    }
    void end_ring(Outlines& out) { out.rings.push_back((value_ - out.points.data()) / 2); }

    // Of every ring: the exterior that it is a hole of, or -1 for an exterior. Returns whether there are holes.
    bool find_parents() {
        // Covered on its left: this ring is a hole.
        if (std::ranges::none_of(leftmost_, [&](int32_t p) { return pieces_[p].down; })) return false;
        parents_.assign(leftmost_.size(), kNone);
        const auto ring_of = [&](int32_t p) { return -1 - next_[p]; };
        // From left to right: what a hole sees to its left is its exterior, or a hole whose exterior is known.
        seen_.resize(open_.size());
        for (size_t p = 0; p < pieces_.size(); ++p) {
            const auto& piece = pieces_[p];
            const int32_t ring = ring_of(static_cast<int32_t>(p));
            if (piece.down && leftmost_[ring] == static_cast<int32_t>(p)) {
                const int32_t left = ring_of(seen_[piece.y0]);
                parents_[ring] = parents_[left] < 0 ? left : parents_[left];
            }
            std::fill(seen_.begin() + piece.y0, seen_.begin() + piece.y1, static_cast<int32_t>(p));
        }
        return true;
    }

    // The rings of this mask in another order: every exterior is followed by its holes.
    void move_holes(size_t first_ring, Outlines& out) {
        order_.resize(parents_.size());
        std::iota(order_.begin(), order_.end(), 0);
        const auto key = [&](int32_t r) {
            const bool hole = parents_[r] >= 0;
            return std::tuple(hole ? parents_[r] : r, hole, r);
        };
        std::ranges::sort(order_, {}, key);
        old_rings_.assign(out.rings.begin() + static_cast<int64_t>(first_ring), out.rings.end());
        const int64_t base = old_rings_[0];
        old_points_.assign(out.points.begin() + 2 * base, out.points.end());
        auto to = out.points.begin() + 2 * base;
        for (size_t k = 0; k < order_.size(); ++k) {
            const int32_t r = order_[k];
            to = std::copy(old_points_.begin() + 2 * (old_rings_[r] - base), old_points_.begin() + 2 * (old_rings_[r + 1] - base), to);
            out.rings[first_ring + k + 1] = (to - out.points.begin()) / 2;
        }
    }

    static constexpr int32_t kNone = -1;
    struct Link {
        int32_t twin_start = kNone, twin_end = kNone;  // shares its start (its end) with this one: two diagonal pixels touch
        int32_t place = kNone;                         // in the path
    };
    std::vector<Span> spans_;
    std::vector<Piece> pieces_;
    std::vector<int32_t> next_;        // the piece whose start is joined with the end of this one
    std::vector<int32_t> open_;        // by row: 2 * the piece that waits to be joined there, + 1 where with its end
    int32_t joined_ = 0;               // whose next_ was written last
    std::vector<int32_t> twins_;       // pieces that touch the one before them, on one line
    std::vector<Link> links_;
    std::vector<int32_t> path_, leftmost_, parents_, seen_, order_, old_points_;
    std::vector<int64_t> old_rings_;
    int32_t* value_ = nullptr;         // where the next coordinate is written
};

// Column by column with 64 rows in a word; only three columns of the mask and of its border are kept.
class BorderMeter {
   public:
    double measure(std::span<const uint32_t> runs, int64_t height, double dy, double dx) {
        const Box box = tight_box(runs, height);
        if (box.empty()) return 0;
        // One empty word before and after, so that neighbours are always there.
        words_ = static_cast<size_t>((box.height() + 63) / 64) + 2;
        for (auto* columns : {mask_, border_})
            for (int k = 0; k < 3; ++k) columns[k].assign(words_, 0);
        counts_ = {};
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
        return length(counts_, dy, dx);
    }

   private:
    using Column = std::vector<uint64_t>;

    // How many border pixels there are of each kind: straight and mixed ones by how many of their neighbours are beside them
    // (across: left and right) and above or below them (along).
    struct Counts {
        int64_t straight[4][4] = {};  // [across][along]
        int64_t diagonal = 0, mixed_across = 0, mixed_along = 0;
    };

    // A straight pixel is as long as its steps to its neighbours on average, a diagonal one as a diagonal step, a mixed one
    // half of each. Where pixels are square these are the weights 1, root 2 and their mean.
    static double length(const Counts& counts, double dy, double dx) {
        if (dy == dx) {
            int64_t ones = 0;
            for (const auto& row : counts.straight) ones += std::accumulate(row, row + 4, int64_t{0});
            constexpr double kRoot2 = 1.4142135623730951;
            return dx * (static_cast<double>(ones) + static_cast<double>(counts.diagonal) * kRoot2 +
                         static_cast<double>(counts.mixed_across + counts.mixed_along) * (1 + kRoot2) / 2);
        }
        const double slant = std::hypot(dx, dy);
        double sum = static_cast<double>(counts.diagonal) * slant;
        sum += static_cast<double>(counts.mixed_across) * (dx + slant) / 2;
        sum += static_cast<double>(counts.mixed_along) * (dy + slant) / 2;
        for (int across = 0; across <= 2; ++across)
            for (int along = std::max(0, 2 - across); along <= std::min(2, 3 - across); ++along)
                sum += static_cast<double>(counts.straight[across][along]) * (across * dx + along * dy) / (across + along);
        return sum;
    }

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
            const uint64_t bits = middle[w], l = left[w], r = right[w], u = above(middle, w), d = below(middle, w);
            counts_.straight[2][0] += std::popcount(bits & straight & l & r & ~(u | d));
            counts_.straight[0][2] += std::popcount(bits & straight & u & d & ~(l | r));
            counts_.straight[1][1] += std::popcount(bits & straight & (l ^ r) & (u ^ d));
            counts_.straight[2][1] += std::popcount(bits & straight & l & r & (u ^ d));
            counts_.straight[1][2] += std::popcount(bits & straight & (l ^ r) & u & d);
            counts_.diagonal += std::popcount(bits & slanted);
            counts_.mixed_across += std::popcount(bits & mixed & (l | r));
            counts_.mixed_along += std::popcount(bits & mixed & (u | d));
        }
    }

    size_t words_ = 0;
    Column mask_[3], border_[3];  // from left to right; border_ is one column behind mask_
    Counts counts_;
};

}  // namespace

Outlines trace(const Rle& rle) {
    const int64_t n = rle.size();
    const int64_t grain = chunk_size(n, 32 * static_cast<int64_t>(rle.counts.size()));
    std::vector<Outlines> parts(static_cast<size_t>(std::max<int64_t>(1, (n + grain - 1) / grain)));
    parallel_for(static_cast<int64_t>(parts.size()), 1, 0, [&](int64_t begin, int64_t end) {
        Tracer tracer;
        for (int64_t p = begin; p < end; ++p) {
            // Two points for each run, unless runs go on over many columns.
            const int64_t runs = rle.offsets[std::min(n, (p + 1) * grain)] - rle.offsets[std::min(n, p * grain)];
            parts[p].points.reserve(static_cast<size_t>(4 * runs));
            for (int64_t i = p * grain; i < std::min(n, (p + 1) * grain); ++i)
                tracer.trace(rle.runs(i), rle.height, parts[p]);
        }
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

std::vector<double> perimeters(const Rle& rle, double dy, double dx) {
    std::vector<double> out(static_cast<size_t>(rle.size()));
    const int64_t grain = worth_a_thread(rle.size(), 32 * static_cast<int64_t>(rle.counts.size()));
    parallel_for(rle.size(), grain, 0, [&](int64_t begin, int64_t end) {
        BorderMeter meter;
        for (int64_t i = begin; i < end; ++i) out[i] = meter.measure(rle.runs(i), rle.height, dy, dx);
    });
    return out;
}

}  // namespace delineate
