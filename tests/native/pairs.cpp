// Sparse pairs against the plain double loop.
#include "check.hpp"
#include "dense.hpp"
#include "pairs.hpp"

using namespace delineate;
using delineate::test::Random;

namespace {

void check(const Pairs& found, const std::vector<double>& shared, int64_t n, int64_t m, bool within) {
    size_t k = 0;
    for (int64_t i = 0; i < n; ++i)
        for (int64_t j = within ? i + 1 : 0; j < m; ++j) {
            if (!(shared[i * m + j] > 0)) continue;
            CHECK(k < found.first.size() && found.first[k] == i && found.second[k] == j);
            CHECK(found.shared[k] == shared[i * m + j]);
            ++k;
        }
    CHECK(k == found.first.size() && k == found.second.size() && k == found.shared.size());
}

std::vector<double> plain(const std::vector<double>& a, const std::vector<double>& b) {
    std::vector<double> shared;
    for (size_t i = 0; i < a.size(); i += 4)
        for (size_t j = 0; j < b.size(); j += 4) {
            const double w = std::min(a[i + 2], b[j + 2]) - std::max(a[i], b[j]);
            const double h = std::min(a[i + 3], b[j + 3]) - std::max(a[i + 1], b[j + 1]);
            const bool real = a[i] < a[i + 2] && a[i + 1] < a[i + 3] && b[j] < b[j + 2] && b[j + 1] < b[j + 3];
            shared.push_back(real && w > 0 && h > 0 ? w * h : 0);
        }
    return shared;
}

std::vector<double> random_boxes(Random& random, int64_t n) {
    std::vector<double> boxes;
    for (int64_t i = 0; i < n; ++i) {
        const double x = static_cast<double>(random.below(60)), y = static_cast<double>(random.below(60));
        const double size = random.below(10) ? 10 : 1000;
        for (const double v : {x, y, x + (random.unit() - 0.1) * size, y + (random.unit() - 0.1) * size}) boxes.push_back(v);
    }
    return boxes;
}

}  // namespace

int main() {
    Random random(5);
    for (int round = 0; round < 400; ++round) {
        const int64_t n = random.below(150), m = random.below(150);
        const auto a = random_boxes(random, n), b = random_boxes(random, m);
        const std::span<const double> others = b;
        check(box_pairs(a, &others), plain(a, b), n, m, false);
        check(box_pairs(a, nullptr), plain(a, a), n, n, true);
    }
    for (int round = 0; round < 400; ++round) {
        const int64_t n = random.below(12), height = random.between(1, 70), width = random.between(1, 12);
        const auto pixels = test::random_pixels(random, n, height, width);
        const Rle masks = encode_rows(pixels.values.data(), n, height, width);
        std::vector<double> shared;
        for (int64_t i = 0; i < n; ++i)
            for (int64_t j = 0; j < n; ++j) {
                int64_t sum = 0;
                for (int64_t k = 0; k < height * width; ++k)
                    sum += pixels.values[i * height * width + k] & pixels.values[j * height * width + k];
                shared.push_back(static_cast<double>(sum));
            }
        check(mask_pairs(masks, &masks), shared, n, n, false);
        check(mask_pairs(masks, nullptr), shared, n, n, true);
    }
    std::puts("pairs: ok");
}
