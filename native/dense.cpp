#include "dense.hpp"

#include <bit>
#include <cstring>

#include "geometry.hpp"

namespace delineate {

namespace {

// 64 bytes -> 64 bits, bit i set where byte i is not zero (little-endian byte order within a word does not matter: memcpy
// and the multiplication agree on it, see gather8).
inline uint64_t gather8(uint64_t bytes) {
    // Fold every byte to its lowest bit, then let one multiplication move the eight bits side by side.
    bytes |= (bytes >> 4) & 0x0f0f0f0f0f0f0f0fULL;
    bytes |= (bytes >> 2) & 0x3333333333333333ULL;
    bytes |= (bytes >> 1) & 0x5555555555555555ULL;
    return ((bytes & 0x0101010101010101ULL) * 0x0102040810204080ULL) >> 56;
}

inline uint64_t nonzero_bits(const uint8_t* bytes) {
    uint64_t words[8];
    std::memcpy(words, bytes, sizeof words);
    if ((words[0] | words[1] | words[2] | words[3] | words[4] | words[5] | words[6] | words[7]) == 0) return 0;
    uint64_t bits = 0;
    for (int k = 0; k < 8; ++k) bits |= gather8(words[k]) << (8 * k);
    return bits;
}

inline uint64_t nonzero_bits(const uint8_t* bytes, int64_t count) {
    if (count >= 64) return nonzero_bits(bytes);
    uint8_t padded[64] = {};
    std::memcpy(padded, bytes, static_cast<size_t>(count));
    return nonzero_bits(padded);
}

// In place: bit c of word r goes to bit r of word c (Hacker's Delight, 7-3: swap ever smaller off-diagonal blocks).
void transpose64(uint64_t* m) {
    uint64_t mask = 0x00000000ffffffffULL;
    for (int j = 32; j != 0; j >>= 1, mask ^= mask << j) {
        for (int k = 0; k < 64; k = (k + j + 1) & ~j) {
            const uint64_t t = ((m[k] >> j) ^ m[k + j]) & mask;
            m[k] ^= t << j;
            m[k + j] ^= t;
        }
    }
}

// Turns the value changes of a stream of bits into runs.
class BitScanner {
   public:
    explicit BitScanner(RunWriter& writer) : writer_(writer) {}

    // The `count` lowest bits of `bits` are the pixels at position, position + 1, ...; higher bits are zero.
    void feed(uint64_t bits, int64_t position, int64_t count) {
        uint64_t toggles = bits ^ ((bits << 1) | inside_);
        if (count < 64) toggles &= (uint64_t{1} << count) - 1;
        while (toggles) {
            toggle(position + std::countr_zero(toggles));
            toggles &= toggles - 1;
        }
    }
    // All pixels from `position` on are zero until the next feed.
    void zeros(int64_t position) {
        if (inside_) toggle(position);
    }

   private:
    void toggle(int64_t position) {
        if (inside_) writer_.ones(begin_, position);
        begin_ = position;
        inside_ ^= 1;
    }
    RunWriter& writer_;
    uint64_t inside_ = 0;
    int64_t begin_ = 0;
};

// One (H, W) mask in C order. 64 x 64 tiles are reduced to bits (row by row, as memory lies), transposed where they are not
// empty, and read column by column.
class RowEncoder {
   public:
    RowEncoder(int64_t height, int64_t width)
        : height_(height), width_(width), bands_((height + 63) / 64), groups_((width + 63) / 64),
          tiles_(static_cast<size_t>(bands_ * groups_ * 64)), filled_(static_cast<size_t>(bands_ * groups_)) {}

    void encode(const uint8_t* mask, RunWriter& writer) {
        for (int64_t band = 0; band < bands_; ++band) read_band(mask, band);
        BitScanner scanner(writer);
        for (int64_t group = 0; group < groups_; ++group) scan_group(group, scanner);
        scanner.zeros(height_ * width_);
    }

   private:
    uint64_t* tile(int64_t band, int64_t group) { return tiles_.data() + (group * bands_ + band) * 64; }

    void read_band(const uint8_t* mask, int64_t band) {
        const int64_t rows = std::min<int64_t>(64, height_ - band * 64);
        const uint8_t* row = mask + band * 64 * width_;
        std::vector<uint64_t>& any = any_;
        any.assign(static_cast<size_t>(groups_), 0);
        for (int64_t y = 0; y < rows; ++y, row += width_) {
            for (int64_t group = 0; group < groups_; ++group) {
                const uint64_t bits = nonzero_bits(row + group * 64, width_ - group * 64);
                tile(band, group)[y] = bits;
                any[group] |= bits;
            }
        }
        for (int64_t group = 0; group < groups_; ++group) {
            filled_[group * bands_ + band] = any[group] != 0;
            if (!any[group]) continue;
            std::fill(tile(band, group) + rows, tile(band, group) + 64, 0);
            transpose64(tile(band, group));
        }
    }

    void scan_group(int64_t group, BitScanner& scanner) {
        const int64_t x0 = group * 64, columns = std::min<int64_t>(64, width_ - x0);
        const uint8_t* filled = filled_.data() + group * bands_;
        if (std::none_of(filled, filled + bands_, [](uint8_t f) { return f != 0; })) {
            scanner.zeros(x0 * height_);
            return;
        }
        for (int64_t c = 0; c < columns; ++c) {
            const int64_t base = (x0 + c) * height_;
            for (int64_t band = 0; band < bands_; ++band) {
                const int64_t rows = std::min<int64_t>(64, height_ - band * 64);
                if (filled[band]) {
                    scanner.feed(tile(band, group)[c], base + band * 64, rows);
                } else {
                    scanner.zeros(base + band * 64);
                }
            }
        }
    }

    int64_t height_, width_, bands_, groups_;
    std::vector<uint64_t> tiles_;
    std::vector<uint8_t> filled_;
    std::vector<uint64_t> any_;
};

}  // namespace

Rle encode_rows(const uint8_t* dense, int64_t n, int64_t height, int64_t width) {
    const int64_t pixels = height * width;
    return build(n, height, width, n * pixels / 16, [&](int64_t i, RunWriter& writer) {
        RowEncoder(height, width).encode(dense + i * pixels, writer);
    });
}

Rle encode_columns(const uint8_t* dense, int64_t n, int64_t height, int64_t width) {
    const int64_t pixels = height * width;
    return build(n, height, width, n * pixels / 16, [&](int64_t i, RunWriter& writer) {
        const uint8_t* mask = dense + i * pixels;
        BitScanner scanner(writer);
        for (int64_t p = 0; p < pixels; p += 64)
            scanner.feed(nonzero_bits(mask + p, pixels - p), p, std::min<int64_t>(64, pixels - p));
        scanner.zeros(pixels);
    });
}

void decode_rows(const Rle& rle, uint8_t* dense) {
    const int64_t grain = worth_a_thread(rle.size(), 16 * static_cast<int64_t>(rle.counts.size()));
    parallel_for(rle.size(), grain, 0, [&](int64_t begin, int64_t end) {
        RowReader rows;
        for (int64_t i = begin; i < end; ++i) {
            uint8_t* mask = dense + i * rle.pixels();
            rows.for_each_run(rle.runs(i), rle.height, [&](int64_t y, int64_t x0, int64_t x1) {
                std::memset(mask + y * rle.width + x0, 1, static_cast<size_t>(x1 - x0));
            });
        }
    });
}

void decode_box(std::span<const uint32_t> runs, int64_t height, const Box& box, uint8_t* dense) {
    RowReader rows;
    rows.for_each_run(runs, height, [&](int64_t y, int64_t x0, int64_t x1) {
        std::memset(dense + (y - box.y0) * box.width() + x0 - box.x0, 1, static_cast<size_t>(x1 - x0));
    });
}

Cells cells(const Rle& rle, int64_t stride) {
    const int64_t grid_height = (rle.height + stride - 1) / stride, grid_width = (rle.width + stride - 1) / stride;
    Cells out;
    out.boxes = tight_boxes(rle);
    out.offsets.push_back(0);
    for (auto& box : out.boxes) {
        if (!box.empty())
            box = {std::max<int64_t>(0, box.x0 / stride - 1), std::max<int64_t>(0, box.y0 / stride - 1),
                   std::min(grid_width, (box.x1 + stride - 1) / stride + 1),
                   std::min(grid_height, (box.y1 + stride - 1) / stride + 1)};
        out.offsets.push_back(out.offsets.back() + box.width() * box.height());
    }
    out.values.resize(static_cast<size_t>(out.offsets.back()));
    const int64_t grain = worth_a_thread(rle.size(), 8 * static_cast<int64_t>(rle.counts.size()));
    parallel_for(rle.size(), grain, 0, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const Box& box = out.boxes[i];
            float* values = out.values.data() + out.offsets[i];
            // Pixel counts first (exact in float up to 2^24 pixels a cell) ...
            for_each_span(rle.runs(i), rle.height, [&](int64_t x, int64_t y0, int64_t y1) {
                float* column = values + (x / stride - box.x0);
                for (int64_t y = y0; y < y1;) {
                    const int64_t cell = y / stride, end_of_cell = std::min(y1, (cell + 1) * stride);
                    column[(cell - box.y0) * box.width()] += static_cast<float>(end_of_cell - y);
                    y = end_of_cell;
                }
            });
            // ... then fractions of what each cell has on the canvas.
            for (int64_t r = box.y0; r < box.y1; ++r)
                for (int64_t c = box.x0; c < box.x1; ++c)
                    *values++ /= static_cast<float>((std::min(rle.height, (r + 1) * stride) - r * stride) *
                                                    (std::min(rle.width, (c + 1) * stride) - c * stride));
        }
    });
    return out;
}

}  // namespace delineate
