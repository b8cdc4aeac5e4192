// Untrusted input: COCO strings, counts and polygons. Whatever comes, the answer is a canonical Rle or std::invalid_argument.
#include <cmath>
#include <numeric>

#include "algebra.hpp"
#include "check.hpp"
#include "dense.hpp"
#include "polygon.hpp"
#include "rle_string.hpp"

using namespace delineate;
using delineate::test::Random;

namespace {

void check_string(int64_t height, int64_t width, std::string_view text) {
    const std::string_view strings[] = {text};
    Rle rle;
    if (test::refuses([&] { rle = from_strings(height, width, strings); })) return;
    test::check_canonical(rle);
    const std::string again = to_string(rle.runs(0));
    const std::string_view once_more[] = {again};
    CHECK(from_strings(height, width, once_more) == rle);
}

void fuzz_strings(Random& random) {
    for (int round = 0; round < 20000; ++round) {
        std::string text;
        const bool printable = random.below(4) > 0;
        for (int64_t k = random.below(24); k > 0; --k)
            text.push_back(static_cast<char>(printable ? random.between('0', 'o') : random.below(256)));
        check_string(random.below(1 << 24), random.below(1 << 16), text);
        check_string(random.below(8), random.below(8), text);
    }
}

// Right strings with one thing wrong.
void fuzz_damaged_strings(Random& random) {
    for (int round = 0; round < 5000; ++round) {
        const int64_t height = random.between(1, 60), width = random.between(1, 60);
        const auto pixels = test::random_pixels(random, 1, height, width);
        const Rle rle = encode_rows(pixels.values.data(), 1, height, width);
        std::string text = to_string(rle.runs(0));
        const std::string_view whole[] = {text};
        CHECK(from_strings(height, width, whole) == rle);
        const size_t at = static_cast<size_t>(random.below(static_cast<int64_t>(text.size())));
        if (random.below(3) == 0) {
            text.resize(at);
        } else if (random.below(2)) {
            text[at] = static_cast<char>(random.below(256));
        } else {
            text.insert(at, 1, static_cast<char>(random.between('0', 'o')));
        }
        check_string(height, width, text);
    }
}

void fuzz_counts(Random& random) {
    for (int round = 0; round < 20000; ++round) {
        const int64_t height = random.below(6), width = random.below(6);
        std::vector<uint32_t> counts;
        std::vector<int64_t> offsets{0};
        for (int64_t i = random.below(4); i > 0; --i) {
            int64_t left = height * width;
            for (int64_t k = random.below(8); k > 0; --k) {
                const int64_t count = random.below(50) ? random.between(0, left) : 0xffffffff - random.below(3);
                counts.push_back(static_cast<uint32_t>(count));
                left = std::max<int64_t>(0, left - count);
            }
            if (random.below(8)) counts.push_back(static_cast<uint32_t>(left));
            offsets.push_back(static_cast<int64_t>(counts.size()));
        }
        Rle rle;
        if (!test::refuses([&] { rle = from_counts(height, width, counts, offsets); })) test::check_canonical(rle);
    }
    // No overflow on the way to the comparison with the canvas.
    const std::vector<uint32_t> large(1000, 0xffffffff);
    const int64_t ends[] = {0, 1000};
    CHECK(test::refuses([&] { from_counts(1 << 24, 1 << 24, large, ends); }));
    const uint32_t most[] = {0xffffffff, 1};
    const int64_t both[] = {0, 2};
    test::check_canonical(from_counts(1 << 16, 1 << 16, most, both));
}

double coordinate(Random& random) {
    switch (random.below(6)) {
        case 0: return static_cast<double>(random.between(-10, 60));
        case 1: return random.unit() * 50;
        case 2: return (random.unit() - 0.5) * 2 * kLargestCoordinate;
        case 3: return random.below(2) ? kLargestCoordinate : -kLargestCoordinate;
        case 4: return static_cast<double>(random.between(-100, 600)) / 10;
        default: return 0;
    }
}

void fuzz_polygons(Random& random) {
    for (int round = 0; round < 20000; ++round) {
        std::vector<double> xy;
        std::vector<int64_t> points{0}, parts{0};
        for (int64_t i = random.below(4); i > 0; --i) {
            for (int64_t p = random.below(3); p > 0; --p) {
                // Some with more crossings in a column than are kept beside it.
                for (int64_t k = random.between(3, random.below(8) ? 10 : 60); k > 0; --k) {
                    const bool again = xy.size() > 8 && random.below(5) == 0;
                    xy.push_back(again ? xy[xy.size() - 8] : coordinate(random));
                    xy.push_back(again ? xy[xy.size() - 8] : coordinate(random));
                }
                points.push_back(static_cast<int64_t>(xy.size() / 2));
            }
            parts.push_back(static_cast<int64_t>(points.size()) - 1);
        }
        const int64_t height = random.below(50), width = random.below(50);
        const Rle rle = from_polygons(height, width, xy, points, parts);
        CHECK(rle.size() == static_cast<int64_t>(parts.size()) - 1);
        test::check_canonical(rle);
        // Even-odd over all rings of a mask is the exclusive or of the rings, each filled by itself.
        const Rle rings = from_rings(height, width, xy, points, parts);
        test::check_canonical(rings);
        std::vector<int64_t> each(points.size());
        std::iota(each.begin(), each.end(), 0);
        const Rle single = from_polygons(height, width, xy, points, each);
        for (int64_t i = 0; i < rings.size(); ++i) {
            Rle expected{height, width, {static_cast<uint32_t>(height * width)}, {0, 1}};
            for (int64_t p = parts[i]; p < parts[i + 1]; ++p)
                expected = combine(expected, take(single, std::span(&each[p], 1)), Table::kXor);
            CHECK(take(rings, std::span(&i, 1)) == expected);
        }
    }
    // One triangle over 2^48 pixels: refused or not, but neither overflow nor a list of all steps along its edges.
    const double corners[] = {0, 0, 1 << 20, 0, 0, 1 << 20};
    const int64_t three[] = {0, 3}, one[] = {0, 1};
    test::refuses([&] { test::check_canonical(from_polygons(1 << 24, 1 << 24, corners, three, one)); });
}

}  // namespace

int main() {
    Random random(7);
    fuzz_strings(random);
    fuzz_damaged_strings(random);
    fuzz_counts(random);
    fuzz_polygons(random);
    std::puts("masks_fuzz: ok");
}
