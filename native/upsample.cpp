#include "upsample.hpp"

#include <algorithm>
#include <array>

namespace delineate {
namespace {

constexpr int64_t taps = 3;  // two neighbours of two neighbours, which lie at most one cell apart

// What an output coordinate reads: cells first .. first + 2 with these weights.
struct Reading {
    int64_t first = 0;
    std::array<float, taps> weights{};
};

struct Pair {
    int64_t index;
    double far;  // weight of index + 1
};

// Bilinear interpolation from `from` to `to` samples, half-pixel centres: the pair that output i reads.
Pair bilinear(int64_t i, int64_t from, int64_t to) {
    const double at = std::max((static_cast<double>(i) + 0.5) * static_cast<double>(from) / static_cast<double>(to) - 0.5, 0.0);
    const auto index = std::min(static_cast<int64_t>(at), from - 1);
    return {index, index + 1 < from ? at - static_cast<double>(index) : 0.0};
}

std::vector<Reading> readings(int64_t cells, int64_t side, int64_t content, int64_t length) {
    std::vector<Reading> result(static_cast<size_t>(length));
    for (int64_t i = 0; i < length; ++i) {
        const Pair outer = bilinear(i, content, length);
        Reading& reading = result[static_cast<size_t>(i)];
        reading.first = bilinear(outer.index, cells, side).index;
        std::array<double, taps> weights{};
        for (int64_t far = 0; far < 2; ++far) {
            const double share = far ? outer.far : 1 - outer.far;
            if (share <= 0) continue;
            const Pair inner = bilinear(outer.index + far, cells, side);
            const int64_t place = inner.index - reading.first;  // 0 or 1, as side >= cells
            weights[static_cast<size_t>(place)] += share * (1 - inner.far);
            weights[static_cast<size_t>(place + 1)] += share * inner.far;
        }
        for (size_t k = 0; k < taps; ++k) reading.weights[k] = static_cast<float>(weights[k]);
    }
    return result;
}

// Output rows [begin, end) that read the same cells.
struct Group {
    int64_t first, begin, end;
};

std::vector<Group> groups(const std::vector<Reading>& rows) {
    std::vector<Group> result;
    for (int64_t y = 0; y < static_cast<int64_t>(rows.size()); ++y) {
        const int64_t first = rows[static_cast<size_t>(y)].first;
        if (result.empty() || result.back().first != first) result.push_back({first, y, y});
        result.back().end = y + 1;
    }
    return result;
}

struct Plan {
    std::vector<Reading> rows, columns;
    std::vector<Group> groups;
    float low, middle, high;
};

struct Scratch {
    std::vector<float> turned;  // (columns + 2, rows) the map, column by column; the last column repeated
    std::vector<float> line;    // (rows + 2) one output column; the last cell repeated
};

void turn(const float* map, int64_t rows, int64_t columns, std::vector<float>& turned) {
    turned.resize(static_cast<size_t>((columns + 2) * rows));
    for (int64_t x = 0; x < columns + 2; ++x) {
        const int64_t from = std::min(x, columns - 1);
        for (int64_t y = 0; y < rows; ++y) turned[static_cast<size_t>(x * rows + y)] = map[y * columns + from];
    }
}

// One mask; the counts of its inner and outer pixels.
std::array<int64_t, 2> solve(const float* map, const Logits& logits, const Plan& plan, Scratch& scratch, RunWriter& runs) {
    const int64_t rows = logits.rows, height = static_cast<int64_t>(plan.rows.size());
    turn(map, rows, logits.columns, scratch.turned);
    scratch.line.resize(static_cast<size_t>(rows + 2));
    float* line = scratch.line.data();
    int64_t inner = 0, outer = 0;
    for (int64_t x = 0; x < static_cast<int64_t>(plan.columns.size()); ++x) {
        const Reading& column = plan.columns[static_cast<size_t>(x)];
        const auto [a, b, c] = column.weights;
        const float* cells = scratch.turned.data() + column.first * rows;
        for (int64_t y = 0; y < rows; ++y) line[y] = a * cells[y] + b * cells[rows + y] + c * cells[2 * rows + y];
        line[rows] = line[rows + 1] = line[rows - 1];
        for (const Group& group : plan.groups) {
            const float* v = line + group.first;
            const float least = std::min({v[0], v[1], v[2]}), most = std::max({v[0], v[1], v[2]});
            if (most <= plan.low) continue;
            if (least > plan.high) {
                const int64_t count = group.end - group.begin;
                inner += count;
                outer += count;
                runs.ones(x * height + group.begin, x * height + group.end);
                continue;
            }
            for (int64_t y = group.begin; y < group.end; ++y) {
                const auto& w = plan.rows[static_cast<size_t>(y)].weights;
                const float value = w[0] * v[0] + w[1] * v[1] + w[2] * v[2];
                inner += value > plan.high;
                outer += value > plan.low;
                if (value > plan.middle) runs.ones(x * height + y, x * height + y + 1);
            }
        }
    }
    return {inner, outer};
}

}  // namespace

Thresholded masks_from_logits(const Logits& logits, int64_t height, int64_t width, float threshold, float margin,
                              unsigned threads) {
    const int64_t least = std::max(logits.rows, logits.columns);
    if (logits.rows < 1 || logits.columns < 1 || logits.side < least || logits.content_height < 1 ||
        logits.content_width < 1 || std::max(logits.content_height, logits.content_width) > logits.side || height < 1 ||
        width < 1 || height > (int64_t{1} << 31) / width) {
        throw std::invalid_argument("masks_from_logits: sizes do not fit together");
    }
    Plan plan{readings(logits.rows, logits.side, logits.content_height, height),
              readings(logits.columns, logits.side, logits.content_width, width),
              {},
              threshold - margin,
              threshold,
              threshold + margin};
    plan.groups = groups(plan.rows);
    const Rle nothing{height, width, {}, {0}};
    const auto n = static_cast<size_t>(logits.n);
    std::vector<Rle> pieces(n, nothing);
    Thresholded result{nothing, std::vector<int64_t>(n), std::vector<int64_t>(n)};
    parallel_for(logits.n, 1, threads, [&](int64_t begin, int64_t end) {
        Scratch scratch;
        for (int64_t i = begin; i < end; ++i) {
            const auto at = static_cast<size_t>(i);
            RunWriter runs(pieces[at]);
            const auto counts = solve(logits.data + i * logits.rows * logits.columns, logits, plan, scratch, runs);
            runs.finish();
            result.inner[at] = counts[0];
            result.outer[at] = counts[1];
        }
    });
    for (const auto& piece : pieces) append(result.masks, piece);
    return result;
}

}  // namespace delineate
