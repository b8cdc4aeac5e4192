// RoIAlign of runs against bilinear samples of the pixels, one after the other, with boxes of every kind.
#include <cmath>

#include "check.hpp"
#include "dense.hpp"
#include "roi_align.hpp"

using namespace delineate;
using delineate::test::Random;

namespace {

double sample(const uint8_t* plane, int64_t height, int64_t width, float y, float x) {
    if (y < -1 || y > static_cast<float>(height) || x < -1 || x > static_cast<float>(width)) return 0;
    y = std::max(y, 0.0F);
    x = std::max(x, 0.0F);
    const int64_t y0 = std::min(static_cast<int64_t>(y), height - 1), x0 = std::min(static_cast<int64_t>(x), width - 1);
    const int64_t y1 = std::min(y0 + 1, height - 1), x1 = std::min(x0 + 1, width - 1);
    const double v = y0 == height - 1 ? 0 : y - static_cast<float>(y0), u = x0 == width - 1 ? 0 : x - static_cast<float>(x0);
    const auto at = [&](int64_t row, int64_t column) { return double{static_cast<double>(plane[row * width + column] != 0)}; };
    return (1 - v) * ((1 - u) * at(y0, x0) + u * at(y0, x1)) + v * ((1 - u) * at(y1, x0) + u * at(y1, x1));
}

float coordinate(Random& random, int64_t side) {
    switch (random.below(4)) {
        case 0: return static_cast<float>(random.between(-3, side + 3));
        case 1: return static_cast<float>(random.between(-300, 300));
        default: return static_cast<float>(random.unit() * static_cast<double>(side + 4) - 2);
    }
}

void check_boxes(Random& random) {
    auto pixels = test::random_pixels(random, random.between(1, 3), random.between(1, 30), random.between(1, 30));
    const Rle rle = encode_rows(pixels.values.data(), pixels.n, pixels.height, pixels.width);
    const std::array<int64_t, 2> size{random.between(1, 9), random.between(1, 9)};
    const int64_t count = random.below(20);
    const bool aligned = random.below(2);
    std::vector<int64_t> indices;
    std::vector<float> boxes;
    for (int64_t r = 0; r < count; ++r) {
        indices.push_back(random.below(pixels.n));
        for (int side = 0; side < 4; ++side) boxes.push_back(coordinate(random, side % 2 ? pixels.height : pixels.width));
    }
    std::vector<float> found(static_cast<size_t>(count * size[0] * size[1]), 7), again = found;
    roi_align(rle, indices, boxes, size, aligned, found.data(), 1);
    roi_align(rle, indices, boxes, size, aligned, again.data(), 3);
    CHECK(found == again);
    for (int64_t r = 0; r < count; ++r) {
        const float shift = aligned ? 0.5F : 0.0F;
        const float left = boxes[4 * r] - shift, top = boxes[4 * r + 1] - shift;
        float width = boxes[4 * r + 2] - shift - left, height = boxes[4 * r + 3] - shift - top;
        if (!aligned) width = std::max(width, 1.0F), height = std::max(height, 1.0F);
        const float bin_height = height / static_cast<float>(size[0]), bin_width = width / static_cast<float>(size[1]);
        const auto down = static_cast<int64_t>(std::ceil(bin_height)), across = static_cast<int64_t>(std::ceil(bin_width));
        for (int64_t i = 0; i < size[0]; ++i)
            for (int64_t j = 0; j < size[1]; ++j) {
                double sum = 0;
                for (int64_t v = 0; v < down; ++v)
                    for (int64_t u = 0; u < across; ++u) {
                        const float y = top + static_cast<float>(i) * bin_height +
                                        (static_cast<float>(v) + 0.5F) * bin_height / static_cast<float>(down);
                        const float x = left + static_cast<float>(j) * bin_width +
                                        (static_cast<float>(u) + 0.5F) * bin_width / static_cast<float>(across);
                        sum += sample(&pixels.at(indices[r], 0, 0), pixels.height, pixels.width, y, x);
                    }
                const double want = sum / std::max<double>(1, static_cast<double>(down) * static_cast<double>(across));
                CHECK(std::abs(want - found[(r * size[0] + i) * size[1] + j]) < 1e-6);
            }
    }
}

}  // namespace

int main() {
    Random random(28);
    for (int round = 0; round < 400; ++round) check_boxes(random);
    const Rle nothing{0, 5, {0}, {0, 1}};
    std::vector<float> out(4, 1);
    roi_align(nothing, std::vector<int64_t>{0}, std::vector<float>{0, 0, 2, 2}, {2, 2}, true, out.data(), 1);
    CHECK(out == std::vector<float>(4, 0));
}
