#include <array>
#include <cmath>
#include <limits>

#include "column_solver.hpp"
#include "decode.hpp"
#include "threads.hpp"

namespace delineate {
namespace {

// Where the threshold of one half is passed, kept one float below so that one half itself is inside.
const float kHalf = std::nextafter(0.5F, 0.0F);

// Probabilities less the threshold, column by column, with a border of one cell of probability zero.
void probabilities(const float* logits, const Crops& crops, std::vector<float>& out) {
    const int64_t rows = crops.height + 2;
    out.assign(static_cast<size_t>(rows * (crops.width + 2)), -kHalf);
    for (int64_t i = 0; i < crops.height; ++i) {
        for (int64_t j = 0; j < crops.width; ++j) {
            const double logit = logits[i * crops.width + j];
            out[(j + 1) * rows + i + 1] = static_cast<float>(1 / (1 + std::exp(-logit))) - kHalf;
        }
    }
}

void paste(const float* box, const float* logits, const Crops& crops, std::array<int64_t, 2> size,
           Scratch& scratch, RunWriter& runs) {
    const double left = box[0], top = box[1];
    const double step_x = static_cast<double>(crops.width) / (double{box[2]} - left);
    const double step_y = static_cast<double>(crops.height) / (double{box[3]} - top);
    if (!(step_x > 0) || !(step_y > 0) || !std::isfinite(step_x) || !std::isfinite(step_y)) return;  // also NaN
    if (!std::isfinite(left) || !std::isfinite(top)) return;
    // Half a cell and less outside of the box a probability cannot reach one half; on the edge itself it can.
    const auto end = [](double edge, int64_t limit) {
        return static_cast<int64_t>(std::floor(std::clamp(edge - 0.5, -1.0, static_cast<double>(limit) - 1))) + 1;
    };
    Window w;
    w.column0 = first_pixel(box[0], size[1]);
    w.column1 = end(box[2], size[1]);
    w.row0 = first_pixel(box[1], size[0]);
    w.row1 = end(box[3], size[0]);
    if (w.column0 >= w.column1 || w.row0 >= w.row1) return;
    const Sampling s{size[0], size[1], step_y, step_x, 0.5 - top * step_y, 0.5 - left * step_x};
    probabilities(logits, crops, scratch.logits);
    if (!all_moderate(scratch.logits.data(), static_cast<int64_t>(scratch.logits.size()))) return;
    const int64_t rows = crops.height + 2, across = crops.width + 2;
    w.i0 = std::min(static_cast<int64_t>(cell_at(w.row0, step_y, s.offset_y, rows)), rows - 2);
    w.i1 = std::min(static_cast<int64_t>(cell_at(w.row1 - 1, step_y, s.offset_y, rows)) + 1, rows - 1);
    w.j0 = 0;
    w.j1 = across - 1;
    // The solver reads columns of the window's rows only.
    const int64_t height = w.i1 - w.i0 + 1;
    for (int64_t j = 0; j < across; ++j) {
        std::copy_n(scratch.logits.data() + j * rows + w.i0, height, scratch.logits.data() + j * height);
    }
    solve_window(scratch.logits.data(), across, w, s, scratch.mixed, runs);
}

}  // namespace

Rle masks_from_crops(std::span<const float> boxes, const Crops& crops, std::array<int64_t, 2> size,
                     unsigned threads) {
    const auto n = static_cast<int64_t>(boxes.size() / 4);
    constexpr int64_t grain = 4;
    const int64_t parts = (n + grain - 1) / grain;
    const Rle nothing{size[0], size[1], {}, {0}};
    std::vector<Rle> pieces(static_cast<size_t>(parts), nothing);
    parallel_for(parts, 1, threads, [&](int64_t begin, int64_t end) {
        Scratch scratch;
        for (int64_t part = begin; part < end; ++part) {
            RunWriter runs(pieces[part]);
            for (int64_t i = part * grain; i < std::min(n, (part + 1) * grain); ++i) {
                paste(&boxes[4 * i], crops.data + i * crops.height * crops.width, crops, size, scratch, runs);
                runs.finish();
            }
        }
    });
    Rle whole = nothing;
    for (const auto& piece : pieces) append(whole, piece);
    return whole;
}

}  // namespace delineate
