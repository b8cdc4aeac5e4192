#include "warp.hpp"

#include <algorithm>
#include <cmath>
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

DELINEATE_SIMD_CLONES void sample_columns(const float* row, const int32_t* low, const int32_t* high, const float* t,
                                          int64_t n, float gain, float bias, float* out) {
    for (int64_t x = 0; x < n; ++x) {
        const float a = row[low[x]];
        const float b = row[high[x]];
        out[x] = (a + (b - a) * t[x]) * gain + bias;
    }
}

DELINEATE_SIMD_CLONES void copy_row(const uint8_t* row, int64_t n, const float* gain, const float* bias, float* out0,
                                    float* out1, float* out2) {
    const float g0 = gain[0], g1 = gain[1], g2 = gain[2], b0 = bias[0], b1 = bias[1], b2 = bias[2];
    for (int64_t x = 0; x < n; ++x) {
        out0[x] = static_cast<float>(row[3 * x]) * g0 + b0;
        out1[x] = static_cast<float>(row[3 * x + 1]) * g1 + b1;
        out2[x] = static_cast<float>(row[3 * x + 2]) * g2 + b2;
    }
}

}  // namespace

void letterbox(const uint8_t* image, int64_t image_height, int64_t image_width, const Letterbox& spec, float* out,
               unsigned threads) {
    const int64_t plane = spec.out_height * spec.out_width;
    Axis rows = make_axis(image_height, spec.height);
    Axis columns = make_axis(image_width, spec.width);
    for (auto& i : columns.low) i *= 3;
    for (auto& i : columns.high) i *= 3;
    const bool same_columns = image_width == spec.width;

    auto fill_row = [&](int64_t y, std::vector<float>& buffer) {
        float* line[3];     // output rows in the order of the picture's channels
        float gain[3], bias[3];
        for (int c = 0; c < 3; ++c) {
            const int o = spec.reversed ? 2 - c : c;
            line[c] = out + o * plane + y * spec.out_width;
            gain[c] = spec.gain[o];
            bias[c] = spec.bias[o];
            const float pad = spec.pad * gain[c] + bias[c];
            const bool inside = y >= spec.top && y < spec.top + spec.height;
            std::fill(line[c], line[c] + (inside ? spec.left : spec.out_width), pad);
            if (inside) std::fill(line[c] + spec.left + spec.width, line[c] + spec.out_width, pad);
            line[c] += spec.left;
        }
        const int64_t i = y - spec.top;
        if (i < 0 || i >= spec.height) return;
        const uint8_t* a = image + rows.low[i] * image_width * 3;
        const uint8_t* b = image + rows.high[i] * image_width * 3;
        if (same_columns && rows.weight[i] == 0.0f) {
            copy_row(a, spec.width, gain, bias, line[0], line[1], line[2]);
            return;
        }
        lerp_rows(a, b, rows.weight[i], image_width * 3, buffer.data());
        for (int c = 0; c < 3; ++c) {
            sample_columns(buffer.data() + c, columns.low.data(), columns.high.data(), columns.weight.data(), spec.width,
                           gain[c], bias[c], line[c]);
        }
    };
    parallel_for(spec.out_height, 32, threads, [&](int64_t begin, int64_t end) {
        std::vector<float> buffer(static_cast<size_t>(image_width) * 3);
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
