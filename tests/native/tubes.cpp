// Overlap of tubes against a count of pixels.
#include <algorithm>

#include "check.hpp"
#include "dense.hpp"
#include "match.hpp"

using namespace delineate;
using delineate::test::Pixels;
using delineate::test::Random;

namespace {

constexpr int64_t kHeight = 6, kWidth = 5, kTubes = 4;

struct Scene {
    std::vector<Pixels> frames;
    std::vector<std::vector<int64_t>> tubes;  // per frame: the tube of each mask
    std::vector<Rle> masks;
    std::vector<int64_t> tube_of;

    Scene(Random& random, int64_t count) {
        for (int64_t f = 0; f < count; ++f) {
            std::vector<int64_t> here;
            for (int64_t t = 0; t < kTubes; ++t)
                if (random.below(3)) here.push_back(t);
            if (random.below(2)) std::reverse(here.begin(), here.end());
            frames.push_back(test::random_pixels(random, static_cast<int64_t>(here.size()), kHeight, kWidth));
            masks.push_back(encode_rows(frames.back().values.data(), frames.back().n, kHeight, kWidth));
            tube_of.insert(tube_of.end(), here.begin(), here.end());
            tubes.push_back(std::move(here));
        }
    }
    Tubes view() const {
        std::vector<const Rle*> pointers;
        for (const Rle& rle : masks) pointers.push_back(&rle);
        return {std::move(pointers), tube_of, kTubes};
    }
    bool covers(size_t frame, int64_t tube, int64_t pixel) const {
        for (size_t i = 0; i < tubes[frame].size(); ++i)
            if (tubes[frame][i] == tube)
                return frames[frame].values[i * kHeight * kWidth + static_cast<size_t>(pixel)] != 0;
        return false;
    }
};

void test_counts(Random& random) {
    const int64_t count = random.below(5);
    const Scene truths(random, count), found(random, count);
    const auto overlap = tube_overlap(truths.view(), found.view());
    const auto view = overlap->view();
    const std::vector<int64_t> chosen{2, 0, 3};
    const std::vector<uint8_t> crowd{1, 0, 0};
    view->open(0, chosen, crowd);
    std::vector<double> row(3), above(3);
    for (int64_t d = 0; d < kTubes; ++d) {
        view->row(d, 0, row);
        view->row(d, 0.4, above);
        for (size_t g = 0; g < chosen.size(); ++g) {
            int64_t both = 0, any = 0;
            for (size_t f = 0; f < static_cast<size_t>(count); ++f)
                for (int64_t p = 0; p < kHeight * kWidth; ++p) {
                    const bool a = truths.covers(f, chosen[g], p), b = found.covers(f, d, p);
                    both += a && b;
                    any += a || b;
                }
            const double iou = any ? static_cast<double>(both) / static_cast<double>(any) : 0;
            CHECK(row[g] == iou);
            CHECK(above[g] == iou || (above[g] == 0 && iou < 0.4));
        }
    }
}

void test_refusals() {
    Random random(1);
    const Scene scene(random, 3), shorter(random, 2);
    CHECK(test::refuses([&] { tube_overlap(scene.view(), shorter.view()); }));
    const auto with = [&](std::vector<int64_t> numbers) {
        Tubes tubes = scene.view();
        tubes.tube_of = numbers;
        return test::refuses([&] { tube_overlap(tubes, scene.view()); });
    };
    auto numbers = scene.tube_of;
    numbers.front() = kTubes;
    CHECK(with(numbers));
    numbers.front() = -1;
    CHECK(with(numbers));
    numbers = scene.tube_of;
    numbers.pop_back();
    CHECK(with(numbers));
    numbers = scene.tube_of;
    numbers.push_back(0);
    CHECK(with(numbers));
    CHECK(test::refuses([] { tube_overlap({{}, {}, -1}, {{}, {}, -1}); }));
}

}  // namespace

int main() {
    Random random(7);
    for (int n = 0; n < 300; ++n) test_counts(random);
    test_refusals();
}
