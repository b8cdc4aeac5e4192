#include "blend.hpp"

#include <algorithm>
#include <bit>
#include <vector>

#include "simd.hpp"

namespace delineate {
namespace {

constexpr int64_t kWord = 64;

// A mask inside its tight box, one bit per pixel, rows of whole words. Runs are column-major and pictures row-major:
// painting the runs as they come would touch a cache line per pixel.
struct Bits {
    Box box;
    int64_t words = 0;  // per row
    std::vector<uint64_t> rows;

    void read(std::span<const uint32_t> runs, int64_t height) {
        box = tight_box(runs, height);
        words = (box.width() + kWord - 1) / kWord;
        // Every span toggles its column where it begins and behind its end; a running xor down the rows fills it.
        rows.assign(static_cast<size_t>((box.height() + 1) * words), 0);
        for_each_span(runs, height, [&](int64_t x, int64_t y0, int64_t y1) {
            const int64_t column = x - box.x0;
            const uint64_t bit = uint64_t{1} << (column % kWord);
            rows[(y0 - box.y0) * words + column / kWord] ^= bit;
            rows[(y1 - box.y0) * words + column / kWord] ^= bit;
        });
    }
};

DELINEATE_SIMD_CLONES void fill_down(uint64_t* rows, int64_t words, int64_t height) {
    for (int64_t y = 1; y < height; ++y) {
        for (int64_t k = 0; k < words; ++k) rows[y * words + k] ^= rows[(y - 1) * words + k];
    }
}

// Keeps the bits whose four neighbours are set; nothing is set outside the box.
void erode(const std::vector<uint64_t>& in, int64_t words, int64_t height, std::vector<uint64_t>& out) {
    out.assign(in.size(), 0);
    for (int64_t y = 1; y + 1 < height; ++y) {
        const uint64_t* row = in.data() + y * words;
        for (int64_t k = 0; k < words; ++k) {
            const uint64_t left = row[k] << 1 | (k > 0 ? row[k - 1] >> (kWord - 1) : 0);
            const uint64_t right = row[k] >> 1 | (k + 1 < words ? row[k + 1] << (kWord - 1) : 0);
            out[y * words + k] = row[k] & left & right & row[k - words] & row[k + words];
        }
    }
}

struct Paint {
    uint16_t keep;              // weight of the picture, in 256ths
    uint16_t add[3 * kWord];    // colour * alpha + 1/2, for every byte of a word of pixels
    uint8_t solid[3 * kWord];
};

Paint make_paint(const uint8_t* colour, int alpha) {
    Paint paint;
    paint.keep = static_cast<uint16_t>(256 - alpha);
    for (int64_t i = 0; i < 3 * kWord; ++i) {
        paint.add[i] = static_cast<uint16_t>(colour[i % 3] * alpha + 128);
        paint.solid[i] = colour[i % 3];
    }
    return paint;
}

// Paints the set bits of one word of pixels, run by run.
template <class Fn>
inline void for_each_run(uint64_t bits, Fn&& fn) {
    while (bits != 0) {
        const int begin = std::countr_zero(bits);
        const int length = std::countr_one(bits >> begin);
        fn(begin, length);
        bits = length + begin >= kWord ? 0 : bits & (~uint64_t{0} << (begin + length));
    }
}

DELINEATE_SIMD_CLONES void paint_rows(uint8_t* image, int64_t image_width, const Box& box, int64_t words,
                                      const uint64_t* mask, const uint64_t* inner, const Paint& paint) {
    for (int64_t y = box.y0; y < box.y1; ++y) {
        for (int64_t k = 0; k < words; ++k) {
            const int64_t at = (y - box.y0) * words + k;
            uint8_t* pixels = image + (y * image_width + box.x0 + k * kWord) * 3;
            for_each_run(inner[at], [&](int begin, int length) {
                uint8_t* p = pixels + 3 * begin;
                for (int i = 0; i < 3 * length; ++i) {
                    p[i] = static_cast<uint8_t>(static_cast<uint16_t>(p[i] * paint.keep + paint.add[i]) >> 8);
                }
            });
            for_each_run(mask[at] & ~inner[at], [&](int begin, int length) {
                std::copy(paint.solid, paint.solid + 3 * length, pixels + 3 * begin);
            });
        }
    }
}

}  // namespace

void blend(uint8_t* image, const Rle& masks, std::span<const uint8_t> colours, int alpha, int outline) {
    Bits bits;
    std::vector<uint64_t> inner, next;
    for (int64_t i = 0; i < masks.size(); ++i) {
        bits.read(masks.runs(i), masks.height);
        if (bits.box.empty()) continue;
        const int64_t height = bits.box.height();
        fill_down(bits.rows.data(), bits.words, height);
        const uint64_t* inside = bits.rows.data();
        if (outline > 0) {
            erode(bits.rows, bits.words, height, inner);
            for (int k = 1; k < outline; ++k) {
                erode(inner, bits.words, height, next);
                std::swap(inner, next);
            }
            inside = inner.data();
        }
        paint_rows(image, masks.width, bits.box, bits.words, bits.rows.data(), inside,
                   make_paint(&colours[static_cast<size_t>(3 * i)], alpha));
    }
}

}  // namespace delineate
