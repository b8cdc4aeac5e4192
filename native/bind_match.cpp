#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/unique_ptr.h>

#include <stdexcept>

#include "assignment.hpp"
#include "match.hpp"
#include "verdicts.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using namespace delineate;

namespace {

template <class T>
using Column = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Table = nb::ndarray<const double, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

template <class Array>
auto view(const Array& array) {
    return std::span(array.data(), array.size());
}

template <class T, size_t N>
nb::ndarray<nb::numpy, T> to_numpy(std::vector<T>&& values, const std::array<size_t, N>& shape) {
    auto* kept = new std::vector<T>(std::move(values));
    nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    return nb::ndarray<nb::numpy, T>(kept->data(), N, shape.data(), owner);
}

// The caller's own array, read-only.
template <class T>
auto lend(const Column<T>& column) {
    return nb::ndarray<nb::numpy, const T, nb::ndim<1>>(column);
}

std::vector<const Rle*> pointers(nb::handle images) {
    std::vector<const Rle*> rles;
    for (nb::handle image : images) rles.push_back(&nb::cast<const Rle&>(image));
    return rles;
}

MaskSide side(nb::handle masks) {
    if (nb::isinstance<nb::tuple>(masks)) return {pointers(masks), nullptr};
    const auto& texts = nb::cast<const MaskTexts&>(masks);
    return {{}, &texts, texts.measures};  // its own hold on them: another Python thread may measure meanwhile
}

struct PyTruths {
    Column<int64_t> offsets, labels;
    Column<double> areas;
    Column<uint8_t> crowd, lost;
    Truths view() const { return {::view(offsets), ::view(labels), ::view(areas), ::view(crowd), ::view(lost)}; }
};

struct PyDetections {
    Column<int64_t> offsets, labels;
    Column<double> scores, areas;
    Detections view() const { return {::view(offsets), ::view(labels), ::view(scores), ::view(areas)}; }
};

nb::tuple curves(const PyTruths& truths, const PyDetections& detections, const Overlap& overlap, int64_t classes,
                 const Column<double>& thresholds, const Column<double>& recalls, const Table& ranges,
                 const Column<int64_t>& max_detections) {
    Protocol protocol;
    protocol.classes = classes;
    protocol.thresholds.assign(thresholds.data(), thresholds.data() + thresholds.size());
    protocol.recalls.assign(recalls.data(), recalls.data() + recalls.size());
    for (size_t a = 0; a < ranges.shape(0); ++a) protocol.ranges.push_back({ranges(a, 0), ranges(a, 1)});
    protocol.max_detections.assign(max_detections.data(), max_detections.data() + max_detections.size());
    Curves result;
    {
        nb::gil_scoped_release release;
        result = average_precision(truths.view(), detections.view(), overlap, protocol);
    }
    const size_t T = thresholds.size(), R = recalls.size(), K = static_cast<size_t>(classes), A = ranges.shape(0),
                 M = max_detections.size();
    return nb::make_tuple(to_numpy<double, 5>(std::move(result.precision), {T, R, K, A, M}),
                          to_numpy<double, 4>(std::move(result.recall), {T, K, A, M}),
                          to_numpy<double, 5>(std::move(result.scores), {T, R, K, A, M}));
}

nb::tuple counts(const PyTruths& truths, const PyDetections& detections, const Overlap& overlap,
                 const Column<double>& thresholds) {
    Counts result;
    {
        nb::gil_scoped_release release;
        result = count_matches(truths.view(), detections.view(), overlap, view(thresholds), 0);
    }
    const std::array<size_t, 2> shape{truths.offsets.size() - 1, thresholds.size()};
    return nb::make_tuple(to_numpy(std::move(result.matched), shape), to_numpy(std::move(result.ignored), shape),
                          to_numpy(std::move(result.overlap), shape));
}

nb::tuple cell_matches(const Column<double>& truth_ids, const Column<double>& truth_areas, const Column<uint8_t>& crowd,
                       const Column<uint8_t>& ignored, const Column<double>& detection_ids,
                       const Column<double>& detection_areas, const Table& overlaps, const Column<double>& thresholds,
                       const Table& ranges) {
    const size_t G = truth_ids.size(), D = detection_ids.size(), T = thresholds.size(), A = ranges.shape(0);
    if (truth_areas.size() != G || crowd.size() != G || ignored.size() != G || detection_areas.size() != D ||
        overlaps.size() != D * G || (A > 0 && ranges.shape(1) != 2))
        throw std::invalid_argument("match_cell: columns must have one entry per object, and overlaps one per pair.");
    std::vector<std::array<double, 2>> bounds;
    for (size_t a = 0; a < A; ++a) bounds.push_back({ranges(a, 0), ranges(a, 1)});
    CellMatches result;
    {
        nb::gil_scoped_release release;
        result = match_cell({view(truth_ids), view(truth_areas), view(crowd), view(ignored)},
                            {view(detection_ids), view(detection_areas)}, view(overlaps), view(thresholds), bounds);
    }
    return nb::make_tuple(to_numpy<int64_t, 2>(std::move(result.order), {A, G}),
                          to_numpy<int64_t, 2>(std::move(result.truth_ignored), {A, G}),
                          to_numpy<double, 3>(std::move(result.truth_matches), {A, T, G}),
                          to_numpy<double, 3>(std::move(result.detection_matches), {A, T, D}),
                          to_numpy<uint8_t, 3>(std::move(result.detection_ignored), {A, T, D}));
}

nb::tuple pairs(const PyTruths& truths, const PyDetections& detections, const Overlap& overlap, double floor) {
    Candidates result;
    {
        nb::gil_scoped_release release;
        result = overlapping_pairs(truths.view(), detections.view(), overlap, floor, 0);
    }
    const size_t count = result.truths.size(), rows = result.offsets.size();
    return nb::make_tuple(to_numpy<int64_t, 1>(std::move(result.offsets), {rows}),
                          to_numpy<int64_t, 1>(std::move(result.truths), {count}),
                          to_numpy<double, 1>(std::move(result.ious), {count}));
}

nb::tuple verdicts(const PyTruths& truths, const PyDetections& detections, const nb::tuple& of_pairs, int64_t classes,
                   const Column<double>& thresholds, const std::array<double, 2>& range, int64_t limit, int64_t rule) {
    const auto offsets = nb::cast<Column<int64_t>>(of_pairs[0]), partners = nb::cast<Column<int64_t>>(of_pairs[1]);
    const auto ious = nb::cast<Column<double>>(of_pairs[2]);
    const size_t D = detections.labels.size(), T = thresholds.size();
    if (T > 32 || offsets.size() != D + 1 || partners.size() != ious.size() || rule < 0 || rule > 2)
        throw std::invalid_argument("judge: at most 32 thresholds, and pairs of these detections.");
    Verdicts result;
    {
        nb::gil_scoped_release release;
        result = judge(truths.view(), detections.view(), {view(offsets), view(partners), view(ious)},
                       {classes, view(thresholds), range, limit, static_cast<Rule>(rule)}, 0);
    }
    return nb::make_tuple(to_numpy<int64_t, 1>(std::move(result.rank), {D}),
                          to_numpy<uint32_t, 1>(std::move(result.hit), {D}),
                          to_numpy<uint32_t, 1>(std::move(result.ignored), {D}),
                          to_numpy<int64_t, 2>(std::move(result.matches), {T, D}));
}

nb::ndarray<nb::numpy, double> resampled(const PyTruths& truths, const Column<uint8_t>& positive,
                                         const PyDetections& detections, const nb::tuple& verdict, int64_t classes,
                                         int64_t thresholds, const Column<double>& recalls,
                                         const nb::ndarray<const int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>& weights) {
    const auto rank = nb::cast<Column<int64_t>>(verdict[0]);
    const auto hit = nb::cast<Column<uint32_t>>(verdict[1]), ignored = nb::cast<Column<uint32_t>>(verdict[2]);
    const size_t D = detections.labels.size();
    if (rank.size() != D || hit.size() != D || ignored.size() != D || positive.size() != truths.labels.size() ||
        weights.shape(1) + 1 != truths.offsets.size())
        throw std::invalid_argument("resampled_precision: columns must have one entry per object, weights one per image.");
    std::vector<double> result;
    {
        nb::gil_scoped_release release;
        result = resampled_precision(truths.view(), view(positive), detections.view(), {view(rank), view(hit), view(ignored)},
                                     {classes, thresholds, view(recalls), view(weights)}, 0);
    }
    const std::array<size_t, 3> shape{weights.shape(0), static_cast<size_t>(classes), static_cast<size_t>(thresholds)};
    result.resize(shape[0] * shape[1] * shape[2], -1);
    return to_numpy(std::move(result), shape);
}

nb::ndarray<nb::numpy, int64_t> assigned(const Table& gains) {
    const size_t rows = gains.shape(0), columns = gains.shape(1);
    std::vector<int64_t> offsets{0};
    std::vector<Edge> edges;
    for (size_t r = 0; r < rows; ++r) {
        for (size_t c = 0; c < columns; ++c)
            if (gains(r, c) > 0) edges.push_back({static_cast<int32_t>(c), gains(r, c)});
        offsets.push_back(static_cast<int64_t>(edges.size()));
    }
    auto taken = assign(offsets, edges, static_cast<int64_t>(columns));
    for (int64_t& edge : taken)
        if (edge >= 0) edge = edges[edge].column;
    return to_numpy<int64_t, 1>(std::move(taken), {rows});
}

}  // namespace

void bind_match(nb::module_& m) {
    nb::class_<Overlap>(m, "Overlap", "Where the IoU of detections and truths comes from.");
    nb::class_<PyTruths>(m, "Truths", "Truths of all images as flat columns.")
        .def(nb::init<Column<int64_t>, Column<int64_t>, Column<double>, Column<uint8_t>, Column<uint8_t>>(),
             "offsets"_a.noconvert(), "labels"_a.noconvert(), "areas"_a.noconvert(), "crowd"_a.noconvert(),
             "lost"_a.noconvert())
        .def_prop_ro("offsets", [](const PyTruths& self) { return lend(self.offsets); })
        .def_prop_ro("labels", [](const PyTruths& self) { return lend(self.labels); })
        .def_prop_ro("areas", [](const PyTruths& self) { return lend(self.areas); })
        .def_prop_ro("crowd", [](const PyTruths& self) { return lend(self.crowd); })
        .def_prop_ro("lost", [](const PyTruths& self) { return lend(self.lost); });
    nb::class_<PyDetections>(m, "Detections", "Detections of all images as flat columns.")
        .def(nb::init<Column<int64_t>, Column<int64_t>, Column<double>, Column<double>>(), "offsets"_a.noconvert(),
             "labels"_a.noconvert(), "scores"_a.noconvert(), "areas"_a.noconvert())
        .def_prop_ro("offsets", [](const PyDetections& self) { return lend(self.offsets); })
        .def_prop_ro("labels", [](const PyDetections& self) { return lend(self.labels); })
        .def_prop_ro("scores", [](const PyDetections& self) { return lend(self.scores); })
        .def_prop_ro("areas", [](const PyDetections& self) { return lend(self.areas); });
    m.def(
        "mask_overlap",
        [](nb::handle truths, nb::handle detections) { return mask_overlap(side(truths), side(detections)); },
        "truths"_a, "detections"_a, nb::keep_alive<0, 1>(), nb::keep_alive<0, 2>(),
        nb::sig("def mask_overlap(truths: tuple[Runs, ...] | MaskTexts, detections: tuple[Runs, ...] | MaskTexts) -> Overlap"));
    m.def(
        "boundary_overlap",
        [](nb::handle truths, nb::handle detections, const Column<int64_t>& widths) {
            return boundary_overlap(side(truths), side(detections), view(widths));
        },
        "truths"_a, "detections"_a, "widths"_a.noconvert(), nb::keep_alive<0, 1>(), nb::keep_alive<0, 2>(),
        nb::keep_alive<0, 3>(),
        nb::sig("def boundary_overlap(truths: tuple[Runs, ...] | MaskTexts, detections: tuple[Runs, ...] | MaskTexts, "
                "widths: NDArray[numpy.int64]) -> Overlap"));
    m.def(
        "box_overlap", [](const Table& truths, const Table& detections) { return box_overlap(view(truths), view(detections)); },
        "truths"_a.noconvert(), "detections"_a.noconvert(), nb::keep_alive<0, 1>(), nb::keep_alive<0, 2>());
    m.def(
        "dense_overlap",
        [](const Column<double>& values, const Column<int64_t>& truth_offsets, const Column<int64_t>& detection_offsets) {
            return dense_overlap(view(values), view(truth_offsets), view(detection_offsets));
        },
        "values"_a.noconvert(), "truth_offsets"_a.noconvert(), "detection_offsets"_a.noconvert(), nb::keep_alive<0, 1>(),
        nb::keep_alive<0, 2>(), nb::keep_alive<0, 3>());
    m.def(
        "tube_overlap",
        [](const nb::tuple& truths, const Column<int64_t>& truth_tubes, int64_t truth_count, const nb::tuple& detections,
           const Column<int64_t>& detection_tubes, int64_t detection_count) {
            return tube_overlap({side(truths).images, view(truth_tubes), truth_count},
                                {side(detections).images, view(detection_tubes), detection_count});
        },
        "truths"_a, "truth_tubes"_a.noconvert(), "truth_count"_a, "detections"_a, "detection_tubes"_a.noconvert(),
        "detection_count"_a, nb::keep_alive<0, 1>(), nb::keep_alive<0, 4>());
    m.def("assign", &assigned, "gains"_a.noconvert(),
          nb::sig("def assign(gains: NDArray[numpy.float64]) -> NDArray[numpy.int64]"));
    m.def("average_precision", &curves, "truths"_a, "detections"_a, "overlap"_a, "classes"_a, "thresholds"_a.noconvert(),
          "recalls"_a.noconvert(), "ranges"_a.noconvert(), "max_detections"_a.noconvert());
    m.def("match_cell", &cell_matches, "truth_ids"_a.noconvert(), "truth_areas"_a.noconvert(), "crowd"_a.noconvert(),
          "ignored"_a.noconvert(), "detection_ids"_a.noconvert(), "detection_areas"_a.noconvert(), "overlaps"_a.noconvert(),
          "thresholds"_a.noconvert(), "ranges"_a.noconvert());
    m.def("count_matches", &counts, "truths"_a, "detections"_a, "overlap"_a, "thresholds"_a.noconvert());
    m.def("overlapping_pairs", &pairs, "truths"_a, "detections"_a, "overlap"_a, "floor"_a,
          nb::sig("def overlapping_pairs(truths: Truths, detections: Detections, overlap: Overlap, floor: float) -> "
                  "tuple[NDArray[numpy.int64], NDArray[numpy.int64], NDArray[numpy.float64]]"));
    m.def("judge", &verdicts, "truths"_a, "detections"_a, "pairs"_a, "classes"_a, "thresholds"_a.noconvert(), "range"_a,
          "limit"_a, "rule"_a,
          nb::sig("def judge(truths: Truths, detections: Detections, pairs: tuple, classes: int, thresholds: "
                  "NDArray[numpy.float64], range: tuple[float, float], limit: int, rule: int) -> tuple[NDArray[numpy.int64], "
                  "NDArray[numpy.uint32], NDArray[numpy.uint32], NDArray[numpy.int64]]"));
    m.def("resampled_precision", &resampled, "truths"_a, "positive"_a.noconvert(), "detections"_a, "verdict"_a, "classes"_a,
          "thresholds"_a, "recalls"_a.noconvert(), "weights"_a.noconvert(),
          nb::sig("def resampled_precision(truths: Truths, positive: NDArray[numpy.uint8], detections: Detections, verdict: "
                  "tuple, classes: int, thresholds: int, recalls: NDArray[numpy.float64], weights: NDArray[numpy.int32]) -> "
                  "NDArray[numpy.float64]"));
}
