// Interpolated masks against two plain interpolations of every pixel, and with numbers that no sane network would write.
#include <cmath>
#include <limits>

#include "check.hpp"
#include "upsample.hpp"

using namespace delineate;
using delineate::test::Random;

namespace {

struct Scene {
    std::vector<float> values;
    Logits logits;
    int64_t height, width;
};

Scene random_scene(Random& random) {
    Scene scene;
    auto& l = scene.logits;
    l.n = random.below(4);
    l.rows = random.between(1, 9);
    l.columns = random.between(1, 9);
    l.side = std::max(l.rows, l.columns) * random.between(1, 4) + random.below(3);
    l.content_height = random.between(1, l.side);
    l.content_width = random.between(1, l.side);
    scene.height = random.between(1, 50);
    scene.width = random.between(1, 50);
    for (int64_t i = 0; i < l.n * l.rows * l.columns; ++i)
        scene.values.push_back(static_cast<float>(random.unit() * 6 - 3));
    l.data = scene.values.data();
    return scene;
}

// Bilinear interpolation of a (h, w) plane whose rows lie `stride` apart.
std::vector<double> resized(const std::vector<double>& plane, int64_t stride, int64_t h, int64_t w, int64_t height, int64_t width) {
    std::vector<double> out;
    for (int64_t y = 0; y < height; ++y)
        for (int64_t x = 0; x < width; ++x) {
            const double v = std::max((static_cast<double>(y) + 0.5) * static_cast<double>(h) / static_cast<double>(height) - 0.5, 0.0);
            const double u = std::max((static_cast<double>(x) + 0.5) * static_cast<double>(w) / static_cast<double>(width) - 0.5, 0.0);
            const auto y0 = static_cast<int64_t>(v), x0 = static_cast<int64_t>(u);
            const int64_t y1 = std::min(y0 + 1, h - 1), x1 = std::min(x0 + 1, w - 1);
            const double fy = v - static_cast<double>(y0), fx = u - static_cast<double>(x0);
            const double upper = plane[y0 * stride + x0] * (1 - fx) + plane[y0 * stride + x1] * fx;
            out.push_back(upper * (1 - fy) + (plane[y1 * stride + x0] * (1 - fx) + plane[y1 * stride + x1] * fx) * fy);
        }
    return out;
}

void check_masks(Random& random) {
    const Scene scene = random_scene(random);
    const auto& l = scene.logits;
    const auto found = masks_from_logits(l, scene.height, scene.width, 0.25f, 0.5f, 1);
    test::check_canonical(found.masks);
    const auto again = masks_from_logits(l, scene.height, scene.width, 0.25f, 0.5f, 3);
    CHECK(found.masks == again.masks && found.inner == again.inner && found.outer == again.outer);
    for (int64_t i = 0; i < l.n; ++i) {
        const float* map = l.data + i * l.rows * l.columns;
        const std::vector<double> plane(map, map + l.rows * l.columns);
        const auto canvas = resized(plane, l.columns, l.rows, l.columns, l.side, l.side);
        const auto full = resized(canvas, l.side, l.content_height, l.content_width, scene.height, scene.width);
        std::vector<char> covered(static_cast<size_t>(scene.height * scene.width));
        for_each_span(found.masks.runs(i), scene.height, [&](int64_t x, int64_t y0, int64_t y1) {
            for (int64_t y = y0; y < y1; ++y) covered[y * scene.width + x] = 1;
        });
        int64_t inner[2] = {}, outer[2] = {};
        for (size_t at = 0; at < full.size(); ++at) {
            if (std::fabs(full[at] - 0.25) > 1e-5) CHECK((full[at] > 0.25) == (covered[at] != 0));
            inner[0] += full[at] > 0.75 + 1e-5;
            inner[1] += full[at] > 0.75 - 1e-5;
            outer[0] += full[at] > -0.25 + 1e-5;
            outer[1] += full[at] > -0.25 - 1e-5;
        }
        CHECK(found.inner[i] >= inner[0] && found.inner[i] <= inner[1]);
        CHECK(found.outer[i] >= outer[0] && found.outer[i] <= outer[1]);
    }
}

void check_hostile(Random& random) {
    Scene scene = random_scene(random);
    constexpr float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    constexpr float values[] = {nan, inf, -inf, 3e38f, -3e38f, 1e-45f};
    for (auto& v : scene.values)
        if (random.below(4) == 0) v = values[random.below(6)];
    test::check_canonical(masks_from_logits(scene.logits, scene.height, scene.width, 0, 1, 2).masks);
}

}  // namespace

int main() {
    Random random(5);
    for (int round = 0; round < 500; ++round) check_masks(random);
    for (int round = 0; round < 300; ++round) check_hostile(random);
    const float one = 1;
    CHECK(test::refuses([&] { masks_from_logits({&one, 1, 1, 1, 0, 1, 1}, 4, 4, 0, 1, 1); }));
    CHECK(test::refuses([&] { masks_from_logits({&one, 1, 1, 1, 4, 5, 1}, 4, 4, 0, 1, 1); }));
    CHECK(test::refuses([&] { masks_from_logits({&one, 1, 1, 1, 4, 1, 1}, int64_t{1} << 31, 2, 0, 1, 1); }));
}
