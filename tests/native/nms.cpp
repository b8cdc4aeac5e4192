// Suppression on a grid against the plain double loop.
#include "check.hpp"
#include "pairs.hpp"

using namespace delineate;
using delineate::test::Random;

namespace {

std::vector<int64_t> plain(const std::vector<float>& boxes, const std::vector<int64_t>& order, float threshold) {
    const auto area = [](float x0, float y0, float x1, float y1) {
        return std::max(0.0f, x1 - x0) * std::max(0.0f, y1 - y0);
    };
    std::vector<int64_t> kept;
    for (const int64_t i : order) {
        const float* b = &boxes[4 * i];
        bool stays = true;
        for (const int64_t k : kept) {
            const float* a = &boxes[4 * k];
            const float both = area(std::max(a[0], b[0]), std::max(a[1], b[1]), std::min(a[2], b[2]), std::min(a[3], b[3]));
            const float over = area(a[0], a[1], a[2], a[3]) + area(b[0], b[1], b[2], b[3]) - both;
            stays = stays && !(both > 0 && both / over > threshold);
        }
        if (stays) kept.push_back(i);
    }
    return kept;
}

}  // namespace

int main() {
    Random random(3);
    for (int round = 0; round < 2000; ++round) {
        const int64_t n = random.below(80);
        std::vector<float> boxes;
        std::vector<int64_t> order;
        for (int64_t i = 0; i < n; ++i) {
            // Grid points make many equal overlaps and boxes without area; some boxes are inside out or very large.
            const double scale = random.below(20) ? 1 : random.below(2) ? 1e4 : 1e30;
            const double x = static_cast<double>(random.below(40)), y = static_cast<double>(random.below(40));
            const double w = static_cast<double>(random.between(-1, 20)), h = random.unit() * 20;
            for (const double v : {x * scale, y * scale, (x + w) * scale, (y + h) * scale})
                boxes.push_back(static_cast<float>(v));
            order.insert(order.begin() + random.between(0, i), i);
        }
        const float threshold = static_cast<float>(random.below(11)) / 10;
        CHECK(box_nms(boxes, order, threshold) == plain(boxes, order, threshold));
    }
    std::puts("nms: ok");
}
