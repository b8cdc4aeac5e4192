// Pairs of objects that overlap, and what is done with them. Arguments arrive checked by delineate/pairs.py and postprocess/.
#include <nanobind/stl/optional.h>

#include "bind_arrays.hpp"
#include "pairs.hpp"
#include "suppress.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using delineate::Array1;
using delineate::give;
using delineate::Rle;
using delineate::view;

namespace {

nb::tuple as_tuple(delineate::Pairs&& pairs) {
    return nb::make_tuple(give(std::move(pairs.first)), give(std::move(pairs.second)), give(std::move(pairs.shared)));
}

void bind_suppression(nb::module_& m) {
    m.def("soften",
          [](const Array1<double>& scores, const Array1<int64_t>& offsets, const Array1<int64_t>& neighbours,
             const Array1<double>& factors) {
              std::vector<double> out;
              {
                  const nb::gil_scoped_release unlocked;
                  out = delineate::soften(view(scores), {view(offsets), view(neighbours)}, view(factors));
              }
              return give(std::move(out));
          },
          "scores"_a.noconvert(), "offsets"_a.noconvert(), "neighbours"_a.noconvert(), "factors"_a.noconvert());
    m.def("group_greedily",
          [](const Array1<int64_t>& order, const Array1<int64_t>& offsets, const Array1<int64_t>& neighbours) {
              std::vector<int64_t> out;
              {
                  const nb::gil_scoped_release unlocked;
                  out = delineate::group_greedily(view(order), {view(offsets), view(neighbours)});
              }
              return give(std::move(out));
          },
          "order"_a.noconvert(), "offsets"_a.noconvert(), "neighbours"_a.noconvert());
    m.def("masks_fuse",
          [](const Rle& rle, const Array1<int64_t>& order, const Array1<int64_t>& labels, const Array1<double>& weights,
             double threshold) {
              delineate::FusedMasks fused;
              {
                  const nb::gil_scoped_release unlocked;
                  fused = delineate::fuse_masks(rle, {view(order), view(labels), view(weights)}, threshold);
              }
              return nb::make_tuple(give(std::move(fused.clusters)), std::move(fused.masks));
          },
          "runs"_a, "order"_a.noconvert(), "labels"_a.noconvert(), "weights"_a.noconvert(), "threshold"_a,
          nb::sig("def masks_fuse(runs: Runs, order: NDArray[numpy.int64], labels: NDArray[numpy.int64], "
                  "weights: NDArray[numpy.float64], threshold: float) -> tuple[NDArray[numpy.int64], Runs]"));
    m.def("boxes_fuse",
          [](const Array1<double>& boxes, const Array1<int64_t>& order, const Array1<int64_t>& labels,
             const Array1<double>& weights, double threshold) {
              delineate::FusedBoxes fused;
              {
                  const nb::gil_scoped_release unlocked;
                  fused = delineate::fuse_boxes(view(boxes), {view(order), view(labels), view(weights)}, threshold);
              }
              return nb::make_tuple(give(std::move(fused.clusters)), give(std::move(fused.boxes)));
          },
          "boxes"_a.noconvert(), "order"_a.noconvert(), "labels"_a.noconvert(), "weights"_a.noconvert(), "threshold"_a,
          nb::sig("def boxes_fuse(boxes: NDArray[numpy.float64], order: NDArray[numpy.int64], "
                  "labels: NDArray[numpy.int64], weights: NDArray[numpy.float64], threshold: float) -> "
                  "tuple[NDArray[numpy.int64], NDArray[numpy.float64]]"));
}

}  // namespace

void bind_pairs(nb::module_& m) {
    m.def("masks_pairs",
          [](const Rle& a, const Rle* b) {
              delineate::Pairs pairs;
              {
                  const nb::gil_scoped_release unlocked;
                  pairs = delineate::mask_pairs(a, b);
              }
              return as_tuple(std::move(pairs));
          },
          "a"_a, "b"_a.none(),
          nb::sig("def masks_pairs(a: Runs, b: Runs | None) -> tuple[NDArray[numpy.int64], NDArray[numpy.int64], "
                  "NDArray[numpy.float64]]"));
    m.def("boxes_pairs",
          [](const Array1<double>& a, const std::optional<Array1<double>>& b) {
              delineate::Pairs pairs;
              {
                  const nb::gil_scoped_release unlocked;
                  const auto others = b ? view(*b) : std::span<const double>();
                  pairs = delineate::box_pairs(view(a), b ? &others : nullptr);
              }
              return as_tuple(std::move(pairs));
          },
          "a"_a.noconvert(), "b"_a.noconvert().none(),
          nb::sig("def boxes_pairs(a: NDArray[numpy.float64], b: NDArray[numpy.float64] | None) -> "
                  "tuple[NDArray[numpy.int64], NDArray[numpy.int64], NDArray[numpy.float64]]"));
    bind_suppression(m);
}
