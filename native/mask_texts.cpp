#include "mask_texts.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>
#include <stdexcept>

#include "json.hpp"
#include "polygon.hpp"
#include "rle_string.hpp"

namespace delineate {
namespace {

// Texts of a picture that lie further apart than this are read one by one.
constexpr int64_t kGap = 512;

[[noreturn]] void fail() { throw std::invalid_argument("segmentation must be a list of polygons or a run-length mask."); }

void need(bool fine) {
    if (!fine) fail();
}

}  // namespace

void MaskTexts::check() const {
    const int64_t n = static_cast<int64_t>(starts.size());
    bool fine = !offsets.empty() && offsets.front() == 0 && offsets.back() == n && lengths.size() == starts.size() &&
                sizes.size() == 2 * (offsets.size() - 1) && std::is_sorted(offsets.begin(), offsets.end());
    for (size_t m = 0; fine && m < starts.size(); ++m) {
        const int64_t start = starts[m], length = lengths[m];
        fine = start >= 0 && length >= 0 && length <= file->size() && start <= file->size() - length;
    }
    for (const int64_t side : sizes) fine &= side >= 0 && side <= kLongestSide;
    if (!fine) throw std::invalid_argument("MaskTexts: columns must belong together and lie in the file.");
}

void MaskTexts::Reader::open(int64_t picture) {
    if (picture == picture_) return;
    picture_ = picture;
    height_ = source_.sizes[2 * picture];
    width_ = source_.sizes[2 * picture + 1];
    one_ = Rle{height_, width_, {}, {0}};
    begin_ = end_ = 0;
    if (!source_.file->unchanged()) throw std::runtime_error("file must not change after it was read. Read it again.");
    int64_t low = source_.file->size(), high = 0, total = 0, texts = 0;
    for (int64_t m = source_.offsets[picture]; m < source_.offsets[picture + 1]; ++m) {
        if (source_.lengths[m] == 0) continue;
        low = std::min(low, source_.starts[m]);
        high = std::max(high, source_.starts[m] + source_.lengths[m]);
        total += source_.lengths[m];
        ++texts;
    }
    if (texts == 0 || high - low > total + kGap * texts) return;
    block_.resize(static_cast<size_t>(high - low));
    if (source_.file->read(low, block_.data(), block_.size()) < block_.size())
        throw std::runtime_error("file must not change after it was read. Read it again.");
    begin_ = low;
    end_ = high;
}

// With json::kPadding zero bytes behind it.
std::string_view MaskTexts::Reader::text(int64_t mask) {
    const int64_t start = source_.starts[mask];
    const size_t length = static_cast<size_t>(source_.lengths[mask]);
    single_.resize(length + json::kPadding);
    if (start >= begin_ && start + static_cast<int64_t>(length) <= end_) {
        std::copy_n(block_.data() + (start - begin_), length, single_.data());
    } else if (source_.file->read(start, single_.data(), length) < length) {
        throw std::runtime_error("file must not change after it was read. Read it again.");
    }
    std::fill_n(single_.begin() + static_cast<int64_t>(length), json::kPadding, '\0');
    return {single_.data(), length};
}

std::span<const uint32_t> MaskTexts::Reader::runs(int64_t mask) {
    const std::string_view found = source_.lengths[mask] == 0 ? std::string_view{} : text(mask);
    one_.counts.clear();
    one_.offsets.assign(1, 0);
    if (!found.empty() && found[0] == '{') {
        open_rle(found.data());
        if (!rle_.is_list) {
            const auto runs = plain_counts(rle_.counts, height_ * width_, scratch_);
            if (!runs.empty()) return runs;
        }
    }
    append(found, one_);
    return one_.runs(0);
}

Rle MaskTexts::Reader::all() {
    Rle found{height_, width_, {}, {0}};
    for (int64_t m = source_.offsets[picture_]; m < source_.offsets[picture_ + 1]; ++m)
        append(source_.lengths[m] == 0 ? std::string_view{} : text(m), found);
    return found;
}

void MaskTexts::Reader::append(std::string_view text, Rle& target) {
    if (text.empty()) {
        RunWriter(target).finish();
    } else if (text[0] == '{') {
        append_rle(text.data(), target);
    } else if (text[0] == '[') {
        append_polygons(text.data(), target);
    } else {
        fail();
    }
}

void MaskTexts::Reader::open_rle(const char* p) {
    need(rle_.read(p, single_.data() + single_.size()) && *p == '\0' && rle_.height == height_ && rle_.width == width_);
}

void MaskTexts::Reader::append_rle(const char* p, Rle& target) {
    open_rle(p);
    if (!rle_.is_list) {
        append_string(rle_.counts, target);
    } else {
        const int64_t offsets[] = {0, static_cast<int64_t>(rle_.list.size())};
        delineate::append(target, from_counts(height_, width_, rle_.list, offsets));
    }
}

void MaskTexts::Reader::append_polygons(const char* p, Rle& target) {
    xy_.clear();
    points_.assign(1, 0);
    ++p;
    if (!json::take(p, ']')) {
        do {
            need(json::take(p, '['));
            if (json::take(p, ']')) continue;
            const size_t before = xy_.size();
            do {
                double value;
                json::space(p);
                need(json::real(p, value) && std::abs(value) <= kLargestCoordinate);
                xy_.push_back(value);
            } while (json::take(p, ','));
            need(json::take(p, ']') && xy_.size() - before >= 6 && xy_.size() % 2 == 0);
            points_.push_back(static_cast<int64_t>(xy_.size() / 2));
        } while (json::take(p, ','));
        need(json::take(p, ']'));
    }
    need(*p == '\0');
    const int64_t parts[] = {0, static_cast<int64_t>(points_.size()) - 1};
    delineate::append(target, from_polygons(height_, width_, xy_, points_, parts));
}

TextMeasures measure_texts(const MaskTexts& texts, std::span<const uint8_t> wanted, bool boxes, unsigned threads,
                           const SizedMeasures& before) {
    TextMeasures out;
    out.areas.assign(texts.starts.size(), 0);
    out.boxes.assign(boxes ? 4 * texts.starts.size() : 0, 0);
    std::mutex guard;
    parallel_for(texts.pictures(), 16, threads, [&](int64_t begin, int64_t end) {
        MaskTexts::Reader reader(texts);
        for (int64_t picture = begin; picture < end; ++picture) {
            for (int64_t m = texts.offsets[picture]; m < texts.offsets[picture + 1]; ++m) {
                if (!wanted[m]) continue;
                if (!before.sizes.empty() && before.sizes[2 * m] >= 0) {
                    out.areas[m] = before.areas[m];
                    if (boxes) std::copy_n(before.boxes.data() + 4 * m, 4, out.boxes.data() + 4 * m);
                    if (before.sizes[2 * m] == texts.sizes[2 * picture] &&
                        before.sizes[2 * m + 1] == texts.sizes[2 * picture + 1])
                        continue;
                    const std::lock_guard lock(guard);
                    out.broken.push_back(m);
                    continue;
                }
                reader.open(picture);
                try {
                    const auto runs = reader.runs(m);
                    int64_t area = 0;
                    for (size_t k = 1; k < runs.size(); k += 2) area += runs[k];
                    out.areas[m] = static_cast<double>(area);
                    if (!boxes) continue;
                    const Box box = tight_box(runs, reader.height());
                    const int64_t row[] = {box.x0, box.y0, box.width(), box.height()};
                    for (size_t k = 0; k < 4; ++k) out.boxes[4 * m + k] = static_cast<float>(row[k]);
                } catch (const std::invalid_argument&) {
                    const std::lock_guard lock(guard);
                    out.broken.push_back(m);
                }
            }
        }
    });
    std::sort(out.broken.begin(), out.broken.end());
    return out;
}

}  // namespace delineate
