#include <nanobind/nanobind.h>

namespace nb = nanobind;

void bind_images(nb::module_&) {}
