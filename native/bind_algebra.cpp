// Set operations, parts, morphology and label maps. Arguments arrive checked by delineate/algebra.py.
#include "algebra.hpp"
#include "bind_arrays.hpp"
#include "components.hpp"
#include "morphology.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using delineate::Array1;
using delineate::give;
using delineate::Rle;
using delineate::Table;
using delineate::view;

namespace {

template <Table kTable>
void bind_pairwise(nb::module_& m, const char* name) {
    m.def(name, [](const Rle& a, const Rle& b) { return delineate::combine(a, b, kTable); }, "a"_a, "b"_a,
          nb::call_guard<nb::gil_scoped_release>());
}

template <class T>
void bind_labels(nb::module_& m, const char* read, const char* write, const char* read_signature) {
    using Map = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
    using WritableMap = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
    m.def(read,
          [](const Map& map) {
              delineate::Labels labels;
              {
                  const nb::gil_scoped_release unlocked;
                  labels = delineate::read_labels(map.data(), map.shape(0), map.shape(1));
              }
              return nb::make_tuple(std::move(labels.masks), give(std::move(labels.values)));
          },
          "map"_a.noconvert(), nb::sig(read_signature));
    m.def(write,
          [](const Rle& rle, const Array1<T>& values, const WritableMap& map) {
              delineate::write_labels(rle, view(values), map.data());
          },
          "runs"_a, "values"_a.noconvert(), "map"_a.noconvert(), nb::call_guard<nb::gil_scoped_release>());
}

}  // namespace

void bind_algebra(nb::module_& m) {
    const auto release = nb::call_guard<nb::gil_scoped_release>();
    bind_pairwise<Table::kUnion>(m, "masks_union");
    bind_pairwise<Table::kIntersection>(m, "masks_intersection");
    bind_pairwise<Table::kDifference>(m, "masks_difference");
    bind_pairwise<Table::kXor>(m, "masks_xor");
    m.def("masks_complement", &delineate::complement, "runs"_a, release);
    m.def("masks_unite_groups",
          [](const Rle& rle, const Array1<int64_t>& groups) { return delineate::unite_groups(rle, view(groups)); },
          "runs"_a, "groups"_a.noconvert(), release);
    m.def("masks_resolve",
          [](const Rle& rle, const Array1<int64_t>& ranks) { return delineate::resolve(rle, view(ranks)); },
          "runs"_a, "ranks"_a.noconvert(), release);
    m.def("masks_components",
          [](const Rle& rle, bool diagonal) {
              delineate::Parts parts;
              {
                  const nb::gil_scoped_release unlocked;
                  parts = delineate::components(rle, diagonal);
              }
              return nb::make_tuple(std::move(parts.masks), give(std::move(parts.owners)));
          },
          "runs"_a, "diagonal"_a,
          nb::sig("def masks_components(runs: Runs, diagonal: bool) -> tuple[Runs, NDArray[numpy.int64]]"));
    m.def("masks_remove_specks", &delineate::remove_specks, "runs"_a, "least"_a, "diagonal"_a, release);
    m.def("masks_largest_component", &delineate::largest_component, "runs"_a, "diagonal"_a, release);
    m.def("masks_fill_holes", &delineate::fill_holes, "runs"_a, release);
    m.def("masks_erode",
          [](const Rle& rle, int64_t radius, int element) {
              return delineate::erode(rle, radius, static_cast<delineate::Element>(element));
          },
          "runs"_a, "radius"_a, "element"_a, release);
    m.def("masks_dilate",
          [](const Rle& rle, int64_t radius, int element) {
              return delineate::dilate(rle, radius, static_cast<delineate::Element>(element));
          },
          "runs"_a, "radius"_a, "element"_a, release);
    bind_labels<uint8_t>(m, "masks_read_labels8", "masks_write_labels8",
                         "def masks_read_labels8(map: NDArray[numpy.uint8]) -> tuple[Runs, NDArray[numpy.uint32]]");
    bind_labels<uint16_t>(m, "masks_read_labels16", "masks_write_labels16",
                          "def masks_read_labels16(map: NDArray[numpy.uint16]) -> tuple[Runs, NDArray[numpy.uint32]]");
    bind_labels<uint32_t>(m, "masks_read_labels32", "masks_write_labels32",
                          "def masks_read_labels32(map: NDArray[numpy.uint32]) -> tuple[Runs, NDArray[numpy.uint32]]");
}
