#include "rle_string.hpp"

#include <algorithm>
#include <cstdio>

namespace delineate {

std::string to_string(std::span<const uint32_t> runs) {
    std::string out;
    out.reserve(runs.size() * 2);
    for (size_t i = 0; i < runs.size(); ++i) {
        int64_t x = runs[i];
        if (i > 2) x -= runs[i - 2];
        for (bool more = true; more;) {
            const int64_t low = x & 0x1f;
            x >>= 5;
            more = (low & 0x10) ? x != -1 : x != 0;
            out.push_back(static_cast<char>(48 + (low | (more ? 0x20 : 0))));
        }
    }
    return out;
}

namespace {

[[noreturn]] void fail(const std::string& message) { throw std::invalid_argument("counts " + message); }

// One number of the string, `at` moves behind it.
int64_t read_number(std::string_view text, size_t& at) {
    constexpr int kDigits = 7;  // a difference of two counts has 33 bits and a sign
    int64_t x = 0;
    for (int k = 0;; ++k) {
        if (at == text.size())
            fail("must end with a finished number, got a string that breaks off. Is the file cut short?");
        if (k == kDigits)
            fail("must hold numbers of at most 7 characters, got more before character " + std::to_string(at) + ".");
        const int c = static_cast<unsigned char>(text[at]) - 48;
        if (c < 0 || c > 63) {
            char code[8];
            std::snprintf(code, sizeof code, "0x%02x", static_cast<unsigned>(c + 48));
            fail("must hold characters '0' (0x30) to 'o' (0x6f) only, got " + std::string(code) + " at position " +
                 std::to_string(at) + ".");
        }
        ++at;
        x |= static_cast<int64_t>(c & 0x1f) << (5 * k);
        if (c & 0x20) continue;
        if (c & 0x10) x -= int64_t{1} << (5 * (k + 1));
        return x;
    }
}

void parse(std::string_view text, int64_t height, int64_t width, RunWriter& writer) {
    int64_t position = 0;
    int64_t previous[2] = {0, 0};  // the counts one and two places back
    size_t at = 0;
    for (int64_t m = 0; at < text.size(); ++m) {
        int64_t count = read_number(text, at);
        if (m > 2) count += previous[1];
        if (count < 0) fail("must not be negative, got " + std::to_string(count) + " as count " + std::to_string(m) + ".");
        if (count > std::numeric_limits<uint32_t>::max())
            fail("must be at most 4294967295, got " + std::to_string(count) + " as count " + std::to_string(m) + ".");
        if (count > height * width - position) {
            position += count;
            break;
        }
        if (m % 2) writer.ones(position, position + count);
        position += count;
        previous[1] = previous[0];
        previous[0] = count;
    }
    if (position != height * width)
        fail("must sum to " + std::to_string(height * width) + " (" + std::to_string(height) + " x " +
             std::to_string(width) + "), got " + (at < text.size() ? "at least " : "") + std::to_string(position) +
             ". Check the size that belongs to these counts.");
}

}  // namespace

Rle from_strings(int64_t height, int64_t width, std::span<const std::string_view> strings) {
    int64_t work = 0;
    for (const auto& text : strings) work += static_cast<int64_t>(text.size()) * 2;
    return build(static_cast<int64_t>(strings.size()), height, width, work,
                 [&](int64_t i, RunWriter& writer) { parse(strings[i], height, width, writer); });
}

void append_string(std::string_view text, Rle& target) {
    RunWriter writer(target);
    parse(text, target.height, target.width, writer);
    writer.finish();
}

namespace {

// fn(n, count) for every count of a string in which all is plain and right, see plain_counts; how many, -1 if it is not.
template <class Fn>
int64_t read_plain(std::string_view text, int64_t pixels, Fn&& fn) {
    const char *p = text.data(), *const end = p + text.size();
    int64_t before[2] = {0, 0}, sum = 0;  // the counts one and two places back
    int64_t n = 0;
    for (; p < end; ++n) {
        const unsigned first = static_cast<unsigned>(static_cast<unsigned char>(p[0])) - 48;
        const unsigned second = static_cast<unsigned>(static_cast<unsigned char>(p[1])) - 48;
        const unsigned more = (first >> 5) & 1;
        int64_t x;
        if (first > 63 || (more && second > 31)) {  // three characters or more, or none of the alphabet
            x = 0;
            unsigned c = 0x20, shift = 0;
            for (; c & 0x20; shift += 5) {
                if (p == end || shift == 35) return -1;
                c = static_cast<unsigned>(static_cast<unsigned char>(*p++)) - 48;
                if (c > 63) return -1;
                x |= static_cast<int64_t>(c & 0x1f) << shift;
            }
            x -= static_cast<int64_t>((c >> 4) & 1) << shift;
        } else {  // one or two, without a branch between them: that one would be guessed wrong too often
            const int64_t sign = int64_t{16} << (5 * more);
            x = ((static_cast<int64_t>(first & 31) | static_cast<int64_t>(more ? second << 5 : 0)) ^ sign) - sign;
            p += 1 + more;
        }
        if (n > 2) x += before[1];
        if (x < (n > 0)) return -1;
        sum += x;
        if (sum > pixels) return -1;
        before[1] = before[0];
        before[0] = x;
        fn(n, x);
    }
    return p == end && sum == pixels && pixels <= std::numeric_limits<uint32_t>::max() ? n : -1;
}

}  // namespace

std::span<const uint32_t> plain_counts(std::string_view text, int64_t pixels, std::vector<uint32_t>& scratch) {
    if (scratch.size() < text.size()) scratch.resize(2 * text.size());
    uint32_t* const counts = scratch.data();
    const int64_t n = read_plain(text, pixels, [=](int64_t k, int64_t x) { counts[k] = static_cast<uint32_t>(x); });
    if (n < 0) return {};
    return {counts, static_cast<size_t>(n)};
}

std::optional<Measured> measure_plain(std::string_view text, int64_t height, int64_t width) {
    if (height == 0 || width == 0) return {};
    Measured out;
    int64_t begin = 0, end = 0, y = 0, top = height, bottom = 0, total = 0;
    // While the next count is waited for, the row where the run begins is followed: as tight_box does.
    const int64_t n = read_plain(text, height * width, [&](int64_t k, int64_t x) {
        total += x;
        int64_t next = y + x;
        if (k % 2) {
            top = std::min(top, next > height ? 0 : y);
            bottom = std::max(bottom, std::min(next, height));
            out.area += x;
            end = total;
        } else if (k == 0) {
            begin = x;
        }
        if (next >= 2 * height) next %= height;
        y = next - (next >= height ? height : 0);
    });
    if (n < 1) return {};
    if (n > 1) out.box = {begin / height, top, (end - 1) / height + 1, bottom};
    return out;
}

}  // namespace delineate
