#include "coco_scan.hpp"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <unordered_map>

#include "json.hpp"
#include "mask_texts.hpp"
#include "polygon.hpp"
#include "rle.hpp"
#include "rle_string.hpp"
#include "rle_text.hpp"

namespace delineate {
namespace {

struct Entry {
    int64_t image = 0, category = 0, id = CocoScan::kNone, track = CocoScan::kNone;
    std::string_view name;  // the image's id where that is a string
    double score = std::numeric_limits<double>::quiet_NaN(), area = score;
    double box[4] = {};
    bool named = false, boxed = false, rle = false;
    uint8_t crowd = 0;
    const char *begin = nullptr, *end = nullptr;  // the segmentation, if it says anything
    const char *open = nullptr, *close = nullptr;  // all of it, if it has keys that are none of these
    int64_t size[2] = {-1, -1};                    // of a run-length mask that was measured
    int64_t pixels = 0;
    Box tight;
};

// Measures run-length masks where they lie, so that few of them are ever looked at again.
struct Meter {
    const char* end = nullptr;  // of the text
    RleText text;

    // False, with `p` where it was, unless all is plain and right but for the size, which the picture has to confirm.
    bool measure(const char*& p, Entry& entry) {
        const char* next = p;
        if (!text.read(next, end) || text.is_list || text.height > kLongestSide || text.width > kLongestSide) return false;
        const auto found = measure_plain(text.counts, text.height, text.width);
        if (!found) return false;
        entry.size[0] = text.height;
        entry.size[1] = text.width;
        entry.pixels = found->area;
        entry.tight = found->box;
        p = next;
        return true;
    }
};

enum Key : unsigned { kImage, kCategory, kId, kSegmentation, kBox, kArea, kCrowd, kScore, kTrack, kOther };

Key key_of(std::string_view name) {
    static constexpr std::string_view kNames[] = {"image_id", "category_id", "id",    "segmentation", "bbox",
                                                  "area",     "iscrowd",     "score", "track_id"};
    return static_cast<Key>(std::find(std::begin(kNames), std::end(kNames), name) - std::begin(kNames));
}

static_assert(kLargestCoordinate >= 9'999'999);  // of json::short_real

// Polygons, all of them right; `some` tells whether there is one that is not empty, or more than one.
bool polygons(const char*& p, bool& some) {
    some = false;
    ++p;
    if (json::take(p, ']')) return true;
    int64_t parts = 0;
    do {
        ++parts;
        if (!json::take(p, '[')) return false;
        if (json::take(p, ']')) continue;
        int64_t numbers = 0;
        double value;
        do {
            json::space(p);
            if (!json::short_real(p) && (!json::real(p, value) || !(std::abs(value) <= kLargestCoordinate))) return false;
            ++numbers;
        } while (json::take(p, ','));
        if (!json::take(p, ']') || numbers < 6 || numbers % 2) return false;
        some = true;
    } while (json::take(p, ','));
    some |= parts > 1;
    return json::take(p, ']');
}

bool segmentation(const char*& p, Entry& entry, Meter& meter) {
    const char* const begin = p;
    bool some = false;
    if (*p == '[') {
        if (!polygons(p, some)) return false;
    } else if (*p == '{') {
        if (!meter.measure(p, entry) && !json::skip(p)) return false;
        const char* inside = begin + 1;
        some = entry.rle = !json::take(inside, '}');
    } else {
        return json::word(p, "null");
    }
    if (some) {
        entry.begin = begin;
        entry.end = p;
    }
    return p - begin <= std::numeric_limits<int32_t>::max();
}

bool box(const char*& p, Entry& entry) {
    if (*p != '[') return json::word(p, "null");
    ++p;
    if (json::take(p, ']')) return true;
    for (int k = 0; k < 4; ++k) {
        if (k > 0 && !json::take(p, ',')) return false;
        json::space(p);
        if (!json::real(p, entry.box[k])) return false;
    }
    entry.boxed = true;
    return json::take(p, ']');
}

bool optional_real(const char*& p, double& value) { return *p == 'n' ? json::word(p, "null") : json::real(p, value); }

bool optional_integer(const char*& p, int64_t& value) {
    return *p == 'n' ? json::word(p, "null") : json::integer(p, value);
}

bool crowd(const char*& p, Entry& entry) {
    int64_t value = 0;
    if (*p == 't') {
        value = 1;
        if (!json::word(p, "true")) return false;
    } else if (*p == 'f') {
        if (!json::word(p, "false")) return false;
    } else if (!optional_integer(p, value)) {
        return false;
    }
    entry.crowd = value == 1;
    return value == 0 || value == 1;
}

bool image(const char*& p, Entry& entry) {
    bool plain = true;
    entry.named = *p == '"';
    return entry.named ? json::string(p, entry.name, plain) && plain : json::integer(p, entry.image);
}

bool field(const char*& p, Key key, Entry& entry, Meter& meter) {
    switch (key) {
        case kImage:
            return image(p, entry);
        case kCategory:
            return json::integer(p, entry.category);
        case kId:
            return optional_integer(p, entry.id);
        case kSegmentation:
            return segmentation(p, entry, meter);
        case kBox:
            return box(p, entry);
        case kArea:
            return optional_real(p, entry.area);
        case kCrowd:
            return crowd(p, entry);
        case kScore:
            return optional_real(p, entry.score);
        case kTrack:
            return optional_integer(p, entry.track);
        default:
            return json::skip(p);
    }
}

bool read_entry(const char*& p, Entry& entry, Meter& meter) {
    const char* begin = p;
    if (!json::take(p, '{') || json::take(p, '}')) return false;
    unsigned seen = 0;
    do {
        std::string_view name;
        bool plain;
        json::space(p);
        if (!json::string(p, name, plain) || !plain || !json::take(p, ':')) return false;
        const Key key = key_of(name);
        if (key != kOther && (seen & 1u << key)) return false;
        seen |= 1u << key;
        json::space(p);
        if (!field(p, key, entry, meter)) return false;
    } while (json::take(p, ','));
    const unsigned needed = 1u << kImage | 1u << kCategory;
    if (!json::take(p, '}') || (seen & needed) != needed) return false;
    if (seen & 1u << kOther) {
        entry.open = begin;
        entry.close = p;
    }
    return p - begin <= std::numeric_limits<int32_t>::max();
}

class Scanner {
 public:
    Scanner(const File& file, size_t size) : file_(file), size_(size) { fill(0, size); }

    std::optional<CocoScan> scan(bool list) {
        if (std::string_view(p_, 3) == "\xef\xbb\xbf") p_ += 3;
        json::space(p_);
        in_entries_ = list;
        if (!(list ? *p_ == '[' && entries() : top())) return {};
        return finish() ? std::optional(std::move(out_)) : std::nullopt;
    }

    std::optional<JsonOutline> outline() {
        if (std::string_view(p_, 3) == "\xef\xbb\xbf") p_ += 3;
        json::space(p_);
        JsonOutline found;
        found.list = *p_ == '[';
        outline_ = &found;
        if (found.list) {
            found.values.push_back({"", place(p_), place(p_), 0, 0});
            first_ = true;
            const bool one = elements([&](const char*& p) { return first_ && skip(p); });
            // It stops behind the first element, unless there is no more than that.
            return one || !first_ ? std::optional(std::move(found)) : std::nullopt;
        }
        return *p_ == '{' && top(false) && finish() ? std::optional(std::move(found)) : std::nullopt;
    }

 private:
    // Passes an element, and notes the first one of a list.
    bool skip(const char*& p) {
        json::space(p);
        const char* begin = p;
        if (!json::skip(p, 1)) return false;
        if (first_ && outline_ != nullptr && !outline_->values.empty()) {
            outline_->values.back().first = place(begin);
            outline_->values.back().first_end = place(p);
        }
        return true;
    }

    // The window shows the file from `offset` on.
    void fill(int64_t offset, size_t size) {
        window_.resize(size + json::kPadding);
        const size_t got = file_.read(offset, window_.data(), size);
        std::fill(window_.begin() + static_cast<int64_t>(got), window_.end(), '\0');
        base_ = offset;
        last_ = got < size;
        p_ = window_.data();
        end_ = p_ + got;
    }

    int64_t place(const char* p) const { return base_ + (p - window_.data()); }

    // Reads one piece of the text, once more from its beginning where the window ended too early.
    template <class Fn>
    bool piece(Fn&& fn) {
        for (;;) {
            const char* p = p_;
            if (fn(p)) {
                p_ = p;
                return true;
            }
            if (last_ || end_ - p > static_cast<int64_t>(json::kPadding)) return false;
            const bool whole = p_ == window_.data();
            fill(place(p_), whole ? 2 * (window_.size() - json::kPadding) : size_);
        }
    }

    // A list, element by element: fn(p) reads one.
    template <class Fn>
    bool elements(Fn&& fn) {
        bool more = true;
        if (!piece([&](const char*& p) {
                if (!json::take(p, '[')) return false;
                json::space(p);
                more = *p != ']';
                if (!more) ++p;
                return *p != 0 || last_;
            }))
            return false;
        while (more) {
            if (!piece([&](const char*& p) {
                    if (!fn(p)) return false;
                    json::space(p);
                    more = *p == ',';
                    if (*p != ',' && *p != ']') return false;
                    ++p;
                    return true;
                }))
                return false;
            first_ = false;
            keep();
        }
        return true;
    }

    bool entries() {
        return elements([&](const char*& p) {
            entry_ = Entry{};
            json::space(p);
            meter_.end = end_;
            return read_entry(p, entry_, meter_);
        });
    }

    // Adds the entry that was read last; its text is still in the window.
    void keep() {
        if (!in_entries_) return;
        const size_t row = static_cast<size_t>(out_.count++);
        const Entry& e = entry_;
        if (e.named) {
            const auto found = places_.try_emplace(std::string(e.name), static_cast<int64_t>(out_.names.size()));
            if (found.second) out_.names.emplace_back(e.name);
            out_.named.put(row, 1);
            out_.image.push_back(found.first->second);
        } else {
            out_.image.push_back(e.image);
        }
        out_.category.push_back(e.category);
        if (e.id != CocoScan::kNone) out_.id.put(row, e.id);
        if (e.track != CocoScan::kNone) out_.track.put(row, e.track);
        if (e.crowd) out_.crowd.put(row, 1);
        if (!std::isnan(e.score)) out_.score.put(row, e.score);
        if (!std::isnan(e.area)) out_.area.put(row, e.area);
        if (e.boxed)
            for (size_t k = 0; k < 4; ++k) out_.box.put(4 * row + k, e.box[k]);
        if (e.open != nullptr) {
            out_.entry_start.put(row, place(e.open));
            out_.entry_length.put(row, static_cast<int32_t>(e.close - e.open));
        }
        if (e.begin == nullptr) return;
        out_.start.put(row, place(e.begin));
        out_.length.put(row, static_cast<int32_t>(e.end - e.begin));
        if (e.rle) out_.rle.put(row, 1);
        if (e.size[0] < 0) return;
        const Box& box = e.tight;
        out_.pixels.put(row, static_cast<uint32_t>(e.pixels));
        for (size_t k = 0; k < 2; ++k) out_.size.put(2 * row + k, static_cast<int32_t>(e.size[k]));
        const int64_t tight[] = {box.x0, box.y0, box.width(), box.height()};
        for (size_t k = 0; k < 4; ++k) out_.tight.put(4 * row + k, static_cast<float>(tight[k]));
    }

    bool top(bool entries_wanted = true) {
        bool more = true, found = !entries_wanted;
        if (!piece([&](const char*& p) {
                if (!json::take(p, '{')) return false;
                json::space(p);
                more = *p != '}';
                return *p != 0;
            }))
            return false;
        while (more) {
            std::string key;
            if (!piece([&](const char*& p) {
                    std::string_view name;
                    bool plain;
                    json::space(p);
                    if (!json::string(p, name, plain) || !plain || !json::take(p, ':')) return false;
                    json::space(p);
                    key = name;
                    return *p != 0;
                }))
                return false;
            if (key == "annotations" && entries_wanted) {
                in_entries_ = true;
                if (found || !entries()) return false;
                in_entries_ = false;
                found = true;
            } else if (!section(key)) {
                return false;
            }
            if (!piece([&](const char*& p) {
                    json::space(p);
                    more = *p == ',';
                    if (*p != ',' && *p != '}') return false;
                    ++p;
                    return true;
                }))
                return false;
        }
        return found;
    }

    bool section(const std::string& key) {
        for (const auto& other : out_.sections)
            if (other.key == key) return false;
        const int64_t begin = place(p_);
        if (outline_ != nullptr) outline_->values.push_back({key, begin, begin, 0, 0});
        first_ = true;
        const auto pass = [this](const char*& p) { return skip(p); };
        const bool fine = *p_ == '[' ? elements(pass) : piece([](const char*& p) { return json::skip(p, 1); });
        out_.sections.push_back({key, begin, place(p_)});
        if (outline_ != nullptr) outline_->values.back().end = place(p_);
        return fine;
    }

    bool finish() {
        if (!piece([&](const char*& p) {
                json::space(p);
                return p == end_ && last_;
            }))
            return false;
        const size_t n = static_cast<size_t>(out_.count);
        for (auto* column : {&out_.id, &out_.track, &out_.start, &out_.entry_start}) column->finish(n);
        for (auto* column : {&out_.crowd, &out_.named, &out_.rle}) column->finish(n);
        for (auto* column : {&out_.score, &out_.area}) column->finish(n);
        out_.box.finish(4 * n);
        out_.pixels.finish(n);
        out_.size.finish(2 * n);
        out_.tight.finish(4 * n);
        for (auto* column : {&out_.length, &out_.entry_length}) column->finish(n);
        return true;
    }

    const File& file_;
    const size_t size_;
    std::vector<char> window_;
    int64_t base_ = 0;
    bool last_ = false;
    const char *p_ = nullptr, *end_ = nullptr;
    CocoScan out_;
    Entry entry_;
    Meter meter_;
    bool in_entries_ = false, first_ = true;
    JsonOutline* outline_ = nullptr;
    std::unordered_map<std::string, int64_t> places_;
};

}  // namespace

std::optional<CocoScan> scan_coco(const File& file, bool list, size_t window) {
    return Scanner(file, std::max<size_t>(window, 1)).scan(list);
}

std::optional<JsonOutline> outline_json(const File& file, size_t window) {
    return Scanner(file, std::max<size_t>(window, 1)).outline();
}

}  // namespace delineate
