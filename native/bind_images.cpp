// Bindings of the picture kernels: warp, blend. The Python side has checked shapes, ranges and overlaps.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>

#include <algorithm>
#include <array>

#include "blend.hpp"
#include "warp.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Picture = nb::ndarray<const uint8_t, nb::shape<-1, -1, 3>, nb::c_contig, nb::device::cpu>;
using WritablePicture = nb::ndarray<uint8_t, nb::shape<-1, -1, 3>, nb::c_contig, nb::device::cpu>;
using Curve = nb::ndarray<const uint8_t, nb::shape<256>, nb::c_contig, nb::device::cpu>;
using Colours = nb::ndarray<const uint8_t, nb::shape<-1, 3>, nb::c_contig, nb::device::cpu>;
using Tensor = nb::ndarray<float, nb::shape<1, 3, -1, -1>, nb::c_contig, nb::device::cpu>;

void letterbox(Picture image, Tensor out, std::array<int64_t, 4> content, std::array<float, 3> gain,
               std::array<float, 3> bias, float pad, bool reversed, unsigned threads) {
    delineate::Letterbox spec;
    spec.out_height = static_cast<int64_t>(out.shape(2));
    spec.out_width = static_cast<int64_t>(out.shape(3));
    spec.top = content[0];
    spec.left = content[1];
    spec.height = content[2];
    spec.width = content[3];
    std::copy(gain.begin(), gain.end(), spec.gain);
    std::copy(bias.begin(), bias.end(), spec.bias);
    spec.pad = pad;
    spec.reversed = reversed;
    const auto height = static_cast<int64_t>(image.shape(0)), width = static_cast<int64_t>(image.shape(1));
    if (height < 1 || width < 1 || spec.height < 1 || spec.width < 1 || spec.top < 0 || spec.left < 0 ||
        spec.top + spec.height > spec.out_height || spec.left + spec.width > spec.out_width) {
        throw nb::value_error("letterbox: the content must lie inside the output and nothing may be empty");
    }
    nb::gil_scoped_release release;
    delineate::letterbox(image.data(), height, width, spec, out.data(), threads);
}

std::array<int64_t, 256> count_levels(Picture image) {
    nb::gil_scoped_release release;
    return delineate::count_levels({image.data(), image.size()});
}

void map_levels(Picture image, Curve curve, WritablePicture out) {
    if (out.size() != image.size()) throw nb::value_error("map_levels: out must have the image's size");
    nb::gil_scoped_release release;
    const std::span<const uint8_t, 256> levels(curve.data(), 256);
    delineate::map_levels({image.data(), image.size()}, levels, out.data());
}

void blend(WritablePicture image, const delineate::Rle& masks, Colours colours, int alpha, int outline) {
    const bool same_size = static_cast<int64_t>(image.shape(0)) == masks.height &&
                           static_cast<int64_t>(image.shape(1)) == masks.width;
    const bool one_each = static_cast<int64_t>(colours.shape(0)) == masks.size();
    if (!same_size || !one_each || alpha < 0 || alpha > 256 || outline < 0) {
        throw nb::value_error("blend: image, masks, colours and alpha do not fit together");
    }
    nb::gil_scoped_release release;
    delineate::blend(image.data(), masks, {colours.data(), colours.size()}, alpha, outline);
}

}  // namespace

void bind_images(nb::module_& m) {
    m.def("letterbox", &letterbox, "image"_a.noconvert(), "out"_a.noconvert(), "content"_a, "gain"_a, "bias"_a, "pad"_a,
          "reversed"_a, "threads"_a,
          "Resize image into out[content = top, left, height, width], pad the rest, write level * gain + bias.");
    m.def("count_levels", &count_levels, "image"_a.noconvert(), "How often each of the 256 levels occurs.");
    m.def("map_levels", &map_levels, "image"_a.noconvert(), "curve"_a.noconvert(), "out"_a.noconvert(),
          "out = curve[image].");
    m.def("blend", &blend, "image"_a.noconvert(), "masks"_a, "colours"_a.noconvert(), "alpha"_a, "outline"_a,
          "Paint masks over image in place; alpha in 256ths, outline in pixels.");
}
