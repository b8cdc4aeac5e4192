#include "codecs.hpp"

#include <string>

#include "geometry.hpp"

namespace delineate {

RowCrops row_crops(const Rle& rle) {
    RowCrops out;
    RowReader rows;
    Rle crop;
    RunWriter writer(crop);
    for (int64_t i = 0; i < rle.size(); ++i) {
        Box box = tight_box(rle.runs(i), rle.height);
        if (box.empty()) box = {0, 0, std::min<int64_t>(1, rle.width), std::min<int64_t>(1, rle.height)};
        crop.height = box.width();
        crop.width = box.height();
        rows.for_each_run(rle.runs(i), rle.height, [&](int64_t y, int64_t x0, int64_t x1) {
            const int64_t row = (y - box.y0) * box.width() - box.x0;
            writer.ones(row + x0, row + x1);
        });
        writer.finish();
        out.boxes.push_back(box);
    }
    out.counts = std::move(crop.counts);
    out.offsets = std::move(crop.offsets);
    return out;
}

namespace {

[[noreturn]] void refuse(const std::string& text) { throw std::invalid_argument(text); }

// One run of ones of a crop, cut into its rows; positions are y * width + x on the whole canvas.
void write_rows(int64_t begin, int64_t end, const Box& box, int64_t width, RunWriter& writer) {
    while (begin < end) {
        const int64_t row = begin / box.width(), column = begin % box.width();
        const int64_t count = std::min(box.width() - column, end - begin);
        const int64_t position = (box.y0 + row) * width + box.x0 + column;
        writer.ones(position, position + count);
        begin += count;
    }
}

}  // namespace

Rle from_row_crops(int64_t height, int64_t width, std::span<const uint32_t> counts, std::span<const int64_t> offsets,
                   std::span<const Box> boxes) {
    const int64_t n = static_cast<int64_t>(boxes.size());
    const Rle rows = build(n, width, height, static_cast<int64_t>(counts.size()), [&](int64_t i, RunWriter& writer) {
        const Box& box = boxes[static_cast<size_t>(i)];
        if (box.x0 < 0 || box.y0 < 0 || box.width() < 0 || box.height() < 0 || box.x1 > width || box.y1 > height)
            refuse("left, top, width, height must lie within " + std::to_string(height) + " x " + std::to_string(width) +
                   " pixels, got " + std::to_string(box.x0) + ", " + std::to_string(box.y0) + ", " +
                   std::to_string(box.width()) + ", " + std::to_string(box.height()) + ". Check the size of the picture.");
        const int64_t pixels = box.width() * box.height();
        int64_t sum = 0;
        for (int64_t k = offsets[i]; k < offsets[i + 1]; ++k) sum += counts[k];
        if (sum != pixels)
            refuse("rle must sum to " + std::to_string(pixels) + " (" + std::to_string(box.height()) + " x " +
                   std::to_string(box.width()) + "), got " + std::to_string(sum) +
                   ". Check the width and height that belong to it.");
        int64_t position = 0;
        for (int64_t k = offsets[i]; k < offsets[i + 1]; ++k) {
            if ((k - offsets[i]) % 2) write_rows(position, position + counts[k], box, width, writer);
            position += counts[k];
        }
    });
    return transpose(rows);
}

void pack_rows(const Rle& rle, int64_t i, uint8_t* out) {
    const int64_t stride = (rle.width + 7) / 8;
    for_each_span(rle.runs(i), rle.height, [&](int64_t x, int64_t y0, int64_t y1) {
        const uint8_t bit = static_cast<uint8_t>(0x80 >> (x % 8));
        for (int64_t y = y0; y < y1; ++y) out[y * stride + x / 8] |= bit;
    });
}

namespace {

constexpr int kLengthBits[] = {3, 4, 8, 16};
constexpr int kChannels = 4;

class BitWriter {
   public:
    void write(uint32_t value, int bits) {
        for (int b = bits; b-- > 0; ++count_) {
            if (count_ % 8 == 0) bytes_.push_back(0);
            bytes_.back() = static_cast<uint8_t>(bytes_.back() | (value >> b & 1) << (7 - count_ % 8));
        }
    }
    // The shortest field that holds the length; what is longer than the longest is cut.
    void run(int64_t length, uint32_t value) {
        while (length > 0) {
            uint32_t kind = 0;
            while (kind < 3 && length > int64_t{1} << kLengthBits[kind]) ++kind;
            const int64_t part = std::min(length, int64_t{1} << kLengthBits[kind]);
            write(part > 1 ? 1 : 0, 1);
            write(kind, 2);
            write(static_cast<uint32_t>(part - 1), kLengthBits[kind]);
            write(value, 8);
            length -= part;
        }
    }
    std::vector<uint8_t> finish() {
        if (count_ % 8 == 0) bytes_.push_back(0);  // the converter pads by 1 to 8 bits
        return std::move(bytes_);
    }

   private:
    std::vector<uint8_t> bytes_;
    int64_t count_ = 0;
};

class BitReader {
   public:
    explicit BitReader(std::string_view bytes) : bytes_(bytes) {}
    uint32_t read(int bits) {
        uint64_t value = 0;
        for (int left = bits; left > 0;) {
            const size_t at = static_cast<size_t>(count_ / 8);
            if (at >= bytes_.size())
                refuse("rle must hold all of the picture, got an end after " + std::to_string(bytes_.size()) +
                       " bytes. It was cut off.");
            const int there = 8 - static_cast<int>(count_ % 8), taken = std::min(left, there);
            const unsigned byte = static_cast<uint8_t>(bytes_[at]);
            value = value << taken | (byte >> (there - taken) & ((1u << taken) - 1));
            count_ += taken;
            left -= taken;
        }
        return static_cast<uint32_t>(value);
    }
    // Nothing but padding is left.
    bool ended() const {
        const size_t at = static_cast<size_t>(count_ / 8);
        for (size_t k = at; k < bytes_.size(); ++k) {
            const unsigned byte = static_cast<uint8_t>(bytes_[k]);
            if (k == at ? byte & ((1u << (8 - count_ % 8)) - 1) : byte) return false;
        }
        return true;
    }
    int64_t position() const { return count_ / 8; }

   private:
    std::string_view bytes_;
    int64_t count_ = 0;
};

// Bytes [begin, end) of the picture are not zero: the pixels whose alpha, their fourth byte, is among them.
void cover(int64_t begin, int64_t end, RunWriter& writer) { writer.ones(begin / kChannels, end / kChannels); }

void read_stream(std::string_view stream, int64_t pixels, RunWriter& writer) {
    BitReader in(stream);
    const int64_t bytes = in.read(32);
    if (bytes != kChannels * pixels)
        refuse("rle must be of " + std::to_string(kChannels * pixels) + " bytes (RGBA of " + std::to_string(pixels) +
               " pixels), got " + std::to_string(bytes) + ". Check the size of the picture.");
    const int word = static_cast<int>(in.read(5)) + 1;
    int length_bits[4];
    for (int& bits : length_bits) bits = static_cast<int>(in.read(4)) + 1;
    for (int64_t i = 0; i < bytes;) {
        const bool run = in.read(1);
        const int64_t end = i + 1 + in.read(length_bits[in.read(2)]);
        if (end > bytes)
            refuse("rle must end with the picture, got a run beyond it at byte " + std::to_string(in.position()) +
                   ". It is damaged.");
        if (run) {
            if (in.read(word)) cover(i, end, writer);
            i = end;
        }
        for (; i < end; ++i)
            if (in.read(word)) cover(i, i + 1, writer);
    }
    if (!in.ended())
        refuse("rle must end with the picture, got more at byte " + std::to_string(in.position()) +
               ". Check the size of the picture.");
}

}  // namespace

std::vector<uint8_t> to_label_studio(const Rle& rle, int64_t i) {
    if (kChannels * rle.pixels() > std::numeric_limits<uint32_t>::max())
        refuse("masks must have at most 1073741823 pixels for Label Studio, got " + std::to_string(rle.pixels()) +
               ". Cut the picture into tiles.");
    BitWriter out;
    out.write(static_cast<uint32_t>(kChannels * rle.pixels()), 32);
    out.write(8 - 1, 5);
    for (const int bits : kLengthBits) out.write(static_cast<uint32_t>(bits - 1), 4);
    const int64_t chosen[] = {i};
    const Rle rows = transpose(take(rle, chosen));
    uint32_t value = 0;
    for (const uint32_t count : rows.runs(0)) {
        out.run(int64_t{kChannels} * count, value);
        value ^= 255;
    }
    return out.finish();
}

Rle from_label_studio(int64_t height, int64_t width, std::span<const std::string_view> streams) {
    int64_t work = 0;
    for (const auto stream : streams) work += static_cast<int64_t>(stream.size());
    const int64_t n = static_cast<int64_t>(streams.size());
    return transpose(build(n, width, height, work, [&](int64_t i, RunWriter& writer) {
        read_stream(streams[static_cast<size_t>(i)], height * width, writer);
    }));
}

}  // namespace delineate
