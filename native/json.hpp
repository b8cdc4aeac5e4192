// Walking over JSON text, strictly. The text must end with kPadding zero bytes: no JSON token holds one, so nothing here
// asks where the end is. Every function moves `p` behind what it has read; if it returns false, `p` stands where it stopped.
#pragma once

#include <bit>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace delineate::json {

inline constexpr size_t kPadding = 64;
inline constexpr int kDeepest = 64;

inline void space(const char*& p) {
    while (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t') ++p;
}

inline bool take(const char*& p, char c) {
    space(p);
    if (*p != c) return false;
    ++p;
    return true;
}

inline bool word(const char*& p, std::string_view text) {
    if (std::memcmp(p, text.data(), text.size()) != 0) return false;
    p += text.size();
    return true;
}

inline bool is_digit(char c) { return c >= '0' && c <= '9'; }

// One character of UTF-8 beyond ASCII.
inline bool wide(const char*& p) {
    const auto at = [&](int k) { return static_cast<unsigned char>(p[k]); };
    const auto tail = [&](int k) { return (at(k) & 0xC0) == 0x80; };
    const unsigned first = at(0);
    int length = 0;
    if (first >= 0xC2 && first <= 0xDF && tail(1)) length = 2;
    if (first >= 0xE0 && first <= 0xEF && tail(1) && tail(2) && !(first == 0xE0 && at(1) < 0xA0) &&
        !(first == 0xED && at(1) > 0x9F))
        length = 3;
    if (first >= 0xF0 && first <= 0xF4 && tail(1) && tail(2) && tail(3) && !(first == 0xF0 && at(1) < 0x90) &&
        !(first == 0xF4 && at(1) > 0x8F))
        length = 4;
    p += length;
    return length > 0;
}

// The four digits of \uXXXX.
inline bool hex(const char* p, unsigned& code) {
    code = 0;
    for (int k = 0; k < 4; ++k) {
        const char c = p[k], low = static_cast<char>(c | 0x20);
        if (!is_digit(c) && !(low >= 'a' && low <= 'f')) return false;
        code = 16 * code + static_cast<unsigned>(is_digit(c) ? c - '0' : low - 'a' + 10);
    }
    return true;
}

// An escape; the halves of a surrogate pair only together.
inline bool escape(const char*& p) {
    if (p[1] != 'u') {
        if (p[1] == 0 || !std::strchr("\"\\/bfnrt", p[1])) return false;
        p += 2;
        return true;
    }
    unsigned code, other;
    if (!hex(p + 2, code) || (code >= 0xDC00 && code <= 0xDFFF)) return false;
    p += 6;
    if (code < 0xD800 || code > 0xDBFF) return true;
    if (p[0] != '\\' || p[1] != 'u' || !hex(p + 2, other) || other < 0xDC00 || other > 0xDFFF) return false;
    p += 6;
    return true;
}

// Whether one of eight characters is a quote, a backslash, a control character or not ASCII.
inline bool special(uint64_t block) {
    constexpr uint64_t kOnes = 0x0101010101010101, kHigh = 0x8080808080808080;
    const auto below = [](uint64_t x, uint64_t bound) { return (x - kOnes * bound) & ~x; };
    return ((below(block, 0x20) | below(block ^ kOnes * '"', 1) | below(block ^ kOnes * '\\', 1) | block) & kHigh) != 0;
}

// `p` is at the opening quote. `plain` becomes false where the string has escapes.
inline bool string(const char*& p, std::string_view& text, bool& plain) {
    if (*p != '"') return false;
    const char* const begin = ++p;
    plain = true;
    for (;;) {
        for (uint64_t block;; p += 8) {
            std::memcpy(&block, p, 8);
            if (special(block)) break;
        }
        while (*p != '"' && *p != '\\' && static_cast<signed char>(*p) >= 0x20) ++p;
        if (*p == '"') break;
        if (*p == '\\') {
            plain = false;
            if (!escape(p)) return false;
        } else if (!(static_cast<unsigned char>(*p) >= 0x80 && wide(p))) {
            return false;
        }
    }
    text = {begin, static_cast<size_t>(p - begin)};
    ++p;
    return true;
}

// A whole number that fits 64 bits, written without fraction and exponent.
inline bool integer(const char*& p, int64_t& value) {
    const char* const begin = p;
    const bool negative = *p == '-';
    p += negative;
    if (!is_digit(*p) || (*p == '0' && is_digit(p[1]))) return false;
    uint64_t number = 0;
    for (; is_digit(*p); ++p) number = 10 * number + static_cast<uint64_t>(*p - '0');
    if (p - begin > 18 || *p == '.' || *p == 'e' || *p == 'E') return false;
    value = negative ? -static_cast<int64_t>(number) : static_cast<int64_t>(number);
    return true;
}

// Moves behind a number of one to seven digits, and perhaps as many behind a point. If it returns false, `p` has not moved,
// and what is there may be a number all the same. Guesses no branch wrong where `real` does at the end of all digits.
inline bool short_real(const char*& p) {
    if constexpr (std::endian::native != std::endian::little) return false;
    const auto digits = [](const char* at) {  // up to eight
        uint64_t block;
        std::memcpy(&block, at, 8);
        block ^= 0x3030303030303030;  // what is no digit is above nine now; a carry goes into the bytes behind it only
        return std::countr_zero(((block + 0x7676767676767676) | block) & 0x8080808080808080) / 8;
    };
    const char* end = p + (*p == '-');
    const int whole = digits(end);
    if (whole == 0 || whole == 8 || (*end == '0' && whole > 1)) return false;
    end += whole;
    if (*end == '.') {
        const int places = digits(++end);
        if (places == 0 || places == 8) return false;
        end += places;
    }
    if (*end == 'e' || *end == 'E') return false;
    p = end;
    return true;
}

// Any number, rounded correctly.
inline bool real(const char*& p, double& value) {
    // Powers of ten that float64 has exactly: with a mantissa below 2^53 one operation rounds once.
    static constexpr double kTens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                       1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const char* const begin = p;
    const bool negative = *p == '-';
    p += negative;
    if (!is_digit(*p) || (*p == '0' && is_digit(p[1]))) return false;
    uint64_t number = 0;
    const char* const first = p;
    for (; is_digit(*p); ++p) number = 10 * number + static_cast<uint64_t>(*p - '0');
    int64_t digits = p - first, places = 0;
    if (*p == '.') {
        const char* const point = ++p;
        for (; is_digit(*p); ++p) number = 10 * number + static_cast<uint64_t>(*p - '0');
        places = p - point;
        if (places == 0) return false;
    }
    digits += places;
    const bool scaled = *p == 'e' || *p == 'E';
    if (scaled) {
        ++p;
        if (*p == '+' || *p == '-') ++p;
        if (!is_digit(*p)) return false;
        while (is_digit(*p)) ++p;
    }
    if (!scaled && digits <= 18 && number < (uint64_t{1} << 53) && places <= 22) {
        value = static_cast<double>(number) / kTens[places];
        if (negative) value = -value;
        return true;
    }
#ifdef __cpp_lib_to_chars
    return std::from_chars(begin, p, value).ec == std::errc{};
#else
    static_cast<void>(begin);
    return false;
#endif
}

// Any value at all.
inline bool skip(const char*& p, int depth = 0) {
    space(p);
    std::string_view text;
    bool plain;
    double number;
    switch (*p) {
        case '"':
            return string(p, text, plain);
        case 't':
            return word(p, "true");
        case 'f':
            return word(p, "false");
        case 'n':
            return word(p, "null");
        case '[':
        case '{': {
            const bool object = *p == '{';
            const char close = object ? '}' : ']';
            if (depth == kDeepest) return false;
            ++p;
            if (take(p, close)) return true;
            do {
                if (object) {
                    space(p);
                    if (!string(p, text, plain) || !take(p, ':')) return false;
                }
                if (!skip(p, depth + 1)) return false;
            } while (take(p, ','));
            return take(p, close);
        }
        default:
            return real(p, number);
    }
}

}  // namespace delineate::json
