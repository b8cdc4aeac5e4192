#include <nanobind/nanobind.h>

namespace nb = nanobind;

void bind_masks(nb::module_&) {}
