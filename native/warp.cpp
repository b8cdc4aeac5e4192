#include "warp.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "simd.hpp"
#include "threads.hpp"

namespace delineate {
namespace {

// Where each output sample falls between two source samples.
struct Axis {
    std::vector<int32_t> low, high;
    std::vector<float> weight;  // of `high`
};

Axis make_axis(int64_t source, int64_t target) {
    Axis axis;
    axis.low.resize(target);
    axis.high.resize(target);
    axis.weight.resize(target);
    const double step = static_cast<double>(source) / static_cast<double>(target);
    for (int64_t i = 0; i < target; ++i) {
        const double at = std::clamp((static_cast<double>(i) + 0.5) * step - 0.5, 0.0, static_cast<double>(source - 1));
        const auto low = static_cast<int64_t>(at);
        axis.low[i] = static_cast<int32_t>(low);
        axis.high[i] = static_cast<int32_t>(std::min(low + 1, source - 1));
        axis.weight[i] = static_cast<float>(at - static_cast<double>(low));
    }
    return axis;
}

DELINEATE_SIMD_CLONES void lerp_rows(const uint8_t* a, const uint8_t* b, float t, int64_t n, float* out) {
    for (int64_t i = 0; i < n; ++i) {
        const float low = static_cast<float>(a[i]);
        out[i] = low + (static_cast<float>(b[i]) - low) * t;
    }
}

// One output row, in the order of the picture's channels.
struct Line {
    float* channel[3];
    float gain[3];
    float bias[3];
};

#ifdef __has_builtin
#if __has_builtin(__builtin_shufflevector)
#define DELINEATE_VECTORS  // GCC 12, clang
#endif
#endif

#ifdef DELINEATE_VECTORS
using Four = float __attribute__((vector_size(16)));

inline Four load(const float* from) {
    Four values;
    std::memcpy(&values, from, sizeof(values));
    return values;
}

inline void store(const Four& values, float* to) { std::memcpy(to, &values, sizeof(values)); }
#endif

// Samples a row of interleaved channels at its columns; `row` has one value to spare at its end.
DELINEATE_SIMD_CLONES void sample_row(const float* row, const Axis& columns, const Line& line) {
    const auto n = static_cast<int64_t>(columns.low.size());
    const int32_t *low = columns.low.data(), *high = columns.high.data();
    const float* weight = columns.weight.data();
    int64_t x = 0;
#ifdef DELINEATE_VECTORS
    // A pixel is one vector (its fourth value has no meaning); four of them are transposed into three planes.
    const Four gain = {line.gain[0], line.gain[1], line.gain[2], 0};
    const Four bias = {line.bias[0], line.bias[1], line.bias[2], 0};
    float *out0 = line.channel[0], *out1 = line.channel[1], *out2 = line.channel[2];
    const auto at = [&](int64_t i) {
        const Four a = load(row + low[i]), b = load(row + high[i]);
        return (a + (b - a) * weight[i]) * gain + bias;
    };
    for (; x + 4 <= n; x += 4) {
        const Four p = at(x), q = at(x + 1), r = at(x + 2), s = at(x + 3);
        const Four pq = __builtin_shufflevector(p, q, 0, 4, 1, 5), rs = __builtin_shufflevector(r, s, 0, 4, 1, 5);
        store(__builtin_shufflevector(pq, rs, 0, 1, 4, 5), out0 + x);
        store(__builtin_shufflevector(pq, rs, 2, 3, 6, 7), out1 + x);
        const Four pq2 = __builtin_shufflevector(p, q, 2, 6, 2, 6), rs2 = __builtin_shufflevector(r, s, 2, 6, 2, 6);
        store(__builtin_shufflevector(pq2, rs2, 0, 1, 4, 5), out2 + x);
    }
#endif
    for (; x < n; ++x) {
        for (int c = 0; c < 3; ++c) {
            const float a = row[low[x] + c], b = row[high[x] + c];
            line.channel[c][x] = (a + (b - a) * weight[x]) * line.gain[c] + line.bias[c];
        }
    }
}

DELINEATE_SIMD_CLONES void copy_row(const uint8_t* row, int64_t n, const Line& line) {
    float *out0 = line.channel[0], *out1 = line.channel[1], *out2 = line.channel[2];
    const float g0 = line.gain[0], g1 = line.gain[1], g2 = line.gain[2];
    const float b0 = line.bias[0], b1 = line.bias[1], b2 = line.bias[2];
    for (int64_t x = 0; x < n; ++x) {
        out0[x] = static_cast<float>(row[3 * x]) * g0 + b0;
        out1[x] = static_cast<float>(row[3 * x + 1]) * g1 + b1;
        out2[x] = static_cast<float>(row[3 * x + 2]) * g2 + b2;
    }
}

// Output row y with its padding written; the line begins where the picture does.
Line begin_line(const Letterbox& spec, int64_t y, float* out) {
    Line line;
    const bool inside = y >= spec.top && y < spec.top + spec.height;
    for (int c = 0; c < 3; ++c) {
        const int o = spec.reversed ? 2 - c : c;
        float* row = out + (o * spec.out_height + y) * spec.out_width;
        line.gain[c] = spec.gain[o];
        line.bias[c] = spec.bias[o];
        const float pad = spec.pad * line.gain[c] + line.bias[c];
        std::fill(row, row + (inside ? spec.left : spec.out_width), pad);
        if (inside) std::fill(row + spec.left + spec.width, row + spec.out_width, pad);
        line.channel[c] = row + spec.left;
    }
    return line;
}

}  // namespace

void letterbox(const uint8_t* image, int64_t image_height, int64_t image_width, const Letterbox& spec, float* out,
               unsigned threads) {
    const Axis rows = make_axis(image_height, spec.height);
    Axis columns = make_axis(image_width, spec.width);
    for (auto& i : columns.low) i *= 3;
    for (auto& i : columns.high) i *= 3;
    const int64_t row_bytes = image_width * 3;
    const bool same_width = image_width == spec.width;

    const auto fill_row = [&](int64_t y, std::vector<float>& buffer) {
        const Line line = begin_line(spec, y, out);
        const int64_t i = y - spec.top;
        if (i < 0 || i >= spec.height) return;
        const uint8_t *a = image + rows.low[i] * row_bytes, *b = image + rows.high[i] * row_bytes;
        if (same_width && rows.weight[i] == 0.0f) {
            copy_row(a, spec.width, line);
        } else {
            lerp_rows(a, b, rows.weight[i], row_bytes, buffer.data());
            sample_row(buffer.data(), columns, line);
        }
    };
    parallel_for(spec.out_height, 32, threads, [&](int64_t begin, int64_t end) {
        std::vector<float> buffer(static_cast<size_t>(row_bytes) + 1);
        for (int64_t y = begin; y < end; ++y) fill_row(y, buffer);
    });
}

std::array<int64_t, 256> count_levels(std::span<const uint8_t> levels) {
    // Four tables: neighbouring pixels are often equal, and one table would wait for its own last store each time.
    std::array<std::array<int64_t, 256>, 4> tables{};
    size_t i = 0;
    for (; i + 4 <= levels.size(); i += 4) {
        for (size_t k = 0; k < 4; ++k) ++tables[k][levels[i + k]];
    }
    for (; i < levels.size(); ++i) ++tables[0][levels[i]];
    for (size_t level = 0; level < 256; ++level) {
        for (size_t k = 1; k < 4; ++k) tables[0][level] += tables[k][level];
    }
    return tables[0];
}

void map_levels(std::span<const uint8_t> levels, std::span<const uint8_t, 256> curve, uint8_t* out) {
    for (size_t i = 0; i < levels.size(); ++i) out[i] = curve[levels[i]];
}

}  // namespace delineate
