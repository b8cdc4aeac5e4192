#include "dense.hpp"

#include <bit>
#include <cstring>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "bits.hpp"
#include "geometry.hpp"
#include "simd.hpp"

namespace delineate {

namespace {

static_assert(std::endian::native == std::endian::little, "bit k is the k-th byte in memory");

#ifdef __SSE2__
// 64 bytes -> 64 bits, bit i set where byte i is not zero.
inline uint64_t nonzero_bits(const uint8_t* bytes) {
    const auto zero16 = [&](int k) {
        const __m128i value = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes) + k);
        return static_cast<uint64_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(value, _mm_setzero_si128())));
    };
    return ~(zero16(0) | zero16(1) << 16 | zero16(2) << 32 | zero16(3) << 48);
}
#else
// 8 bytes -> 8 bits, bit i set where byte i is not zero.
inline uint64_t gather8(uint64_t bytes) {
    // Fold every byte to its lowest bit, then let one multiplication move the eight bits side by side.
    bytes |= (bytes >> 4) & 0x0f0f0f0f0f0f0f0fULL;
    bytes |= (bytes >> 2) & 0x3333333333333333ULL;
    bytes |= (bytes >> 1) & 0x5555555555555555ULL;
    return ((bytes & 0x0101010101010101ULL) * 0x0102040810204080ULL) >> 56;
}

// The same for 64 bytes.
inline uint64_t nonzero_bits(const uint8_t* bytes) {
    uint64_t words[8], bits = 0;
    std::memcpy(words, bytes, sizeof words);
    for (int k = 0; k < 8; ++k) bits |= gather8(words[k]) << (8 * k);
    return bits;
}
#endif

inline uint64_t nonzero_bits(const uint8_t* bytes, int64_t count) {
    if (count >= 64) return nonzero_bits(bytes);
    uint8_t padded[64] = {};
    std::memcpy(padded, bytes, static_cast<size_t>(count));
    return nonzero_bits(padded);
}

// Most of most masks is empty, so long stretches are first asked whether they hold anything at all.
inline bool all_zero(const uint8_t* bytes, int64_t blocks) {
    uint64_t any = 0;
    for (int64_t k = 0; k < 8 * blocks; ++k) {
        uint64_t word;
        std::memcpy(&word, bytes + 8 * k, sizeof word);
        any |= word;
    }
    return any == 0;
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

// Up to 64 rows of a mask: tile g holds bit x of row y, for columns x from 64 g, where there is any; filled[g] says whether.
DELINEATE_SIMD_CLONES
void read_band(const uint8_t* row, int64_t rows, int64_t width, uint64_t* tiles, uint8_t* filled) {
    const int64_t whole = width / 64;
    const auto keep = [&](int64_t group, int64_t y, uint64_t bits) {
        if (bits == 0) return;
        uint64_t* const tile = tiles + 64 * group;
        if (!filled[group]) std::memset(tile, 0, 64 * sizeof *tile);
        filled[group] = 1;
        tile[y] = bits;
    };
    for (int64_t y = 0; y < rows; ++y, row += width) {
        if (!all_zero(row, whole))
            for (int64_t group = 0; group < whole; ++group) keep(group, y, nonzero_bits(row + 64 * group));
        if (width % 64) keep(whole, y, nonzero_bits(row + 64 * whole, width % 64));
    }
}

// One (H, W) mask in C order. 64 x 64 tiles are reduced to bits (row by row, as memory lies), transposed where they are not
// empty, and read column by column. The buffers are kept between masks.
class RowEncoder {
   public:
    void encode(const uint8_t* mask, int64_t height, int64_t width, RunWriter& writer) {
        height_ = height;
        width_ = width;
        bands_ = (height + 63) / 64;
        groups_ = (width + 63) / 64;
        tiles_.resize(static_cast<size_t>(bands_ * groups_ * 64));
        filled_.assign(static_cast<size_t>(bands_ * groups_), 0);
        for (int64_t band = 0; band < bands_; ++band) {
            const int64_t rows = std::min<int64_t>(64, height - band * 64);
            read_band(mask + band * 64 * width, rows, width, tile(band, 0), filled_.data() + band * groups_);
            for (int64_t group = 0; group < groups_; ++group)
                if (filled_[band * groups_ + group]) transpose64(tile(band, group));
        }
        BitScanner scanner(writer);
        for (int64_t group = 0; group < groups_; ++group) scan_group(group, scanner);
        scanner.zeros(height_ * width_);
    }

   private:
    uint64_t* tile(int64_t band, int64_t group) { return tiles_.data() + (band * groups_ + group) * 64; }

    void scan_group(int64_t group, BitScanner& scanner) {
        const int64_t x0 = group * 64, columns = std::min<int64_t>(64, width_ - x0);
        const auto filled = [&](int64_t band) { return filled_[band * groups_ + group] != 0; };
        int64_t first = 0, end = bands_;
        while (first < end && !filled(first)) ++first;
        while (first < end && !filled(end - 1)) --end;
        scanner.zeros(x0 * height_);
        for (int64_t c = 0; c < columns && first < end; ++c) {
            const int64_t base = (x0 + c) * height_;
            if (first > 0) scanner.zeros(base);
            for (int64_t band = first; band < end; ++band) {
                const int64_t rows = std::min<int64_t>(64, height_ - band * 64);
                if (filled(band)) {
                    scanner.feed(tile(band, group)[c], base + band * 64, rows);
                } else {
                    scanner.zeros(base + band * 64);
                }
            }
            if (end < bands_) scanner.zeros(base + end * 64);
        }
    }

    int64_t height_ = 0, width_ = 0, bands_ = 0, groups_ = 0;
    std::vector<uint64_t> tiles_;
    std::vector<uint8_t> filled_;
};

// The pixels of one mask as they follow each other in runs.
DELINEATE_SIMD_CLONES
void scan_pixels(const uint8_t* bytes, int64_t pixels, BitScanner& scanner) {
    constexpr int64_t kBlocks = 8;
    int64_t p = 0;
    for (; p + 64 * kBlocks <= pixels; p += 64 * kBlocks) {
        if (all_zero(bytes + p, kBlocks)) {
            scanner.zeros(p);
            continue;
        }
        for (int64_t k = p; k < p + 64 * kBlocks; k += 64) scanner.feed(nonzero_bits(bytes + k), k, 64);
    }
    for (; p < pixels; p += 64)
        scanner.feed(nonzero_bits(bytes + p, pixels - p), p, std::min<int64_t>(64, pixels - p));
    scanner.zeros(pixels);
}

}  // namespace

Rle encode_rows(const uint8_t* dense, int64_t n, int64_t height, int64_t width) {
    const int64_t pixels = height * width;
    return build<RowEncoder>(n, height, width, n * pixels / 16, [&](int64_t i, RunWriter& writer, RowEncoder& encoder) {
        encoder.encode(dense + i * pixels, height, width, writer);
    });
}

Rle encode_columns(const uint8_t* dense, int64_t n, int64_t height, int64_t width) {
    const int64_t pixels = height * width;
    return build(n, height, width, n * pixels / 16, [&](int64_t i, RunWriter& writer) {
        BitScanner scanner(writer);
        scan_pixels(dense + i * pixels, pixels, scanner);
    });
}

void decode_rows(const Rle& rle, uint8_t* dense, bool clear) {
    const int64_t work = 16 * static_cast<int64_t>(rle.counts.size()) + (clear ? rle.size() * rle.pixels() / 16 : 0);
    parallel_for(rle.size(), chunk_size(rle.size(), work), 0, [&](int64_t begin, int64_t end) {
        // Many masks at once: a long stretch is written past the cache, which spares reading it first.
        if (clear && rle.pixels() > 0)
            std::memset(dense + begin * rle.pixels(), 0, static_cast<size_t>((end - begin) * rle.pixels()));
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

namespace {

// Counts the pixels of one mask in the cells of its box, one column of cells after the other.
class CellCounter {
   public:
    CellCounter(const Rle& rle, int64_t stride) : rle_(rle), stride_(stride) {}

    void count(std::span<const uint32_t> runs, const Box& box, float* values) {
        pieces_.assign(static_cast<size_t>(box.height()), 0);
        whole_.assign(static_cast<size_t>(box.height()) + 1, 0);
        int64_t column = box.x0;
        for_each_span(runs, rle_.height, [&](int64_t x, int64_t y0, int64_t y1) {
            while (x >= (column + 1) * stride_) finish(column++, box, values);
            const int64_t first = y0 / stride_, last = (y1 - 1) / stride_;
            if (first == last) {
                pieces_[first - box.y0] += y1 - y0;
                return;
            }
            pieces_[first - box.y0] += (first + 1) * stride_ - y0;
            pieces_[last - box.y0] += y1 - last * stride_;
            ++whole_[first + 1 - box.y0];
            --whole_[last - box.y0];
        });
        while (column < box.x1) finish(column++, box, values);
    }

   private:
    // Writes the fractions of what each cell of this column has on the canvas, and starts anew.
    void finish(int64_t column, const Box& box, float* values) {
        const int64_t cell_width = std::min(rle_.width, (column + 1) * stride_) - column * stride_;
        int64_t spans = 0;  // that cover this cell from top to bottom
        for (int64_t r = 0; r < box.height(); ++r) {
            spans += whole_[r];
            const int64_t y = (box.y0 + r) * stride_, cell_height = std::min(rle_.height, y + stride_) - y;
            values[r * box.width() + column - box.x0] =
                static_cast<float>(pieces_[r] + spans * stride_) / static_cast<float>(cell_width * cell_height);
        }
        std::fill(pieces_.begin(), pieces_.end(), 0);
        std::fill(whole_.begin(), whole_.end(), 0);
    }

    const Rle& rle_;
    int64_t stride_;
    std::vector<int64_t> pieces_, whole_;  // whole_: by how much the number of spans over the whole cell changes there
};

}  // namespace

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
        CellCounter counter(rle, stride);
        for (int64_t i = begin; i < end; ++i)
            counter.count(rle.runs(i), out.boxes[i], out.values.data() + out.offsets[i]);
    });
    return out;
}

}  // namespace delineate
