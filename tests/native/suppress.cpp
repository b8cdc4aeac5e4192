// Grouping, softening and fusing against their plain loops.
#include "check.hpp"
#include "dense.hpp"
#include "suppress.hpp"

using namespace delineate;
using delineate::test::Random;

namespace {

void check_graph(Random& random) {
    const int64_t n = random.below(30);
    std::vector<std::vector<double>> factor(static_cast<size_t>(n), std::vector<double>(static_cast<size_t>(n), 1));
    std::vector<int64_t> offsets{0}, objects, order;
    std::vector<double> factors, scores;
    for (int64_t i = 0; i < n; ++i)
        for (int64_t j = i + 1; j < n; ++j)
            if (random.below(3) == 0) factor[i][j] = factor[j][i] = 0.25 * static_cast<double>(random.below(4));
    for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < n; ++j)
            if (factor[i][j] < 1) objects.push_back(j), factors.push_back(factor[i][j]);
        offsets.push_back(static_cast<int64_t>(objects.size()));
        scores.push_back(static_cast<double>(random.below(5)));
        order.insert(order.begin() + random.between(0, i), i);
    }
    std::vector<double> plain = scores;
    std::vector<uint8_t> taken(static_cast<size_t>(n), 0);
    for (int64_t k = 0; k < n; ++k) {
        int64_t best = -1;
        for (int64_t i = 0; i < n; ++i)
            if (!taken[i] && (best < 0 || plain[i] > plain[best])) best = i;
        taken[best] = 1;
        for (int64_t i = 0; i < n; ++i)
            if (!taken[i]) plain[i] *= factor[best][i];
    }
    CHECK(soften(scores, {offsets, objects}, factors) == plain);
    std::vector<int64_t> leaders(static_cast<size_t>(n), -1);
    for (const int64_t i : order) {
        if (leaders[i] >= 0) continue;
        for (int64_t j = 0; j < n; ++j)
            if (leaders[j] < 0 && (i == j || factor[i][j] < 1)) leaders[j] = i;
    }
    CHECK(group_greedily(order, {offsets, objects}) == leaders);
}

void check_fusion(Random& random) {
    const int64_t n = random.below(10), height = random.between(1, 20), width = random.between(1, 9);
    const auto pixels = test::random_pixels(random, n, height, width);
    const Rle masks = encode_rows(pixels.values.data(), n, height, width);
    std::vector<int64_t> order, labels;
    std::vector<double> weights;
    for (int64_t i = 0; i < n; ++i) {
        order.push_back(i);
        labels.push_back(random.below(2));
        weights.push_back(static_cast<double>(random.below(5)));
    }
    const auto fused = fuse_masks(masks, {order, labels, weights}, 0.1);
    test::check_canonical(fused.masks);
    std::vector<uint8_t> found(static_cast<size_t>(fused.masks.size() * height * width));
    decode_rows(fused.masks, found.data());
    for (int64_t c = 0; c < fused.masks.size(); ++c) {
        double total = 0;
        std::vector<double> held(static_cast<size_t>(height * width), 0);
        bool all_zero = true;
        for (int64_t i = 0; i < n; ++i) all_zero = all_zero && !(fused.clusters[i] == c && weights[i] > 0);
        for (int64_t i = 0; i < n; ++i) {
            if (fused.clusters[i] != c) continue;
            const double weight = all_zero ? 1 : weights[i];
            total += weight;
            for (int64_t k = 0; k < height * width; ++k) held[k] += weight * pixels.values[i * height * width + k];
        }
        CHECK(total > 0);
        for (int64_t k = 0; k < height * width; ++k)
            CHECK((held[k] > 0 && 2 * held[k] >= total) == (found[c * height * width + k] == 1));
    }
    const std::vector<double> boxes(static_cast<size_t>(4 * n), 1);
    CHECK(fuse_boxes(boxes, {order, labels, weights}, 0.5).boxes == boxes);  // no area, no overlap
}

}  // namespace

int main() {
    Random random(7);
    for (int round = 0; round < 500; ++round) check_graph(random);
    for (int round = 0; round < 500; ++round) check_fusion(random);
    std::puts("suppress: ok");
}
