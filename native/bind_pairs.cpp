// Pairs of objects that overlap. Arguments arrive checked by delineate/pairs.py.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include "pairs.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using delineate::Rle;

namespace {

template <class T>
using Array1 = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <class T>
auto give(std::vector<T>&& values) {
    auto* held = new std::vector<T>(std::move(values));
    const nb::capsule owner(held, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    const size_t shape[] = {held->size()};
    return nb::ndarray<nb::numpy, T, nb::ndim<1>>(held->data(), 1, shape, owner);
}

nb::tuple give(delineate::Pairs&& pairs) {
    return nb::make_tuple(give(std::move(pairs.first)), give(std::move(pairs.second)), give(std::move(pairs.shared)));
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
              return give(std::move(pairs));
          },
          "a"_a, "b"_a.none(),
          nb::sig("def masks_pairs(a: Runs, b: Runs | None) -> tuple[NDArray[numpy.int64], NDArray[numpy.int64], "
                  "NDArray[numpy.float64]]"));
    m.def("boxes_pairs",
          [](const Array1<double>& a, const std::optional<Array1<double>>& b) {
              delineate::Pairs pairs;
              {
                  const nb::gil_scoped_release unlocked;
                  const std::span<const double> others = b ? std::span<const double>(b->data(), b->size()) : std::span<const double>();
                  pairs = delineate::box_pairs({a.data(), a.size()}, b ? &others : nullptr);
              }
              return give(std::move(pairs));
          },
          "a"_a.noconvert(), "b"_a.noconvert().none(),
          nb::sig("def boxes_pairs(a: NDArray[numpy.float64], b: NDArray[numpy.float64] | None) -> "
                  "tuple[NDArray[numpy.int64], NDArray[numpy.int64], NDArray[numpy.float64]]"));
}
