// The Python module. Each binding file adds its functions; arguments arrive checked by the Python side.
#include <nanobind/nanobind.h>

#include "threads.hpp"

namespace nb = nanobind;

void bind_masks(nb::module_&);
void bind_images(nb::module_&);
void bind_decode(nb::module_&);
void bind_coco(nb::module_&);
void bind_match(nb::module_&);
void bind_algebra(nb::module_&);
void bind_pairs(nb::module_&);
void bind_shape(nb::module_&);
void bind_codecs(nb::module_&);
void bind_outline(nb::module_&);

namespace {

void bind_threads(nb::module_& m) {
    using namespace nb::literals;
    m.def("threads", &delineate::available_threads);
    m.def("choose_threads", [](unsigned count) { delineate::chosen_threads = count; }, "count"_a);
}

}  // namespace

NB_MODULE(_core, m) {
    nb::set_leak_warnings(false);  // objects that live until the interpreter ends are no mistake of the user's
    m.doc() = "delineate's native core: run-length masks, picture kernels, decoding, matching.";
    bind_threads(m);
    bind_masks(m);
    bind_images(m);
    bind_decode(m);
    bind_coco(m);
    bind_match(m);
    bind_algebra(m);
    bind_pairs(m);
    bind_shape(m);
    bind_codecs(m);
    bind_outline(m);
}
