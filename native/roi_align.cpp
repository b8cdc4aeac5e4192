#include "roi_align.hpp"

#include <algorithm>
#include <cmath>

namespace delineate {
namespace {

// The weights with which the pixels along one axis enter each bin: neighbours first_[b] to last_[b], and neither end falls
// from bin to bin; a bin without samples on the canvas has none.
class Taps {
   public:
    // As sums, bin b has one more number than pixels: what its pixels before each weigh together.
    Taps(float low, float extent, int64_t bins, int64_t limit, bool sums) : first_(bins), last_(bins), start_(bins + 1) {
        const float side = extent / static_cast<float>(bins);
        const auto samples = static_cast<int64_t>(std::ceil(side));
        for (int64_t b = 0; b < bins; ++b) {
            first_[b] = last_[b] = b ? last_[b - 1] : 0;
            start_[b] = static_cast<int64_t>(weights_.size());
            bool begun = false;
            for (int64_t s = 0; s < samples; ++s) {
                const float at = low + static_cast<float>(b) * side +
                                 (static_cast<float>(s) + 0.5F) * side / static_cast<float>(samples);
                if (at < -1.0F || at > static_cast<float>(limit)) continue;
                const float inside = std::max(at, 0.0F);
                const int64_t left = std::min(static_cast<int64_t>(inside), limit - 1);
                const int64_t right = std::min(left + 1, limit - 1);
                const double share = left == limit - 1 ? 0 : inside - static_cast<float>(left);
                if (!begun) first_[b] = last_[b] = left;
                begun = true;
                last_[b] = std::max(last_[b], right + 1);
                weights_.resize(static_cast<size_t>(start_[b] + last_[b] - first_[b]));
                weights_[start_[b] + left - first_[b]] += (1 - share) / static_cast<double>(samples);
                weights_[start_[b] + right - first_[b]] += share / static_cast<double>(samples);
            }
            if (sums) accumulate(start_[b]);
        }
        start_[bins] = static_cast<int64_t>(weights_.size());
    }

    bool empty() const { return begin() >= end(); }
    int64_t begin() const { return first_.front(); }
    int64_t end() const { return last_.back(); }

    // Bins [first, last) that may take something from pixels [begin, end).
    std::pair<int64_t, int64_t> bins_of(int64_t from, int64_t to) const {
        const auto first = std::upper_bound(last_.begin(), last_.end(), from);
        const auto last = std::lower_bound(first_.begin(), first_.end(), to);
        return {first - last_.begin(), last - first_.begin()};
    }
    double weight(int64_t bin, int64_t pixel) const {
        if (pixel < first_[bin] || pixel >= last_[bin]) return 0;
        return weights_[start_[bin] + pixel - first_[bin]];
    }
    // Of pixels [begin, end) together; of taps made with `sums` only.
    double weight(int64_t bin, int64_t from, int64_t to) const {
        const double* sums = weights_.data() + start_[bin];
        return sums[std::clamp(to, first_[bin], last_[bin]) - first_[bin]] -
               sums[std::clamp(from, first_[bin], last_[bin]) - first_[bin]];
    }

   private:
    void accumulate(int64_t start) {
        double sum = 0;
        for (auto k = static_cast<size_t>(start); k < weights_.size(); ++k) {
            const double own = weights_[k];
            weights_[k] = sum;
            sum += own;
        }
        weights_.push_back(sum);
    }

    std::vector<int64_t> first_, last_, start_;
    std::vector<double> weights_;
};

void pool(std::span<const uint32_t> runs, const Taps& down, const Taps& across, int64_t height, std::array<int64_t, 2> size,
          float* out) {
    std::vector<double> sums(static_cast<size_t>(size[0] * size[1]));  // bin column after bin column
    std::vector<double> column(static_cast<size_t>(size[0]));          // of the pixel column `at`
    int64_t at = -1, touched0 = size[0], touched1 = 0;
    const auto finish = [&] {
        if (touched0 >= touched1) return;
        const auto [first, last] = across.bins_of(at, at + 1);
        for (int64_t j = first; j < last; ++j) {
            const double weight = across.weight(j, at);
            double* target = sums.data() + j * size[0];
            for (int64_t i = touched0; i < touched1; ++i) target[i] += weight * column[i];
        }
        std::fill(column.begin() + touched0, column.begin() + touched1, 0.0);
        touched0 = size[0];
        touched1 = 0;
    };
    const int64_t x0 = across.begin(), x1 = across.end(), top = down.begin(), bottom = down.end();
    for_each_span(runs, height, [&](int64_t x, int64_t y0, int64_t y1) {
        if (x < x0 || x >= x1 || y1 <= top || y0 >= bottom) return;
        if (x != at) finish();
        at = x;
        const auto [first, last] = down.bins_of(y0, y1);
        for (int64_t i = first; i < last; ++i) column[i] += down.weight(i, y0, y1);
        touched0 = std::min(touched0, first);
        touched1 = std::max(touched1, last);
    });
    finish();
    for (int64_t i = 0; i < size[0]; ++i)
        for (int64_t j = 0; j < size[1]; ++j) out[i * size[1] + j] = static_cast<float>(sums[j * size[0] + i]);
}

}  // namespace

void roi_align(const Rle& rle, std::span<const int64_t> indices, std::span<const float> boxes, std::array<int64_t, 2> size,
               bool aligned, float* out, unsigned threads) {
    const int64_t cells = size[0] * size[1];
    std::fill_n(out, static_cast<int64_t>(indices.size()) * cells, 0.0F);
    if (rle.pixels() == 0) return;
    const float shift = aligned ? 0.5F : 0.0F;
    constexpr int64_t grain = 8;
    parallel_for(static_cast<int64_t>(indices.size()), grain, threads, [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) {
            const float* box = boxes.data() + 4 * r;
            const float left = box[0] - shift, top = box[1] - shift;
            float width = box[2] - shift - left, height = box[3] - shift - top;
            if (!aligned) width = std::max(width, 1.0F), height = std::max(height, 1.0F);
            const Taps down(top, height, size[0], rle.height, true), across(left, width, size[1], rle.width, false);
            if (down.empty() || across.empty()) continue;
            pool(rle.runs(indices[r]), down, across, rle.height, size, out + r * cells);
        }
    });
}

}  // namespace delineate
