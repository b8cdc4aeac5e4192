// Decoding against interpolation of every pixel, and with numbers that no sane network would write.
#include <cmath>
#include <limits>

#include "check.hpp"
#include "decode.hpp"
#include "dense.hpp"

using namespace delineate;
using delineate::test::Random;

namespace {

double uniform(Random& random, double low, double high) {
    return low + (high - low) * static_cast<double>(random.below(1 << 20)) / (1 << 20);
}

struct Scene {
    std::vector<float> boxes, coefficients, cells;
    Prototypes prototypes;
    Sampling sampling;
};

Scene random_scene(Random& random) {
    Scene scene;
    const int64_t n = random.below(6);
    auto& p = scene.prototypes;
    p.depth = random.between(1, 4);
    p.height = random.between(1, 20);
    p.width = random.between(1, 40);
    auto& s = scene.sampling;
    s.height = random.between(1, 40);
    s.width = random.between(1, 60);
    s.step_y = uniform(random, 0.02, 3);
    s.step_x = uniform(random, 0.02, 3);
    s.offset_y = uniform(random, -5, 5);
    s.offset_x = uniform(random, -5, 5);
    for (int64_t i = 0; i < p.depth * p.height * p.width; ++i)
        scene.cells.push_back(static_cast<float>(uniform(random, -1, 1)));
    for (int64_t i = 0; i < n * p.depth; ++i) scene.coefficients.push_back(static_cast<float>(uniform(random, -1, 1)));
    for (int64_t i = 0; i < n; ++i) {
        const double x = uniform(random, -10, 60), y = uniform(random, -10, 40);
        for (const double v : {x, y, x + uniform(random, -2, 50), y + uniform(random, -2, 40)})
            scene.boxes.push_back(static_cast<float>(v));
    }
    p.data = scene.cells.data();
    return scene;
}

double logit(const Scene& scene, int64_t i, int64_t row, int64_t column) {
    const auto& p = scene.prototypes;
    const auto& s = scene.sampling;
    const double v = std::clamp((row + 0.5) * s.step_y + s.offset_y, 0.0, p.height - 1.0);
    const double u = std::clamp((column + 0.5) * s.step_x + s.offset_x, 0.0, p.width - 1.0);
    const auto y0 = static_cast<int64_t>(v), x0 = static_cast<int64_t>(u);
    const int64_t y1 = std::min(y0 + 1, p.height - 1), x1 = std::min(x0 + 1, p.width - 1);
    const auto cell = [&](int64_t y, int64_t x) {
        double sum = 0;
        for (int64_t k = 0; k < p.depth; ++k)
            sum += double{scene.coefficients[i * p.depth + k]} * scene.cells[(k * p.height + y) * p.width + x];
        return sum;
    };
    const double fy = v - static_cast<double>(y0), fx = u - static_cast<double>(x0);
    const double upper = cell(y0, x0) * (1 - fx) + cell(y0, x1) * fx;
    return upper * (1 - fy) + (cell(y1, x0) * (1 - fx) + cell(y1, x1) * fx) * fy;
}

void check_masks(Random& random) {
    const Scene scene = random_scene(random);
    const auto& s = scene.sampling;
    const Rle rle = masks_from_prototypes(scene.boxes, scene.coefficients, scene.prototypes, s, 1);
    test::check_canonical(rle);
    CHECK(rle == masks_from_prototypes(scene.boxes, scene.coefficients, scene.prototypes, s, 3));
    for (int64_t i = 0; i < rle.size(); ++i) {
        std::vector<char> covered(static_cast<size_t>(s.height * s.width));
        for_each_span(rle.runs(i), s.height, [&](int64_t x, int64_t y0, int64_t y1) {
            for (int64_t y = y0; y < y1; ++y) covered[y * s.width + x] = 1;
        });
        const float* box = &scene.boxes[4 * i];
        for (int64_t y = 0; y < s.height; ++y)
            for (int64_t x = 0; x < s.width; ++x) {
                const bool inside = x + 0.5 >= box[0] && x + 0.5 < box[2] && y + 0.5 >= box[1] && y + 0.5 < box[3];
                const double value = logit(scene, i, y, x);
                if (!inside) CHECK(!covered[y * s.width + x]);
                if (inside && std::fabs(value) > 1e-4) CHECK((value > 0) == (covered[y * s.width + x] != 0));
            }
    }
}

float hostile(Random& random) {
    constexpr float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    constexpr float values[] = {nan, inf, -inf, 0, -0.0f, 1, -1, 3e38f, -3e38f, 1e-45f, 1e30f, 0.5f, 100, 1e9f};
    return values[random.below(14)];
}

// Whatever the numbers are, the answer is canonical and nothing is read or converted out of range.
void check_hostile_masks(Random& random) {
    Scene scene = random_scene(random);
    for (auto* numbers : {&scene.boxes, &scene.coefficients, &scene.cells})
        for (auto& v : *numbers)
            if (random.below(12) == 0) v = hostile(random);
    test::check_canonical(masks_from_prototypes(scene.boxes, scene.coefficients, scene.prototypes, scene.sampling, 2));
}

void check_heads(Random& random, bool wild) {
    Head head;
    head.layout = static_cast<Head::Layout>(random.below(3));
    head.classes = random.between(1, 20);
    head.coefficients = random.between(0, 5);
    head.input_height = head.input_width = 64;
    head.strides = {8, 16, 32};
    const bool bins = head.layout == Head::Layout::bins;
    head.anchors = bins ? 84 : random.below(700);
    const bool apart = bins && random.below(2);
    const int64_t width = (bins ? 64 : 4) + head.classes + (apart ? 0 : head.coefficients);
    std::vector<float> numbers, separate;
    for (int64_t i = 0; i < width * head.anchors; ++i)
        numbers.push_back(wild && random.below(3) == 0 ? hostile(random) : static_cast<float>(uniform(random, 0, 1)));
    for (int64_t i = 0; i < head.anchors * head.coefficients; ++i) separate.push_back(static_cast<float>(i));
    head.data = numbers.data();
    if (apart) head.separate = separate.data();
    Selection selection;
    selection.score = uniform(random, 0, 1);
    selection.iou = uniform(random, 0, 1);
    selection.max_detections = random.between(1, 50);
    selection.max_candidates = random.between(1, 200);
    selection.agnostic = random.below(2) == 0;
    const Selected found = detect(head, selection);
    const size_t n = found.scores.size();
    CHECK(n <= static_cast<size_t>(selection.max_detections));
    CHECK(found.boxes.size() == 4 * n && found.labels.size() == n);
    CHECK(found.coefficients.size() == n * static_cast<size_t>(head.coefficients));
    for (size_t i = 0; i < n; ++i) {
        CHECK(std::isfinite(found.scores[i]) && (i == 0 || found.scores[i] <= found.scores[i - 1]));
        CHECK(found.labels[i] >= 0 && found.labels[i] < head.classes);
        for (size_t k = 0; k < 4; ++k) CHECK(std::isfinite(found.boxes[4 * i + k]));
        CHECK(found.boxes[4 * i] < found.boxes[4 * i + 2] && found.boxes[4 * i + 1] < found.boxes[4 * i + 3]);
    }
}

// One pixel of a pasted crop by the definition: bilinear between cell centres, zero one cell outside of them.
double pasted(const std::vector<float>& logits, int64_t rows, int64_t columns, double y, double x) {
    const auto cell = [&](int64_t i, int64_t j) {
        if (i < 0 || j < 0 || i >= rows || j >= columns) return 0.0;
        return 1 / (1 + std::exp(-static_cast<double>(logits[i * columns + j])));
    };
    const double top = std::floor(y), left = std::floor(x);
    const auto i = static_cast<int64_t>(top), j = static_cast<int64_t>(left);
    const double v = y - top, u = x - left;
    return (cell(i, j) * (1 - u) + cell(i, j + 1) * u) * (1 - v) + (cell(i + 1, j) * (1 - u) + cell(i + 1, j + 1) * u) * v;
}

void check_crops(Random& random, bool wild) {
    const int64_t height = random.between(1, 40), width = random.between(1, 40);
    const int64_t rows = random.between(1, 9), columns = random.between(1, 9);
    std::vector<float> logits, box;
    for (int64_t i = 0; i < rows * columns; ++i) logits.push_back(static_cast<float>(uniform(random, -4, 4)));
    for (int64_t k = 0; k < 2; ++k) box.push_back(static_cast<float>(uniform(random, -20, 40)));
    for (int64_t k = 0; k < 2; ++k) box.push_back(box[k] + static_cast<float>(uniform(random, -1, 50)));
    if (wild) {
        for (auto* numbers : {&logits, &box})
            for (auto& v : *numbers)
                if (random.below(8) == 0) v = hostile(random);
    }
    const Rle found = masks_from_crops(box, {logits.data(), rows, columns}, {height, width}, 2);
    test::check_canonical(found);
    if (wild) return;
    std::vector<uint8_t> dense(static_cast<size_t>(height * width));
    decode_rows(found, dense.data());
    const double down = static_cast<double>(rows) / (double{box[3]} - box[1]);
    const double across = static_cast<double>(columns) / (double{box[2]} - box[0]);
    for (int64_t i = 0; i < height; ++i) {
        for (int64_t j = 0; j < width; ++j) {
            const double y = (static_cast<double>(i) + 0.5 - box[1]) * down - 0.5;
            const double x = (static_cast<double>(j) + 0.5 - box[0]) * across - 0.5;
            const bool inside = down > 0 && across > 0 && y >= -1 && x >= -1 && y <= static_cast<double>(rows) &&
                                x <= static_cast<double>(columns);
            const double value = inside ? pasted(logits, rows, columns, y, x) : 0.0;
            if (std::fabs(value - 0.5) > 1e-5) CHECK((dense[i * width + j] != 0) == (value > 0.5));
        }
    }
}

}  // namespace

int main() {
    Random random(11);
    for (int round = 0; round < 3000; ++round) check_crops(random, round % 2 == 0);
    for (int round = 0; round < 400; ++round) check_masks(random);
    for (int round = 0; round < 2000; ++round) check_hostile_masks(random);
    for (int round = 0; round < 600; ++round) check_heads(random, round % 2 == 0);
}
