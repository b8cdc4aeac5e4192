#include "intensity.hpp"

#include <cmath>

#include "geometry.hpp"

namespace delineate {

namespace {

// Reorders the values.
template <class T>
void describe(std::vector<T>& values, double* out) {
    constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
    std::fill(out, out + kStatistics, kNan);
    const size_t n = values.size();
    if (n == 0) {
        out[4] = 0;
        return;
    }
    double sum = 0;
    for (const T v : values) sum += static_cast<double>(v);
    if (std::isnan(sum)) {
        // Infinities of both signs have no sum, but an order; a nan has none.
        for (const T v : values)
            if (v != v) return;
    }
    const double mean = sum / static_cast<double>(n);
    double squares = 0;
    for (const T v : values) squares += (static_cast<double>(v) - mean) * (static_cast<double>(v) - mean);
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    out[0] = mean;
    out[1] = static_cast<double>(*low);
    out[2] = static_cast<double>(*high);
    out[3] = std::sqrt(squares / static_cast<double>(n));
    out[4] = sum;
    const auto middle = values.begin() + static_cast<int64_t>(n / 2);
    std::nth_element(values.begin(), middle, values.end());
    out[5] = static_cast<double>(*middle);
    if (n % 2 == 0) out[5] = (out[5] + static_cast<double>(*std::max_element(values.begin(), middle))) / 2;
}

}  // namespace

template <class T>
std::vector<double> statistics(const Rle& rle, const T* picture, int64_t channels) {
    std::vector<double> out(static_cast<size_t>(rle.size() * channels * kStatistics));
    const int64_t work = 16 * static_cast<int64_t>(rle.counts.size()) * channels;
    parallel_for(rle.size(), worth_a_thread(rle.size(), work), 0, [&](int64_t begin, int64_t end) {
        RowReader rows;
        std::vector<std::vector<T>> values(static_cast<size_t>(channels));
        for (int64_t i = begin; i < end; ++i) {
            for (auto& channel : values) channel.clear();
            rows.for_each_run(rle.runs(i), rle.height, [&](int64_t y, int64_t x0, int64_t x1) {
                const T* pixel = picture + (y * rle.width + x0) * channels;
                if (channels == 1) {
                    values[0].insert(values[0].end(), pixel, pixel + (x1 - x0));
                    return;
                }
                for (int64_t x = x0; x < x1; ++x, pixel += channels)
                    for (int64_t c = 0; c < channels; ++c) values[c].push_back(pixel[c]);
            });
            for (int64_t c = 0; c < channels; ++c) describe(values[c], out.data() + (i * channels + c) * kStatistics);
        }
    });
    return out;
}

template std::vector<double> statistics(const Rle&, const uint8_t*, int64_t);
template std::vector<double> statistics(const Rle&, const uint16_t*, int64_t);
template std::vector<double> statistics(const Rle&, const float*, int64_t);
template std::vector<double> statistics(const Rle&, const double*, int64_t);

}  // namespace delineate
