#include "skeleton.hpp"

#include "window.hpp"

namespace delineate {

namespace {

// Per bit: whether at least two of the values seen were set.
struct Twice {
    uint64_t once = 0, twice = 0;
    void see(uint64_t bits) {
        twice |= once & bits;
        once |= bits;
    }
};

// Half an iteration; returns whether a pixel went.
bool thin(Window& window, bool second) {
    const int64_t words = window.words(), last = words - 1;
    uint64_t gone = 0;
    window.pass(1, [&](const uint64_t* column, int64_t word) {
        const uint64_t centre = column[word];
        if (!centre) return centre;
        const auto above = [&](const uint64_t* c) { return c[word] << 1 | (word > 0 ? c[word - 1] >> 63 : 0); };
        const auto below = [&](const uint64_t* c) { return c[word] >> 1 | (word < last ? c[word + 1] << 63 : 0); };
        const uint64_t *left = column - words, *right = column + words;
        // Counter-clockwise from the right, x1 to x8 of the paper.
        const uint64_t x[8] = {right[word], above(right), above(column), above(left),
                               left[word], below(left), below(column), below(right)};
        Twice crossings, first, then;
        uint64_t all_first = ~uint64_t{0}, all_then = ~uint64_t{0};
        for (int k = 0; k < 8; k += 2) {
            const uint64_t side = x[k], corner = x[k + 1], next = x[(k + 2) % 8];
            crossings.see(~side & (corner | next));
            first.see(side | corner);
            then.see(corner | next);
            all_first &= side | corner;
            all_then &= corner | next;
        }
        const int k = second ? 4 : 0;
        const uint64_t held = x[k] & (x[k + 1] | x[k + 2] | ~x[(k + 7) % 8]);
        const uint64_t goes = centre & crossings.once & ~crossings.twice & first.twice & then.twice &
                              ~(all_first & all_then) & ~held;
        gone |= goes;
        return centre & ~goes;
    });
    return gone != 0;
}

}  // namespace

Rle skeletons(const Rle& rle) {
    const int64_t work = 512 * static_cast<int64_t>(rle.counts.size());
    return build<Window>(rle.size(), rle.height, rle.width, work, [&](int64_t i, RunWriter& writer, Window& window) {
        const auto runs = rle.runs(i);
        const Box box = tight_box(runs, rle.height);
        if (box.empty()) return;
        window.open(box);
        for_each_span(runs, rle.height, [&](int64_t x, int64_t y0, int64_t y1) { window.paint(x, y0, y1); });
        for (bool more = true; more;) {
            const bool first = thin(window, false);
            more = thin(window, true) || first;
        }
        window.write(rle.height, rle.width, writer);
    });
}

std::vector<int64_t> links(const Rle& rle) {
    std::vector<int64_t> out(static_cast<size_t>(3 * rle.size()), 0);
    const int64_t grain = worth_a_thread(rle.size(), 16 * static_cast<int64_t>(rle.counts.size()));
    parallel_for(rle.size(), grain, 0, [&](int64_t begin, int64_t end) {
        Window window;
        for (int64_t i = begin; i < end; ++i) {
            const Box box = tight_box(rle.runs(i), rle.height);
            if (box.empty()) continue;
            window.open(box);
            for_each_span(rle.runs(i), rle.height, [&](int64_t x, int64_t y0, int64_t y1) { window.paint(x, y0, y1); });
            const int64_t words = window.words(), last = words - 1;
            int64_t* const row = out.data() + 3 * i;
            window.pass(1, [&](const uint64_t* column, int64_t word) {
                const auto below = [&](const uint64_t* c) { return c[word] >> 1 | (word < last ? c[word + 1] << 63 : 0); };
                const uint64_t centre = column[word], down = below(column), east = column[word + words];
                const uint64_t corner = below(column + words);
                row[0] += std::popcount(centre & east);
                row[1] += std::popcount(centre & down);
                row[2] += std::popcount(centre & corner & ~east & ~down) + std::popcount(down & east & ~centre & ~corner);
                return centre;
            });
        }
    });
    return out;
}

}  // namespace delineate
