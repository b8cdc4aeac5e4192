// Letterbox: resize, pad, normalise and reorder a picture into a network input, in one pass over the output.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace delineate {

struct Letterbox {
    // Output canvas, and the part of it that the resized picture covers.
    int64_t out_height = 0, out_width = 0;
    int64_t top = 0, left = 0;
    int64_t height = 0, width = 0;
    // Output value = grey level * gain + bias, per output channel.
    float gain[3] = {1, 1, 1};
    float bias[3] = {0, 0, 0};
    float pad = 0;           // grey level around the picture
    bool reversed = false;   // output channel c reads picture channel 2 - c
};

// image: (image_height, image_width, 3) uint8; out: (3, out_height, out_width) float32.
//
// Bilinear with half-pixel centres and no antialias, edge-clamped: output (y, x) samples the picture at
// ((y - top + 0.5) * image_height / height - 0.5, ...). Interpolation is in float32; nothing is rounded to grey levels.
void letterbox(const uint8_t* image, int64_t image_height, int64_t image_width, const Letterbox& spec, float* out,
               unsigned threads);

// How often each of the 256 levels occurs.
std::array<int64_t, 256> count_levels(std::span<const uint8_t> levels);

// out[i] = curve[levels[i]]; out has the size of levels.
void map_levels(std::span<const uint8_t> levels, std::span<const uint8_t, 256> curve, uint8_t* out);

}  // namespace delineate
