// Letterbox and overlays against the same thing done pixel by pixel, at every odd size, in buffers of the exact size.
#include <cmath>

#include "blend.hpp"
#include "check.hpp"
#include "dense.hpp"
#include "warp.hpp"

using namespace delineate;
using delineate::test::Random;

namespace {

std::vector<uint8_t> random_levels(Random& random, int64_t count) {
    std::vector<uint8_t> levels(static_cast<size_t>(count));
    for (auto& level : levels) level = static_cast<uint8_t>(random.below(256));
    return levels;
}

double sampled(const std::vector<uint8_t>& image, int64_t height, int64_t width, double v, double u, int64_t channel) {
    v = std::clamp(v, 0.0, height - 1.0);
    u = std::clamp(u, 0.0, width - 1.0);
    const auto y0 = static_cast<int64_t>(v), x0 = static_cast<int64_t>(u);
    const int64_t y1 = std::min(y0 + 1, height - 1), x1 = std::min(x0 + 1, width - 1);
    const double fy = v - static_cast<double>(y0), fx = u - static_cast<double>(x0);
    const auto at = [&](int64_t y, int64_t x) { return double{1} * image[(y * width + x) * 3 + channel]; };
    return (at(y0, x0) * (1 - fx) + at(y0, x1) * fx) * (1 - fy) + (at(y1, x0) * (1 - fx) + at(y1, x1) * fx) * fy;
}

void check_letterbox(Random& random) {
    const int64_t height = random.between(1, 40), width = random.between(1, 40);
    const auto image = random_levels(random, height * width * 3);
    Letterbox spec;
    spec.height = random.below(3) ? random.between(1, 40) : height;
    spec.width = random.below(3) ? random.between(1, 40) : width;
    spec.top = random.below(4);
    spec.left = random.below(4);
    spec.out_height = spec.top + spec.height + random.below(4);
    spec.out_width = spec.left + spec.width + random.below(4);
    spec.pad = 114;
    spec.reversed = random.below(2) == 0;
    for (int c = 0; c < 3; ++c) {
        spec.gain[c] = static_cast<float>(c + 1);
        spec.bias[c] = static_cast<float>(-c);
    }
    std::vector<float> out(static_cast<size_t>(3 * spec.out_height * spec.out_width), -1e9f);
    letterbox(image.data(), height, width, spec, out.data(), static_cast<unsigned>(random.between(1, 3)));
    for (int64_t c = 0; c < 3; ++c)
        for (int64_t y = 0; y < spec.out_height; ++y)
            for (int64_t x = 0; x < spec.out_width; ++x) {
                const int64_t i = y - spec.top, j = x - spec.left;
                double level = spec.pad;
                if (i >= 0 && i < spec.height && j >= 0 && j < spec.width) {
                    const double v = (i + 0.5) * static_cast<double>(height) / static_cast<double>(spec.height) - 0.5;
                    const double u = (j + 0.5) * static_cast<double>(width) / static_cast<double>(spec.width) - 0.5;
                    level = sampled(image, height, width, v, u, spec.reversed ? 2 - c : c);
                }
                const double expected = level * spec.gain[c] + spec.bias[c];
                CHECK(std::fabs(out[(c * spec.out_height + y) * spec.out_width + x] - expected) < 1e-3);
            }
}

void check_blend(Random& random) {
    const int64_t n = random.below(4), height = random.between(1, 12), width = random.between(1, 200);
    const auto masks = test::random_pixels(random, n, height, width);
    const auto colours = random_levels(random, 3 * n);
    const int alpha = static_cast<int>(random.between(0, 256)), outline = static_cast<int>(random.below(4));
    auto expected = random_levels(random, height * width * 3), image = expected;
    blend(image.data(), encode_rows(masks.values.data(), n, height, width), colours, alpha, outline);
    for (int64_t i = 0; i < n; ++i)
        for (int64_t y = 0; y < height; ++y)
            for (int64_t x = 0; x < width; ++x) {
                const auto covered = [&](int64_t v, int64_t u) {
                    const bool inside = v >= 0 && v < height && u >= 0 && u < width;
                    return inside && masks.values[(i * height + v) * width + u] != 0;
                };
                if (!covered(y, x)) continue;
                // Inner pixels are those whose whole diamond of radius `outline` is covered.
                bool inner = true;
                for (int64_t dy = -outline; dy <= outline; ++dy)
                    for (int64_t dx = -outline; dx <= outline; ++dx)
                        inner = inner && (std::abs(dy) + std::abs(dx) > outline || covered(y + dy, x + dx));
                for (int64_t c = 0; c < 3; ++c) {
                    uint8_t& level = expected[(y * width + x) * 3 + c];
                    const int mixed = (level * (256 - alpha) + colours[3 * i + c] * alpha + 128) >> 8;
                    level = inner ? static_cast<uint8_t>(mixed) : colours[3 * i + c];
                }
            }
    CHECK(image == expected);
}

void check_levels(Random& random) {
    const auto levels = random_levels(random, random.below(200));
    const auto counts = count_levels(levels);
    int64_t total = 0;
    for (const int64_t count : counts) total += count;
    CHECK(total == static_cast<int64_t>(levels.size()));
    std::array<uint8_t, 256> curve;
    for (size_t level = 0; level < 256; ++level) curve[level] = static_cast<uint8_t>(255 - level);
    std::vector<uint8_t> out(levels.size());
    map_levels(levels, curve, out.data());
    for (size_t i = 0; i < levels.size(); ++i) CHECK(out[i] == 255 - levels[i]);
}

}  // namespace

int main() {
    Random random(12);
    for (int round = 0; round < 600; ++round) check_letterbox(random);
    for (int round = 0; round < 600; ++round) check_blend(random);
    for (int round = 0; round < 200; ++round) check_levels(random);
}
