// Affine maps and area-true resize against the same rule applied pixel by pixel.
#include "affine.hpp"

#include <cmath>

#include "check.hpp"
#include "dense.hpp"
#include "geometry.hpp"

using namespace delineate;
using delineate::test::Pixels;
using delineate::test::Random;

namespace {

Pixels decode(const Rle& rle) {
    test::check_canonical(rle);
    Pixels out(rle.size(), rle.height, rle.width);
    decode_rows(rle, out.values.data());
    return out;
}

double number(Random& random) {
    switch (random.below(4)) {
        case 0: return static_cast<double>(random.between(-3, 3));
        case 1: return random.unit() * 1e-17;  // as good as zero
        case 2: return (random.unit() - .5) * 1e6;
        default: return (random.unit() - .5) * 6;
    }
}

void check_affine(Random& random, Pixels pixels) {
    const Rle rle = encode_rows(pixels.values.data(), pixels.n, pixels.height, pixels.width);
    std::array<double, 6> m{};
    for (double& v : m) v = number(random);
    Pixels expected(pixels.n, random.below(40), random.below(40));
    for (int64_t i = 0; i < pixels.n; ++i)
        for (int64_t y = 0; y < expected.height; ++y)
            for (int64_t x = 0; x < expected.width; ++x) {
                const double cx = static_cast<double>(x) + .5, cy = static_cast<double>(y) + .5;
                const double u = std::floor(m[0] * cx + m[1] * cy + m[2]), v = std::floor(m[3] * cx + m[4] * cy + m[5]);
                if (u < 0 || v < 0 || u >= static_cast<double>(pixels.width) || v >= static_cast<double>(pixels.height))
                    continue;
                expected.at(i, y, x) = pixels.at(i, static_cast<int64_t>(v), static_cast<int64_t>(u));
            }
    const double determinant = m[0] * m[4] - m[1] * m[3];
    const Pixels found = decode(affine(rle, m, expected.height, expected.width));
    // A map without an inverse is refused before it comes here; it only must not do harm.
    if (std::abs(determinant) > 1e-9 * (std::abs(m[0] * m[4]) + std::abs(m[1] * m[3]))) CHECK(found == expected);
}

void check_area(Random& random, Pixels pixels) {
    const Rle rle = encode_rows(pixels.values.data(), pixels.n, pixels.height, pixels.width);
    Pixels expected(pixels.n, random.below(20), random.below(20));
    for (int64_t i = 0; i < pixels.n; ++i)
        for (int64_t y = 0; y < expected.height; ++y)
            for (int64_t x = 0; x < expected.width; ++x) {
                int64_t area = 0;
                for (int64_t v = y * pixels.height; v < (y + 1) * pixels.height; ++v)
                    for (int64_t u = x * pixels.width; u < (x + 1) * pixels.width; ++u)
                        area += pixels.at(i, v / expected.height, u / expected.width);
                expected.at(i, y, x) = pixels.height * pixels.width > 0 && 2 * area >= pixels.height * pixels.width;
            }
    CHECK(decode(resize_area(rle, expected.height, expected.width)) == expected);
}

}  // namespace

int main() {
    Random random(5);
    for (int round = 0; round < 1500; ++round) {
        const auto pixels = test::random_pixels(random, random.below(3), random.below(24), random.below(24));
        check_affine(random, pixels);
        check_area(random, pixels);
    }
    std::puts("affine: ok");
}
