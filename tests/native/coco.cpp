// Untrusted input: COCO files and the texts of masks. Windows of all sizes see the same; damaged files end in refusal.
#include <unistd.h>

#include <cmath>

#include "check.hpp"
#include "coco_scan.hpp"
#include "json.hpp"
#include "mask_texts.hpp"
#include "rle_string.hpp"

using namespace delineate;
using delineate::test::Random;

namespace {

// An anonymous file with that content.
class Written {
 public:
    explicit Written(const std::string& content) : file_(std::tmpfile()) {
        CHECK(file_ != nullptr);
        CHECK(std::fwrite(content.data(), 1, content.size(), file_) == content.size());
        std::fflush(file_);
    }
    ~Written() { std::fclose(file_); }
    int descriptor() const { return fileno(file_); }

 private:
    std::FILE* file_;
};

bool same(const std::vector<double>& a, const std::vector<double>& b) {
    bool equal = a.size() == b.size();
    for (size_t k = 0; equal && k < a.size(); ++k) equal = a[k] == b[k] || (std::isnan(a[k]) && std::isnan(b[k]));
    return equal;
}

bool same(const CocoScan& a, const CocoScan& b) {
    bool equal = a.count == b.count && a.image == b.image && a.category == b.category && a.names == b.names &&
                 a.named.values == b.named.values && a.id.values == b.id.values && a.track.values == b.track.values &&
                 a.crowd.values == b.crowd.values && a.start.values == b.start.values &&
                 a.length.values == b.length.values && a.rle.values == b.rle.values &&
                 same(a.score.values, b.score.values) && same(a.area.values, b.area.values) &&
                 same(a.box.values, b.box.values) && a.size.values == b.size.values &&
                 a.pixels.values == b.pixels.values && a.tight.values == b.tight.values && a.sections.size() == b.sections.size();
    for (size_t k = 0; equal && k < a.sections.size(); ++k)
        equal = a.sections[k].key == b.sections[k].key && a.sections[k].begin == b.sections[k].begin &&
                a.sections[k].end == b.sections[k].end;
    return equal;
}

const std::string kFile = R"( {"info": {"year": 2026, "note": "a \"\\ \u00e9 \ud83d\ude00 é"}, "images": [{"id": 1}, {"id": "b"}, 7, "]"],
 "annotations": [ {"id": 4, "image_id": 1, "category_id": 2, "bbox": [0.5, 1, 2e0, 3], "area": 6.25, "iscrowd": 0,
   "segmentation": [[1, 1, 4, 1, 4, 3, 1, 3], []], "more": {"deep": [[{"x": null}]]}},
  {"image_id": "b","category_id": -3,"segmentation":{"size":[3,4],"counts":"426"},"iscrowd":true,"score":0.1,"track_id":9},
  {"image_id":1, "category_id":2, "segmentation": {"counts": [4, 2, 6], "size": [3, 4]}, "bbox": [], "id": null}
 ], "categories": []} )";

void test_columns() {
    const Written written(kFile);
    const auto found = scan_coco(File(written.descriptor()), false);
    CHECK(found && found->count == 3);
    CHECK((found->image == std::vector<int64_t>{1, 0, 1}) && (found->names == std::vector<std::string>{"b"}));
    CHECK((found->named.values == std::vector<uint8_t>{0, 1, 0}));
    CHECK((found->category == std::vector<int64_t>{2, -3, 2}));
    CHECK((found->id.values == std::vector<int64_t>{4, CocoScan::kNone, CocoScan::kNone}));
    CHECK((found->track.values == std::vector<int64_t>{CocoScan::kNone, 9, CocoScan::kNone}));
    CHECK((found->crowd.values == std::vector<uint8_t>{0, 1, 0}) && (found->rle.values == std::vector<uint8_t>{0, 1, 1}));
    CHECK(found->box.values.size() == 12 && found->box.values[2] == 2 && std::isnan(found->box.values[4]));
    CHECK(found->area.values[0] == 6.25 && std::isnan(found->score.values[0]) && found->score.values[1] == 0.1);
    // Only the compressed mask is measured at once.
    CHECK((found->size.values == std::vector<int32_t>{-1, -1, 3, 4, -1, -1}) &&
          (found->pixels.values == std::vector<uint32_t>{0, 2, 0}));
    CHECK((found->tight.values == std::vector<float>{0, 0, 0, 0, 1, 1, 1, 2, 0, 0, 0, 0}));
    const auto text = [&](size_t k) {
        return kFile.substr(static_cast<size_t>(found->start.values[k]), static_cast<size_t>(found->length.values[k]));
    };
    CHECK(text(0) == "[[1, 1, 4, 1, 4, 3, 1, 3], []]" && text(1) == R"({"size":[3,4],"counts":"426"})");
    CHECK(found->sections.size() == 3 && found->sections[1].key == "images");
    for (size_t window = 1; window < 400; window += 7) {
        const auto again = scan_coco(File(written.descriptor()), false, window);
        CHECK(again && same(*found, *again));
    }
}

void test_masks() {
    const std::string texts = R"([[0,0,2,0,2,2]]{"size":[3,4],"counts":"426"}{"counts":[4,2,6],"size":[3,4]}[[]]{"size":[4,3],"counts":"426"})";
    const Written written(texts);
    MaskTexts masks;
    masks.file = std::make_shared<const File>(written.descriptor());
    masks.sizes = {3, 4, 3, 4};
    masks.offsets = {0, 2, 6};
    masks.starts = {15, 0, 0, 44, 75, 79};
    masks.lengths = {29, 15, 0, 31, 4, 29};
    masks.check();
    const auto found = measure_texts(masks, std::vector<uint8_t>(6, 1), true, 1);
    CHECK((found.areas == std::vector<double>{2, 1, 0, 2, 0, 0}) && (found.broken == std::vector<int64_t>{5}));
    CHECK(found.boxes[0] == 1 && found.boxes[1] == 1 && found.boxes[2] == 1 && found.boxes[3] == 2);
    MaskTexts::Reader reader(masks);
    reader.open(0);
    CHECK(reader.all().size() == 2);
    CHECK((std::vector<uint32_t>(reader.runs(0).begin(), reader.runs(0).end()) == std::vector<uint32_t>{4, 2, 6}));
    masks.starts[5] = 1000;
    CHECK(test::refuses([&] { masks.check(); }));
}

// Masks of random runs, some of their strings with escapes: what the scan measures is what decoding finds.
void test_measures(Random& random) {
    Rle rle{40, 3000, {}, {0}};
    std::string text = "[";
    const int64_t n = 300;
    for (int64_t m = 0; m < n; ++m) {
        RunWriter writer(rle);
        for (int64_t at = random.below(5000); at < 120000; at += random.between(1, 9000)) {
            const int64_t end = std::min<int64_t>(at + random.between(1, 7000), 120000);
            writer.ones(at, end);
            at = end;
        }
        writer.finish();
        std::string counts;
        for (const char c : to_string(rle.runs(m))) counts += c == '\\' ? std::string("\\\\") : std::string(1, c);
        text += (m ? "," : "") + std::string(R"({"image_id":1,"category_id":1,"segmentation":{"counts":")") + counts +
                R"(","size":[40,)" + (m % 50 == 7 ? "2999" : "3000") + "]}}";
    }
    const Written written(text + "]");
    const auto found = scan_coco(File(written.descriptor()), true);
    CHECK(found && found->count == n);
    MaskTexts masks;
    masks.file = std::make_shared<const File>(written.descriptor());
    masks.sizes = {40, 3000};
    masks.offsets = {0, n};
    masks.starts = found->start.values;
    masks.lengths = found->length.values;
    masks.check();
    const std::vector<uint8_t> all(static_cast<size_t>(n), 1);
    const auto slow = measure_texts(masks, all, true, 1);
    const auto quick = measure_texts(masks, all, true, 1, {found->size.values, found->pixels.values, found->tight.values});
    CHECK(slow.broken == quick.broken && slow.broken.size() == 6);
    for (int64_t m = 0; m < n; ++m) {
        if (m % 50 == 7) continue;
        const Box box = tight_box(rle.runs(m), 40);
        CHECK(found->size.values[2 * m] == 40 && slow.areas[m] == quick.areas[m] && quick.boxes[4 * m] == static_cast<float>(box.x0));
        for (int64_t k = 4 * m; k < 4 * m + 4; ++k) CHECK(slow.boxes[k] == quick.boxes[k]);
    }
}

// Whatever the short way accepts, the long one does, and moves as far.
void fuzz_numbers(Random& random) {
    for (int round = 0; round < 200000; ++round) {
        char text[16 + json::kPadding] = {};
        for (int64_t k = 0, n = random.between(1, 16); k < n; ++k) text[k] = "0123456789012345678901234567890.-e, \xff"[random.below(37)];
        const char *quick = text, *slow = text;
        double value;
        const bool fine = json::short_real(quick);
        if (!fine) CHECK(quick == text);
        if (fine) CHECK(json::real(slow, value) && quick == slow && std::abs(value) < 1e7);
    }
    for (const char* one : {"7", "-0.25", "1234567.1234567", "0", "640.5,"}) {
        char text[32 + json::kPadding] = {};
        std::snprintf(text, 32, "%s", one);
        const char* p = text;
        CHECK(json::short_real(p) && (*p == 0 || *p == ','));
    }
}

void fuzz_scan(Random& random) {
    for (int round = 0; round < 3000; ++round) {
        std::string text = kFile;
        for (int64_t k = random.between(1, 3); k > 0; --k) {
            const size_t at = static_cast<size_t>(random.below(static_cast<int64_t>(text.size())));
            switch (random.below(4)) {
                case 0: text[at] = static_cast<char>(random.below(256)); break;
                case 1: text.erase(at, static_cast<size_t>(random.between(1, 40))); break;
                case 2: text.insert(at, text.substr(static_cast<size_t>(random.below(static_cast<int64_t>(text.size()))), 30)); break;
                default: text[at] = "0123456789-+.eE,:[]{}\"\\ntf"[random.below(26)];
            }
        }
        const Written written(text);
        const auto found = scan_coco(File(written.descriptor()), false);
        // A small window may give up a file whose damage it meets at its edge, but never sees something else in it.
        const auto again = scan_coco(File(written.descriptor()), false, static_cast<size_t>(random.between(1, 200)));
        if (again) CHECK(found && same(*found, *again));
        scan_coco(File(written.descriptor()), true);
        if (!found) continue;
        MaskTexts masks;
        masks.file = std::make_shared<const File>(written.descriptor());
        masks.sizes = {3, 4};
        masks.starts = found->start.values;
        masks.lengths = found->length.values;
        masks.offsets = {0, static_cast<int64_t>(masks.starts.size())};
        masks.check();
        measure_texts(masks, std::vector<uint8_t>(masks.starts.size(), 1), true, 1);
    }
}

void fuzz_text(Random& random) {
    const std::string kinds[] = {R"([[0,0,2,0,2,2],[]])", R"({"size":[3,4],"counts":"426"})", R"({"counts":[4,2,6],"size":[3,4]})"};
    for (int round = 0; round < 3000; ++round) {
        std::string text = kinds[random.below(3)];
        for (int64_t k = random.between(0, 3); k > 0; --k)
            text[static_cast<size_t>(random.below(static_cast<int64_t>(text.size())))] = static_cast<char>(
                random.below(2) ? random.below(256) : "0123456789-+.eE,:[]{}\"\\ntf"[random.below(26)]);
        const Written written(text);
        MaskTexts masks;
        masks.file = std::make_shared<const File>(written.descriptor());
        masks.sizes = {3, 4};
        masks.starts = {0};
        masks.lengths = {static_cast<int32_t>(text.size())};
        masks.offsets = {0, 1};
        MaskTexts::Reader reader(masks);
        reader.open(0);
        Rle rle;
        if (!test::refuses([&] { rle = reader.all(); })) test::check_canonical(rle);
    }
}

void test_a_changed_file() {
    std::FILE* const file = std::tmpfile();
    std::fputs("[[0,0,2,0,2,2]]", file);
    std::fflush(file);
    MaskTexts masks;
    masks.file = std::make_shared<const File>(fileno(file));
    masks.sizes = {3, 4};
    masks.starts = {0};
    masks.lengths = {15};
    masks.offsets = {0, 1};
    CHECK(ftruncate(fileno(file), 3) == 0);
    MaskTexts::Reader reader(masks);
    bool refused = false;
    try {
        reader.open(0);
    } catch (const std::runtime_error&) {
        refused = true;
    }
    CHECK(refused);
    std::fclose(file);
}

// What stands between two places of a text.
std::string part(const std::string& text, int64_t begin, int64_t end) {
    CHECK(0 <= begin && begin <= end && end <= static_cast<int64_t>(text.size()));
    return text.substr(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
}

void test_outline() {
    const Written written(kFile);
    for (size_t window : {3, 20, 100, 1 << 20}) {
        const auto found = outline_json(File(written.descriptor()), window);
        if (!found && window < 100) continue;  // too small for the file's beginning
        CHECK(found && !found->list && found->values.size() == 4);
        CHECK(found->values[1].key == "images" && part(kFile, found->values[1].first, found->values[1].first_end) == R"({"id": 1})");
        CHECK(found->values[2].key == "annotations" && part(kFile, found->values[2].begin, found->values[2].end).back() == ']');
        CHECK(found->values[3].first_end == 0 && part(kFile, found->values[3].begin, found->values[3].end) == "[]");
    }
    const std::string list = R"([ {"a": [1, 2]}, broken)";
    const Written first(list), none("[]"), bad("[}");
    const auto found = outline_json(File(first.descriptor()));
    CHECK(found && found->list && part(list, found->values[0].first, found->values[0].first_end) == R"({"a": [1, 2]})");
    CHECK(outline_json(File(none.descriptor())) && !outline_json(File(bad.descriptor())));
}

void fuzz_outline(Random& random) {
    for (int round = 0; round < 2000; ++round) {
        std::string text = kFile;
        for (int64_t k = random.below(4); k >= 0; --k)
            text[static_cast<size_t>(random.below(static_cast<int64_t>(text.size())))] =
                "[]{}\",:x0\\"[static_cast<size_t>(random.below(10))];
        const Written written(text);
        const auto found = outline_json(File(written.descriptor()), static_cast<size_t>(1 + random.below(300)));
        if (!found) continue;
        for (const auto& one : found->values) {
            part(text, one.begin, one.end);
            part(text, one.first, one.first_end);
        }
    }
}

}  // namespace

int main() {
    Random random(5);
    test_columns();
    test_outline();
    test_masks();
    test_measures(random);
    fuzz_numbers(random);
    test_a_changed_file();
    fuzz_scan(random);
    fuzz_outline(random);
    fuzz_text(random);
    std::puts("coco: ok");
}
