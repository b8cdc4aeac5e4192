// Everything on runs against the same thing done on pixels.
#include <cmath>

#include "check.hpp"
#include "dense.hpp"
#include "geometry.hpp"
#include "outline.hpp"
#include "pairs.hpp"

using namespace delineate;
using delineate::test::Pixels;
using delineate::test::Random;

namespace {

Pixels decode(const Rle& rle) {
    Pixels out(rle.size(), rle.height, rle.width);
    decode_rows(rle, out.values.data());
    return out;
}

Rle encode(const Pixels& pixels) { return encode_rows(pixels.values.data(), pixels.n, pixels.height, pixels.width); }

// out(i, y, x) = source(i, from(y, x)), 0 where that is outside.
template <class From>
Pixels mapped(Pixels source, int64_t height, int64_t width, From&& from) {
    Pixels out(source.n, height, width);
    for (int64_t i = 0; i < source.n; ++i)
        for (int64_t y = 0; y < height; ++y)
            for (int64_t x = 0; x < width; ++x) {
                const auto [v, u] = from(y, x);
                if (v >= 0 && v < source.height && u >= 0 && u < source.width) out.at(i, y, x) = source.at(i, v, u);
            }
    return out;
}

void check_codecs(Pixels pixels) {
    const Rle rle = encode(pixels);
    test::check_canonical(rle);
    CHECK(decode(rle) == pixels);
    Pixels used = pixels;
    std::fill(used.values.begin(), used.values.end(), uint8_t{7});
    decode_rows(rle, used.values.data(), true);
    CHECK(used == pixels);
    std::vector<uint8_t> columns;
    for (int64_t i = 0; i < pixels.n; ++i)
        for (int64_t x = 0; x < pixels.width; ++x)
            for (int64_t y = 0; y < pixels.height; ++y) columns.push_back(pixels.at(i, y, x) ? 255 : 0);
    CHECK(encode_columns(columns.data(), pixels.n, pixels.height, pixels.width) == rle);
    const auto boxes = tight_boxes(rle);
    for (int64_t i = 0; i < rle.size(); ++i) {
        std::vector<uint8_t> crop(static_cast<size_t>(boxes[i].width() * boxes[i].height()));
        decode_box(rle.runs(i), rle.height, boxes[i], crop.data());
        int64_t sum = 0;
        for (const uint8_t v : crop) sum += v;
        CHECK(sum == areas(rle)[i]);
    }
}

void check_geometry(const Pixels& pixels, Random& random) {
    const Rle rle = encode(pixels);
    const int64_t h = pixels.height, w = pixels.width;
    const auto same = [&](const Rle& got, const Pixels& expected) {
        test::check_canonical(got);
        CHECK(decode(got) == expected);
    };
    using At = std::pair<int64_t, int64_t>;
    same(flip_horizontal(rle), mapped(pixels, h, w, [&](int64_t y, int64_t x) { return At{y, w - 1 - x}; }));
    same(flip_vertical(rle), mapped(pixels, h, w, [&](int64_t y, int64_t x) { return At{h - 1 - y, x}; }));
    same(rotate180(rle), mapped(pixels, h, w, [&](int64_t y, int64_t x) { return At{h - 1 - y, w - 1 - x}; }));
    same(transpose(rle), mapped(pixels, w, h, [&](int64_t y, int64_t x) { return At{x, y}; }));
    const int64_t dy = random.between(-20, 20), dx = random.between(-20, 20);
    const int64_t height = random.below(150), width = random.below(150);
    same(shift(rle, dy, dx, height, width),
         mapped(pixels, height, width, [&](int64_t y, int64_t x) { return At{y - dy, x - dx}; }));
    same(resize(rle, height, width), mapped(pixels, height, width, [&](int64_t y, int64_t x) {
             return At{(2 * y + 1) * h / (2 * height), (2 * x + 1) * w / (2 * width)};
         }));
}

void check_pairs(Pixels pixels) {
    const Rle rle = encode(pixels);
    const int64_t n = rle.size();
    const auto iou = mask_iou(rle, rle, {});
    for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < n; ++j) {
            int64_t both = 0, any = 0;
            for (int64_t y = 0; y < rle.height; ++y)
                for (int64_t x = 0; x < rle.width; ++x) {
                    both += pixels.at(i, y, x) && pixels.at(j, y, x);
                    any += pixels.at(i, y, x) || pixels.at(j, y, x);
                }
            CHECK(iou[i * n + j] == (both ? static_cast<double>(both) / static_cast<double>(any) : 0));
        }
    const Rle all = unite(rle);
    test::check_canonical(all);
    Pixels united(1, rle.height, rle.width);
    for (int64_t i = 0; i < n; ++i)
        for (int64_t y = 0; y < rle.height; ++y)
            for (int64_t x = 0; x < rle.width; ++x) united.at(0, y, x) |= pixels.at(i, y, x);
    CHECK(decode(all) == united);
}

// Rings close, alternate between rows and columns, and enclose the area of their mask.
void check_outlines(const Pixels& pixels) {
    const Rle rle = encode(pixels);
    const auto outlines = trace(rle);
    const auto area = areas(rle);
    for (int64_t i = 0; i < rle.size(); ++i) {
        int64_t doubled = 0;
        for (int64_t r = outlines.masks[i]; r < outlines.masks[i + 1]; ++r) {
            const int64_t begin = outlines.rings[r], n = outlines.rings[r + 1] - begin;
            CHECK(n >= 4 && n % 2 == 0);
            for (int64_t k = 0; k < n; ++k) {
                const int32_t* a = &outlines.points[2 * (begin + k)];
                const int32_t* b = &outlines.points[2 * (begin + (k + 1) % n)];
                CHECK((a[0] == b[0]) == (k % 2 == 0) && (a[1] == b[1]) == (k % 2 == 1));
                doubled += int64_t{a[0]} * b[1] - int64_t{b[0]} * a[1];
            }
        }
        CHECK(doubled == 2 * area[i]);
    }
    for (const double length : perimeters(rle)) CHECK(std::isfinite(length) && length >= 0);
}

void check_cells(Pixels pixels, int64_t stride) {
    const Rle rle = encode(pixels);
    const auto found = cells(rle, stride);
    for (int64_t i = 0; i < rle.size(); ++i) {
        const Box& box = found.boxes[i];
        const float* value = found.values.data() + found.offsets[i];
        double total = 0;
        for (int64_t r = box.y0; r < box.y1; ++r)
            for (int64_t c = box.x0; c < box.x1; ++c, ++value) {
                const int64_t y1 = std::min(rle.height, (r + 1) * stride), x1 = std::min(rle.width, (c + 1) * stride);
                const double pixels_here = static_cast<double>((y1 - r * stride) * (x1 - c * stride));
                CHECK(*value >= 0 && *value <= 1);
                total += *value * pixels_here;
            }
        CHECK(std::abs(total - static_cast<double>(areas(rle)[i])) < 0.01);
    }
}

}  // namespace

int main() {
    Random random(1);
    for (int round = 0; round < 300; ++round) {
        const int64_t n = random.below(4);
        chosen_threads = static_cast<unsigned>(random.below(4));  // results do not depend on it
        const Pixels pixels = test::random_pixels(random, n, random.below(140), random.below(140));
        check_codecs(pixels);
        check_geometry(pixels, random);
        check_pairs(pixels);
        check_outlines(pixels);
        check_cells(pixels, random.between(1, 40));
    }
    std::puts("masks: ok");
}
