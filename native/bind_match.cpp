#include <nanobind/nanobind.h>

namespace nb = nanobind;

void bind_match(nb::module_&) {}
