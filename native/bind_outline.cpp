// Simplified outlines. Arguments arrive checked by delineate/outline.py.
#include "bind_arrays.hpp"
#include "simplify.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using delineate::give;
using delineate::Rle;

namespace {

template <class Fn>
void bind_simplify(nb::module_& m, const char* name, const char* signature, Fn simplify) {
    m.def(name,
          [simplify](const Rle& rle, double bound) {
              delineate::Simplified found;
              {
                  const nb::gil_scoped_release unlocked;
                  found = simplify(rle, bound);
              }
              const size_t points[] = {found.points.size() / 2, 2}, rings[] = {found.rings.size()};
              const size_t masks[] = {found.masks.size()};
              return nb::make_tuple(give(std::move(found.points), points), give(std::move(found.rings), rings),
                                    give(std::move(found.masks), masks));
          },
          "runs"_a, "bound"_a, nb::sig(signature));
}

}  // namespace

void bind_outline(nb::module_& m) {
    bind_simplify(m, "masks_simplify_within",
                  "def masks_simplify_within(runs: Runs, bound: float) -> tuple[NDArray[numpy.int32], NDArray[numpy.int64], "
                  "NDArray[numpy.int64]]",
                  &delineate::simplify_within);
    bind_simplify(m, "masks_simplify_to_iou",
                  "def masks_simplify_to_iou(runs: Runs, bound: float) -> tuple[NDArray[numpy.int32], NDArray[numpy.int64], "
                  "NDArray[numpy.int64]]",
                  &delineate::simplify_to_iou);
}
