// Discs, hulls, skeletons and intensities against plain loops over pixels.
#include <cmath>

#include "check.hpp"
#include "dense.hpp"
#include "hull.hpp"
#include "intensity.hpp"
#include "morphology.hpp"
#include "skeleton.hpp"

using namespace delineate;
using delineate::test::Random;

namespace {

std::vector<uint8_t> decoded(const Rle& rle) {
    test::check_canonical(rle);
    std::vector<uint8_t> out(static_cast<size_t>(rle.size() * rle.pixels()));
    decode_rows(rle, out.data());
    return out;
}

void check_discs(const test::Pixels& pixels, const Rle& rle, int64_t radius) {
    const auto thick = decoded(dilate(rle, radius, Element::kDisc)), thin = decoded(erode(rle, radius, Element::kDisc));
    for (int64_t i = 0; i < pixels.n; ++i)
        for (int64_t y = 0; y < pixels.height; ++y)
            for (int64_t x = 0; x < pixels.width; ++x) {
                bool any = false, all = true;
                for (int64_t dy = -radius; dy <= radius; ++dy)
                    for (int64_t dx = -radius; dx <= radius; ++dx) {
                        if (dx * dx + dy * dy > radius * radius) continue;
                        const int64_t r = y + dy, c = x + dx;
                        const bool inside = r >= 0 && c >= 0 && r < pixels.height && c < pixels.width;
                        const bool set = inside && pixels.values[(i * pixels.height + r) * pixels.width + c];
                        any |= set;
                        all &= set;
                    }
                const int64_t at = (i * pixels.height + y) * pixels.width + x;
                CHECK(thick[at] == any && thin[at] == all);
            }
}

void check_hulls(const test::Pixels& pixels, const Rle& rle) {
    const auto hull = decoded(convex_hulls(rle));
    const auto measures = hull_measures(rle, 1, 1);
    for (int64_t i = 0; i < pixels.n; ++i) {
        int64_t area = 0;
        for (int64_t k = 0; k < rle.pixels(); ++k) {
            CHECK(hull[i * rle.pixels() + k] >= pixels.values[i * rle.pixels() + k]);
            area += hull[i * rle.pixels() + k];
        }
        const double* row = measures.data() + i * kHullMeasures;
        CHECK(row[0] == static_cast<double>(area));
        CHECK(area == 0 ? row[2] == 0 && std::isnan(row[3]) : row[2] >= 1 && row[4] > 0.7 && row[4] <= row[2]);
    }
    CHECK(decoded(convex_hulls(convex_hulls(rle))).size() == hull.size());
}

void check_intensities(Random& random, const test::Pixels& pixels, const Rle& rle) {
    std::vector<uint16_t> picture(static_cast<size_t>(2 * rle.pixels()));
    for (auto& v : picture) v = static_cast<uint16_t>(random.below(65536));
    const auto found = statistics(rle, picture.data(), 2);
    for (int64_t i = 0; i < pixels.n; ++i)
        for (int64_t c = 0; c < 2; ++c) {
            double sum = 0, least = INFINITY;
            for (int64_t k = 0; k < rle.pixels(); ++k) {
                if (!pixels.values[i * rle.pixels() + k]) continue;
                sum += picture[2 * k + c];
                least = std::min<double>(least, picture[2 * k + c]);
            }
            const double* row = found.data() + (2 * i + c) * kStatistics;
            CHECK(row[4] == sum && (std::isinf(least) ? std::isnan(row[1]) : row[1] == least && row[5] >= least));
        }
}

}  // namespace

int main() {
    Random random(11);
    for (int round = 0; round < 200; ++round) {
        const int64_t n = random.below(4), height = random.between(0, 70), width = random.between(0, 12);
        const auto pixels = test::random_pixels(random, n, height, width);
        const Rle rle = encode_rows(pixels.values.data(), n, height, width);
        check_discs(pixels, rle, random.below(6));
        check_hulls(pixels, rle);
        check_intensities(random, pixels, rle);
        const auto lines = decoded(skeletons(rle));
        for (size_t k = 0; k < lines.size(); ++k) CHECK(lines[k] <= pixels.values[k]);
        const auto pairs = links(rle);
        int64_t beside = 0, found = 0;
        for (int64_t i = 0; i < n; ++i) {
            found += pairs[3 * i];
            for (int64_t y = 0; y < height; ++y)
                for (int64_t x = 0; x + 1 < width; ++x) {
                    const int64_t at = (i * height + y) * width + x;
                    beside += pixels.values[at] & pixels.values[at + 1];
                }
        }
        CHECK(beside == found);
    }
    std::puts("shape: ok");
}
