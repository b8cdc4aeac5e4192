// Bindings of decoding: a head's numbers -> detections, prototypes -> runs. The Python side has checked the shapes.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "decode.hpp"
#include "upsample.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

template <class T>
using Flat = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Matrix = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Planes = nb::ndarray<const float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;

template <class T>
nb::ndarray<nb::numpy, T> to_array(std::vector<T>&& values, std::initializer_list<size_t> shape) {
    auto* owned = new std::vector<T>(std::move(values));
    nb::capsule owner(owned, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    return nb::ndarray<nb::numpy, T>(owned->data(), shape, owner);
}

nb::tuple detect(Matrix head, const std::string& layout, std::optional<Matrix> separate, int64_t classes,
                 int64_t coefficients, std::array<int64_t, 2> input, std::vector<int64_t> strides, double score,
                 double iou, int64_t max_detections, bool agnostic) {
    using Layout = delineate::Head::Layout;
    delineate::Head spec;
    spec.layout = layout == "columns" ? Layout::columns : layout == "rows" ? Layout::rows : Layout::bins;
    spec.data = head.data();
    spec.anchors = static_cast<int64_t>(head.shape(spec.layout == Layout::columns ? 1 : 0));
    spec.classes = classes;
    spec.coefficients = coefficients;
    spec.separate = separate ? separate->data() : nullptr;
    spec.input_height = input[0];
    spec.input_width = input[1];
    spec.strides = std::move(strides);
    const auto width = static_cast<int64_t>(head.shape(spec.layout == Layout::columns ? 0 : 1));
    const int64_t expected = (spec.layout == Layout::bins ? 64 : 4) + classes + (separate ? 0 : coefficients);
    if (classes < 1 || coefficients < 0 || width != expected ||
        (separate && (static_cast<int64_t>(separate->shape(0)) != spec.anchors ||
                      static_cast<int64_t>(separate->shape(1)) != coefficients))) {
        throw nb::value_error("detect: head, classes and coefficients do not fit together");
    }
    delineate::Selection selection;
    selection.score = score;
    selection.iou = iou;
    selection.max_detections = max_detections;
    selection.agnostic = agnostic;
    delineate::Selected found;
    {
        nb::gil_scoped_release release;
        found = delineate::detect(spec, selection);
    }
    const size_t n = found.scores.size();
    return nb::make_tuple(to_array(std::move(found.boxes), {n, 4}), to_array(std::move(found.scores), {n}),
                          to_array(std::move(found.labels), {n}),
                          to_array(std::move(found.coefficients), {n, static_cast<size_t>(coefficients)}));
}

delineate::Rle masks_from_prototypes(Matrix boxes, Matrix coefficients, Planes prototypes, std::array<int64_t, 2> size,
                                     std::array<double, 2> step, std::array<double, 2> offset, unsigned threads) {
    const auto length = [&](size_t axis) { return static_cast<int64_t>(prototypes.shape(axis)); };
    const delineate::Prototypes cells{prototypes.data(), length(0), length(1), length(2)};
    const delineate::Sampling sampling{size[0], size[1], step[0], step[1], offset[0], offset[1]};
    const bool aligned = boxes.shape(1) == 4 && boxes.shape(0) == coefficients.shape(0) &&
                         coefficients.shape(1) == prototypes.shape(0);
    if (!aligned || cells.height < 1 || cells.width < 1 || !(step[0] > 0) || !(step[1] > 0)) {
        throw nb::value_error("masks_from_prototypes: boxes, coefficients and prototypes do not fit together");
    }
    nb::gil_scoped_release release;
    return delineate::masks_from_prototypes({boxes.data(), boxes.size()}, {coefficients.data(), coefficients.size()},
                                            cells, sampling, threads);
}

nb::tuple masks_from_logits(Planes logits, int64_t side, std::array<int64_t, 2> content, std::array<int64_t, 2> size,
                            float threshold, float margin, unsigned threads) {
    const auto length = [&](size_t axis) { return static_cast<int64_t>(logits.shape(axis)); };
    const delineate::Logits maps{logits.data(), length(0), length(1), length(2), side, content[0], content[1]};
    delineate::Thresholded found;
    {
        const nb::gil_scoped_release release;
        found = delineate::masks_from_logits(maps, size[0], size[1], threshold, margin, threads);
    }
    const size_t n = found.inner.size();
    return nb::make_tuple(std::move(found.masks), to_array(std::move(found.inner), {n}), to_array(std::move(found.outer), {n}));
}

delineate::Rle masks_from_crops(Matrix boxes, Planes crops, std::array<int64_t, 2> size, unsigned threads) {
    const delineate::Crops cells{crops.data(), static_cast<int64_t>(crops.shape(1)),
                                 static_cast<int64_t>(crops.shape(2))};
    if (boxes.shape(1) != 4 || boxes.shape(0) != crops.shape(0) || cells.height < 1 || cells.width < 1) {
        throw nb::value_error("masks_from_crops: boxes and crops do not fit together");
    }
    nb::gil_scoped_release release;
    return delineate::masks_from_crops({boxes.data(), boxes.size()}, cells, size, threads);
}

}  // namespace

void bind_decode(nb::module_& m) {
    m.def("detect", &detect, "head"_a.noconvert(), "layout"_a, "separate"_a.noconvert().none(), "classes"_a,
          "coefficients"_a, "input"_a, "strides"_a, "score"_a, "iou"_a, "max_detections"_a, "agnostic"_a,
          "Head -> boxes (input pixels), scores, labels, coefficients, by falling score after greedy suppression.");
    m.def("masks_from_prototypes", &masks_from_prototypes, "boxes"_a.noconvert(), "coefficients"_a.noconvert(),
          "prototypes"_a.noconvert(), "size"_a, "step"_a, "offset"_a, "threads"_a,
          "Coefficients and prototypes -> Runs on a canvas of `size`.");
    m.def("masks_from_logits", &masks_from_logits, "logits"_a.noconvert(), "side"_a, "content"_a, "size"_a, "threshold"_a,
          "margin"_a, "threads"_a,
          "Low-resolution logits -> Runs on a canvas of `size`, pixels above threshold + margin and above threshold - margin.");
    m.def("masks_from_crops", &masks_from_crops, "boxes"_a.noconvert(), "crops"_a.noconvert(), "size"_a, "threads"_a,
          "Crops of logits, each stretched over its box -> Runs on a canvas of `size`.");
}
