// Set operations, parts, morphology and label maps against the same thing done on pixels.
#include "algebra.hpp"

#include "check.hpp"
#include "components.hpp"
#include "dense.hpp"
#include "morphology.hpp"

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

Rle encode(const Pixels& pixels) { return encode_rows(pixels.values.data(), pixels.n, pixels.height, pixels.width); }

void check_sets(const Pixels& a, const Pixels& b) {
    for (const Table table : {Table::kNeither, Table::kDifference, Table::kXor, Table::kIntersection, Table::kUnion}) {
        Pixels expected = a;
        for (size_t k = 0; k < a.values.size(); ++k)
            expected.values[k] = static_cast<unsigned>(table) >> (a.values[k] + 2 * b.values[k]) & 1;
        CHECK(decode(combine(encode(a), encode(b), table)) == expected);
    }
}

// One step at a time, pixel by pixel.
Pixels stepped(Pixels from, bool thin, Element element) {
    Pixels out = from;
    for (int64_t i = 0; i < from.n; ++i)
        for (int64_t y = 0; y < from.height; ++y)
            for (int64_t x = 0; x < from.width; ++x)
                for (int64_t v = y - 1; v <= y + 1; ++v)
                    for (int64_t u = x - 1; u <= x + 1; ++u) {
                        if (element == Element::kCross && v != y && u != x) continue;
                        const bool inside = v >= 0 && v < from.height && u >= 0 && u < from.width;
                        const bool covered = inside && from.at(i, v, u);
                        if (covered != thin) out.at(i, y, x) = !thin;
                    }
    return out;
}

void check_morphology(const Pixels& pixels, int64_t radius, Element element) {
    const Rle rle = encode(pixels);
    Pixels thin = pixels, thick = pixels;
    for (int64_t k = 0; k < radius; ++k) {
        thin = stepped(thin, true, element);
        thick = stepped(thick, false, element);
    }
    CHECK(decode(erode(rle, radius, element)) == thin);
    CHECK(decode(dilate(rle, radius, element)) == thick);
}

void check_parts(const Pixels& pixels, bool diagonal) {
    const Rle rle = encode(pixels);
    const Parts parts = components(rle, diagonal);
    decode(parts.masks);
    CHECK(parts.masks.size() == static_cast<int64_t>(parts.owners.size()));
    std::vector<int64_t> groups{0};
    for (int64_t i = 0; i < rle.size(); ++i)
        groups.push_back(groups.back() + std::count(parts.owners.begin(), parts.owners.end(), i));
    CHECK(unite_groups(parts.masks, groups) == rle);
    // A part is one part, and no part touches what is left of its mask.
    CHECK(components(parts.masks, diagonal).masks == parts.masks);
    CHECK(remove_specks(rle, 1, diagonal) == rle);
    const auto most = areas(largest_component(rle, diagonal)), all = areas(parts.masks);
    for (size_t p = 0; p < all.size(); ++p) CHECK(all[p] <= most[parts.owners[p]]);
    const Rle filled = fill_holes(rle);
    decode(filled);
    CHECK(combine(filled, rle, Table::kIntersection) == rle);
    CHECK(fill_holes(filled) == filled);
}

void check_labels(Pixels pixels, Random& random) {
    const Rle rle = encode(pixels);
    std::vector<int64_t> ranks;
    std::vector<uint16_t> values;
    for (int64_t i = 0; i < rle.size(); ++i) {
        ranks.push_back(i);
        values.push_back(static_cast<uint16_t>(1 + i * 7 + random.below(7)));
    }
    std::vector<uint16_t> map(static_cast<size_t>(rle.pixels()));
    write_labels<uint16_t>(rle, values, map.data());
    Pixels top = pixels;
    for (int64_t y = 0; y < rle.height; ++y)
        for (int64_t x = 0; x < rle.width; ++x) {
            int64_t above = 0;
            for (int64_t i = rle.size(); i-- > 0;) {
                if (above) top.at(i, y, x) = 0;
                if (!above && pixels.at(i, y, x)) above = values[i];
            }
            CHECK(map[y * rle.width + x] == above);
        }
    const Rle apart = resolve(rle, ranks);
    CHECK(decode(apart) == top);
    const Labels labels = read_labels(map.data(), rle.height, rle.width);
    int64_t k = 0;
    for (int64_t i = 0; i < apart.size(); ++i) {
        if (areas(apart)[i] == 0) continue;
        CHECK(labels.values[k] == values[i]);
        const int64_t mine[] = {i}, theirs[] = {k++};
        CHECK(take(apart, mine) == take(labels.masks, theirs));
    }
    CHECK(k == labels.masks.size());
}

}  // namespace

int main() {
    Random random(3);
    for (int round = 0; round < 300; ++round) {
        const int64_t n = random.below(4), height = random.below(100), width = random.below(70);
        const Pixels a = test::random_pixels(random, n, height, width);
        const Pixels b = test::random_pixels(random, n, height, width);
        check_sets(a, b);
        check_morphology(a, random.below(6), random.below(2) ? Element::kCross : Element::kSquare);
        check_parts(a, random.below(2) != 0);
        check_labels(a, random);
    }
    std::puts("algebra: ok");
}
