// Untrusted input: crops of CVAT and streams of Label Studio. Whatever comes, the answer is a canonical Rle or
// std::invalid_argument; what was written is read back.
#include "codecs.hpp"

#include "check.hpp"
#include "dense.hpp"

using namespace delineate;
using delineate::test::Random;

namespace {

std::string_view text(const std::vector<uint8_t>& bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void check_stream(int64_t height, int64_t width, const std::vector<uint8_t>& bytes) {
    const std::string_view streams[] = {text(bytes)};
    Rle rle;
    if (test::refuses([&] { rle = from_label_studio(height, width, streams); })) return;
    test::check_canonical(rle);
    CHECK(rle.height == height && rle.width == width);
}

void fuzz_streams(Random& random) {
    for (int round = 0; round < 20000; ++round) {
        const int64_t height = random.below(20), width = random.below(20), head = 4 * height * width;
        std::vector<uint8_t> bytes;
        if (random.below(8)) {  // the right length, so that the fields are read
            for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<uint8_t>(head >> shift));
        }
        for (int64_t k = random.below(60); k > 0; --k) bytes.push_back(static_cast<uint8_t>(random.below(256)));
        check_stream(height, width, bytes);
        check_stream(1 << 24, 1 << 24, bytes);
    }
}

void fuzz_damaged(Random& random) {
    for (int round = 0; round < 3000; ++round) {
        const int64_t height = random.between(1, 40), width = random.between(1, 40);
        const auto pixels = test::random_pixels(random, 1, height, width);
        const Rle rle = encode_rows(pixels.values.data(), 1, height, width);
        std::vector<uint8_t> bytes = to_label_studio(rle, 0);
        const std::string_view streams[] = {text(bytes)};
        CHECK(from_label_studio(height, width, streams) == rle);
        const size_t at = static_cast<size_t>(random.below(static_cast<int64_t>(bytes.size())));
        if (random.below(2)) {
            bytes.resize(at);
        } else {
            bytes[at] ^= static_cast<uint8_t>(1 << random.below(8));
        }
        check_stream(height, width, bytes);

        const RowCrops crops = row_crops(rle);
        CHECK(from_row_crops(height, width, crops.counts, crops.offsets, crops.boxes) == rle);
        std::vector<uint8_t> packed(static_cast<size_t>(height * ((width + 7) / 8)));
        pack_rows(rle, 0, packed.data());
        for (int64_t y = 0; y < height; ++y)
            for (int64_t x = 0; x < width; ++x)
                CHECK((packed[y * ((width + 7) / 8) + x / 8] >> (7 - x % 8) & 1) == pixels.values[y * width + x]);
    }
}

void fuzz_crops(Random& random) {
    for (int round = 0; round < 20000; ++round) {
        const int64_t height = random.below(8), width = random.below(8);
        const int64_t x0 = random.between(-1, 8), y0 = random.between(-1, 8);
        const Box boxes[] = {{x0, y0, x0 + random.between(-1, 8), y0 + random.between(-1, 8)}};
        std::vector<uint32_t> counts;
        int64_t left = boxes[0].width() * boxes[0].height();
        for (int64_t k = random.below(8); k > 0; --k) {
            const int64_t count = random.below(30) ? random.between(0, std::max<int64_t>(0, left)) : 0xffffffff;
            counts.push_back(static_cast<uint32_t>(count));
            left -= count;
        }
        if (left > 0 && random.below(8)) counts.push_back(static_cast<uint32_t>(left));
        const int64_t offsets[] = {0, static_cast<int64_t>(counts.size())};
        Rle rle;
        if (test::refuses([&] { rle = from_row_crops(height, width, counts, offsets, boxes); })) continue;
        test::check_canonical(rle);
    }
}

}  // namespace

int main() {
    Random random(11);
    fuzz_streams(random);
    fuzz_damaged(random);
    fuzz_crops(random);
    // Too many pixels for the format's 32 bits.
    CHECK(test::refuses([] { to_label_studio(Rle{1 << 16, 1 << 14, {1 << 30}, {0, 1}}, 0); }));
    std::puts("codecs_fuzz: ok");
}
