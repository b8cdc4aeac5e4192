#include "rle_text.hpp"

#include <cstring>
#include <limits>

#include "json.hpp"

namespace delineate {

bool RleText::read(const char*& p, const char* end) {
    height = width = -1;
    bool counted = false;
    if (!json::take(p, '{')) return false;
    do {
        std::string_view key;
        bool simple;
        json::space(p);
        if (!json::string(p, key, simple) || !simple || !json::take(p, ':')) return false;
        json::space(p);
        if (key == "size") {
            if (height >= 0 || !json::take(p, '[')) return false;
            json::space(p);
            if (!json::integer(p, height) || height < 0 || !json::take(p, ',')) return false;
            json::space(p);
            if (!json::integer(p, width) || width < 0 || !json::take(p, ']')) return false;
        } else if (key == "counts") {
            if (counted || !read_counts(p, end)) return false;
            counted = true;
        } else if (!json::skip(p)) {
            return false;
        }
    } while (json::take(p, ','));
    return json::take(p, '}') && counted && height >= 0;
}

bool RleText::read_counts(const char*& p, const char* end) {
    is_list = *p == '[';
    if (!is_list) return read_string(p, end);
    ++p;
    list.clear();
    counts = {};  // of a former text, which may be gone
    if (json::take(p, ']')) return true;
    do {
        int64_t count;
        json::space(p);
        if (!json::integer(p, count) || count < 0 || count > std::numeric_limits<uint32_t>::max()) return false;
        list.push_back(static_cast<uint32_t>(count));
    } while (json::take(p, ','));
    return json::take(p, ']');
}

// The characters themselves are left to whoever decodes them; the only escapes among them are those of the backslash (and,
// allowed, the slash).
bool RleText::read_string(const char*& p, const char* end) {
    if (*p != '"') return false;
    const char* const begin = ++p;
    const auto next = [end](const char* from, int c) {
        return static_cast<const char*>(std::memchr(from, c, static_cast<size_t>(end - from)));
    };
    const char* quote = next(p, '"');
    if (quote == nullptr) return false;
    const auto escape_before = [&](const char* from) {
        return static_cast<const char*>(std::memchr(from, '\\', static_cast<size_t>(quote - from)));
    };
    const char* escape = escape_before(p);
    if (escape == nullptr) {
        counts = {begin, static_cast<size_t>(quote - begin)};
    } else {
        plain_.clear();
        // A quote behind a backslash would be none; then this is no escape of a slash.
        for (; escape != nullptr; escape = escape_before(p)) {
            if (escape[1] != '\\' && escape[1] != '/') return false;
            plain_.append(p, escape).push_back(escape[1]);
            p = escape + 2;
        }
        counts = plain_.append(p, quote);
    }
    p = quote + 1;
    return true;
}

}  // namespace delineate
