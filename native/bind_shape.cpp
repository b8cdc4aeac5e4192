// Hulls, skeletons, intensities. Arguments arrive checked by delineate/shape.py and delineate/intensity.py.
#include "bind_arrays.hpp"
#include "hull.hpp"
#include "intensity.hpp"
#include "skeleton.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using delineate::give;
using delineate::Rle;

namespace {

template <class T>
void bind_statistics(nb::module_& m, const char* name) {
    using Picture = nb::ndarray<const T, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
    m.def(name,
          [](const Rle& rle, const Picture& picture) {
              std::vector<double> out;
              {
                  const nb::gil_scoped_release unlocked;
                  out = delineate::statistics(rle, picture.data(), static_cast<int64_t>(picture.shape(2)));
              }
              const size_t shape[] = {static_cast<size_t>(rle.size()), picture.shape(2), delineate::kStatistics};
              return give(std::move(out), shape);
          },
          "runs"_a, "picture"_a.noconvert());
}

}  // namespace

void bind_shape(nb::module_& m) {
    const auto release = nb::call_guard<nb::gil_scoped_release>();
    m.def("masks_convex_hulls", &delineate::convex_hulls, "runs"_a, release);
    m.def("masks_hull_measures",
          [](const Rle& rle, double dy, double dx) {
              std::vector<double> out;
              {
                  const nb::gil_scoped_release unlocked;
                  out = delineate::hull_measures(rle, dy, dx);
              }
              const size_t shape[] = {static_cast<size_t>(rle.size()), delineate::kHullMeasures};
              return give(std::move(out), shape);
          },
          "runs"_a, "dy"_a, "dx"_a);
    m.def("masks_skeletons", &delineate::skeletons, "runs"_a, release);
    m.def("masks_links",
          [](const Rle& rle) {
              std::vector<int64_t> out;
              {
                  const nb::gil_scoped_release unlocked;
                  out = delineate::links(rle);
              }
              const size_t shape[] = {static_cast<size_t>(rle.size()), 3};
              return give(std::move(out), shape);
          },
          "runs"_a);
    bind_statistics<uint8_t>(m, "masks_statistics8");
    bind_statistics<uint16_t>(m, "masks_statistics16");
    bind_statistics<float>(m, "masks_statistics32f");
    bind_statistics<double>(m, "masks_statistics64f");
}
