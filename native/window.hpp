// Pixels of one mask as bits, for what looks at neighbours.
#pragma once

#include "bits.hpp"

namespace delineate {

// A window of the canvas as columns of bits, 64 rows to a word. It may reach beyond the canvas to the left and right.
class Window {
   public:
    // Empty over the box.
    void open(const Box& box) {
        box_ = box;
        words_ = (box.height() + 63) / 64;
        bits_.assign(static_cast<size_t>(words_ * box.width()), 0);
    }

    // Rows [y0, y1) of column x, cut to the window.
    void paint(int64_t x, int64_t y0, int64_t y1) {
        y0 = std::max(y0, box_.y0) - box_.y0;
        y1 = std::min(y1, box_.y1) - box_.y0;
        if (y0 >= y1) return;
        uint64_t* const column = bits_.data() + (x - box_.x0) * words_;
        for (int64_t word = y0 / 64; word <= (y1 - 1) / 64; ++word) {
            const int64_t low = std::max<int64_t>(0, y0 - 64 * word), high = std::min<int64_t>(64, y1 - 64 * word);
            column[word] |= (~uint64_t{0} >> (64 - (high - low))) << low;
        }
    }

    // Each column with those up to `radius` to both sides. When all columns up to k away are in, one step of up to
    // 2k + 1 brings in the next, so the number of passes grows as the logarithm.
    template <bool kErode>
    void spread_columns(int64_t radius) {
        for (int64_t reached = 0; reached < radius;) {
            const int64_t step = std::min(2 * reached + 1, radius - reached);
            const int64_t away = step * words_;
            pass(step, [&](const uint64_t* column, int64_t word) {
                return join<kErode>(column[word], join<kErode>(column[word - away], column[word + away]));
            });
            reached += step;
        }
    }

    // One step of the cross.
    template <bool kErode>
    void step_cross() {
        const int64_t last = words_ - 1;
        const uint64_t inside = ~uint64_t{0} >> (64 * words_ - box_.height());
        pass(1, [&](const uint64_t* column, int64_t word) {
            const uint64_t bits = column[word];
            const uint64_t down = bits << 1 | (word > 0 ? column[word - 1] >> 63 : 0);
            const uint64_t up = bits >> 1 | (word < last ? column[word + 1] << 63 : 0);
            const uint64_t sides = join<kErode>(column[word - words_], column[word + words_]);
            const uint64_t all = join<kErode>(join<kErode>(bits, sides), join<kErode>(down, up));
            return word == last ? all & inside : all;
        });
    }

    // The columns [0, width) of the canvas.
    void write(int64_t height, int64_t width, RunWriter& writer) const {
        BitScanner scanner(writer);
        const int64_t first = std::max<int64_t>(0, box_.x0), end = std::min(width, box_.x1);
        for (int64_t x = first; x < end; ++x) {
            const uint64_t* const column = bits_.data() + (x - box_.x0) * words_;
            const int64_t base = x * height + box_.y0;
            if (box_.y0 > 0) scanner.zeros(x * height);
            for (int64_t word = 0; word < words_; ++word)
                scanner.feed(column[word], base + 64 * word, std::min<int64_t>(64, box_.height() - 64 * word));
            if (box_.y1 < height) scanner.zeros(x * height + box_.y1);
        }
        scanner.zeros(end * height);
    }

    // Every word anew from the old words around it; fn sees empty columns for `reach` beyond both sides.
    template <class Fn>
    void pass(int64_t reach, Fn&& fn) {
        const size_t margin = static_cast<size_t>(reach * words_);
        padded_.assign(bits_.size() + 2 * margin, 0);
        std::copy(bits_.begin(), bits_.end(), padded_.begin() + static_cast<int64_t>(margin));
        const uint64_t* column = padded_.data() + margin;
        uint64_t* out = bits_.data();
        for (int64_t x = 0; x < box_.width(); ++x, column += words_, out += words_)
            for (int64_t word = 0; word < words_; ++word) out[word] = fn(column, word);
    }

    // The same window of another, moved right by dx columns; what it does not reach is empty.
    template <bool kErode>
    void join_moved(const Window& other, int64_t dx) {
        const int64_t width = box_.width();
        for (int64_t x = 0; x < width; ++x) {
            uint64_t* const column = bits_.data() + x * words_;
            const bool inside = x - dx >= 0 && x - dx < width;
            const uint64_t* const from = inside ? other.bits_.data() + (x - dx) * words_ : nullptr;
            if (!inside && !kErode) continue;
            for (int64_t word = 0; word < words_; ++word) column[word] = join<kErode>(column[word], from ? from[word] : 0);
        }
    }

    int64_t words() const { return words_; }
    const Box& box() const { return box_; }

   private:
    template <bool kErode>
    static uint64_t join(uint64_t a, uint64_t b) {
        return kErode ? a & b : a | b;
    }

    Box box_;
    int64_t words_ = 0;
    std::vector<uint64_t> bits_, padded_;
};

}  // namespace delineate
