// Runs (N run-length masks on one canvas) and the functions on it. Arguments arrive checked by delineate/masks.py.
#include <cmath>

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "affine.hpp"
#include "bind_arrays.hpp"
#include "dense.hpp"
#include "geometry.hpp"
#include "outline.hpp"
#include "pairs.hpp"
#include "polygon.hpp"
#include "rle.hpp"
#include "rle_string.hpp"
#include "roi_align.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using delineate::Array1;
using delineate::Box;
using delineate::give;
using delineate::Rle;
using delineate::view;

namespace {

using Bytes3 = nb::ndarray<const uint8_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using WritableFloats3 = nb::ndarray<float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using WritableBytes3 = nb::ndarray<uint8_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>;

template <class T>
auto lend(nb::handle owner, const std::vector<T>& values) {
    const size_t shape[] = {values.size()};
    return nb::ndarray<nb::numpy, const T, nb::ndim<1>>(values.data(), 1, shape, owner);
}

template <class T>
auto give_boxes(const std::vector<Box>& boxes) {
    std::vector<T> flat;
    flat.reserve(4 * boxes.size());
    for (const auto& b : boxes)
        for (const int64_t v : {b.x0, b.y0, b.x1, b.y1}) flat.push_back(static_cast<T>(v));
    const size_t shape[] = {boxes.size(), 4};
    return give(std::move(flat), shape);
}

Rle from_strings(int64_t height, int64_t width, const nb::list& strings) {
    std::vector<std::string_view> views;
    views.reserve(strings.size());
    for (const nb::handle item : strings) {
        if (PyBytes_Check(item.ptr())) {
            const auto bytes = nb::borrow<nb::bytes>(item);
            views.emplace_back(bytes.c_str(), bytes.size());
            continue;
        }
        // What is not ASCII becomes bytes above 0x7f, which the parser refuses by their position.
        Py_ssize_t length = 0;
        const char* text = PyUnicode_AsUTF8AndSize(item.ptr(), &length);
        if (!text) throw nb::python_error();
        views.emplace_back(text, static_cast<size_t>(length));
    }
    const nb::gil_scoped_release release;
    return delineate::from_strings(height, width, views);
}

// The plain case as JSON gives it: lists of lists of floats and ints that are in order. Anything else gives None, and
// Python looks closer.
nb::object flatten_polygons(nb::handle instances) {
    std::vector<double> xy;
    std::vector<int64_t> points{0}, parts{0};
    if (!PyList_CheckExact(instances.ptr())) return nb::none();
    for (const nb::handle polygons : nb::borrow<nb::list>(instances)) {
        if (!PyList_CheckExact(polygons.ptr())) return nb::none();
        for (const nb::handle polygon : nb::borrow<nb::list>(polygons)) {
            if (!PyList_CheckExact(polygon.ptr())) return nb::none();
            const Py_ssize_t n = PyList_Size(polygon.ptr());
            if (n < 6 || n % 2) return nb::none();
            for (Py_ssize_t k = 0; k < n; ++k) {
                PyObject* number = PyList_GetItem(polygon.ptr(), k);
                if (!PyFloat_CheckExact(number) && !PyLong_CheckExact(number)) return nb::none();
                const double value = PyFloat_AsDouble(number);
                if (!(std::abs(value) <= delineate::kLargestCoordinate)) return nb::none();
                if (value == -1.0 && PyErr_Occurred()) {  // an int beyond all floats
                    PyErr_Clear();
                    return nb::none();
                }
                xy.push_back(value);
            }
            points.push_back(static_cast<int64_t>(xy.size() / 2));
        }
        parts.push_back(static_cast<int64_t>(points.size()) - 1);
    }
    return nb::make_tuple(give(std::move(xy)), give(std::move(points)), give(std::move(parts)));
}

void bind_runs(nb::module_& m) {
    nb::class_<Rle>(m, "Runs", "N run-length masks on one canvas, column by column as in COCO; immutable.")
        .def("__init__",
             [](Rle* self, int64_t height, int64_t width, const Array1<uint32_t>& counts, const Array1<int64_t>& offsets) {
                 new (self) Rle(delineate::from_counts(height, width, view(counts), view(offsets)));
             },
             "height"_a, "width"_a, "counts"_a.noconvert(), "offsets"_a.noconvert(),
             nb::call_guard<nb::gil_scoped_release>())
        .def_ro("height", &Rle::height)
        .def_ro("width", &Rle::width)
        .def("__len__", &Rle::size)
        .def("__eq__", [](const Rle& a, const Rle& b) { return a == b; }, nb::is_operator(),
             nb::sig("def __eq__(self, arg: object, /) -> bool"))
        .def_prop_ro("counts", [](nb::handle_t<Rle> self) { return lend(self, nb::cast<const Rle&>(self).counts); })
        .def_prop_ro("offsets", [](nb::handle_t<Rle> self) { return lend(self, nb::cast<const Rle&>(self).offsets); });
}

void bind_conversions(nb::module_& m) {
    const auto release = nb::call_guard<nb::gil_scoped_release>();
    m.def("masks_from_strings", &from_strings, "height"_a, "width"_a, "strings"_a,
          nb::sig("def masks_from_strings(height: int, width: int, strings: list[str | bytes]) -> Runs"));
    m.def("masks_to_strings", [](const Rle& rle) {
        std::vector<std::string> out;
        for (int64_t i = 0; i < rle.size(); ++i) out.push_back(delineate::to_string(rle.runs(i)));
        return out;
    });
    m.def("flatten_polygons", &flatten_polygons, "instances"_a,
          nb::sig("def flatten_polygons(instances: object) -> tuple[NDArray[numpy.float64], NDArray[numpy.int64], "
                  "NDArray[numpy.int64]] | None"));
    m.def("masks_from_polygons",
          [](int64_t height, int64_t width, const Array1<double>& xy, const Array1<int64_t>& points,
             const Array1<int64_t>& parts) {
              return delineate::from_polygons(height, width, view(xy), view(points), view(parts));
          },
          "height"_a, "width"_a, "xy"_a.noconvert(), "points"_a.noconvert(), "parts"_a.noconvert(), release);
    m.def("masks_from_rings",
          [](int64_t height, int64_t width, const Array1<double>& xy, const Array1<int64_t>& points,
             const Array1<int64_t>& parts) {
              return delineate::from_rings(height, width, view(xy), view(points), view(parts));
          },
          "height"_a, "width"_a, "xy"_a.noconvert(), "points"_a.noconvert(), "parts"_a.noconvert(), release);
    m.def("masks_encode_rows",
          [](const Bytes3& dense) {
              return delineate::encode_rows(dense.data(), dense.shape(0), dense.shape(1), dense.shape(2));
          },
          "dense"_a.noconvert(), release);
    m.def("masks_encode_columns",
          [](const Bytes3& dense) {
              return delineate::encode_columns(dense.data(), dense.shape(0), dense.shape(2), dense.shape(1));
          },
          "dense"_a.noconvert(), release);
    m.def("masks_decode_rows",
          [](const Rle& rle, const WritableBytes3& out, bool clear) { delineate::decode_rows(rle, out.data(), clear); },
          "runs"_a, "out"_a.noconvert(), "clear"_a, release);
    m.def("masks_crop",
          [](const Rle& rle, int64_t i) {
              const Box box = delineate::tight_box(rle.runs(i), rle.height);
              std::vector<uint8_t> pixels(static_cast<size_t>(box.width() * box.height()));
              if (!box.empty()) delineate::decode_box(rle.runs(i), rle.height, box, pixels.data());
              const size_t shape[] = {static_cast<size_t>(box.height()), static_cast<size_t>(box.width())};
              return nb::make_tuple(box.y0, box.x0, give(std::move(pixels), shape));
          },
          "runs"_a, "i"_a, nb::sig("def masks_crop(runs: Runs, i: int) -> tuple[int, int, NDArray[numpy.uint8]]"));
    m.def("masks_cells",
          [](const Rle& rle, int64_t stride) {
              delineate::Cells cells;
              {
                  const nb::gil_scoped_release unlocked;
                  cells = delineate::cells(rle, stride);
              }
              return nb::make_tuple(give(std::move(cells.values)), give(std::move(cells.offsets)),
                                    give_boxes<int32_t>(cells.boxes));
          },
          "runs"_a, "stride"_a,
          nb::sig("def masks_cells(runs: Runs, stride: int) -> tuple[NDArray[numpy.float32], NDArray[numpy.int64], "
                  "NDArray[numpy.int32]]"));
}

void bind_measures(nb::module_& m) {
    m.def("masks_areas", [](const Rle& rle) { return give(delineate::areas(rle)); }, "runs"_a);
    m.def("masks_boxes",
          [](const Rle& rle) {
              std::vector<Box> boxes;
              {
                  const nb::gil_scoped_release unlocked;
                  boxes = delineate::tight_boxes(rle);
              }
              return give_boxes<float>(boxes);
          },
          "runs"_a);
    m.def("masks_moments",
          [](const Rle& rle) {
              std::vector<double> out(static_cast<size_t>(6 * rle.size()));
              {
                  const nb::gil_scoped_release unlocked;
                  delineate::moments(rle, out.data());
              }
              const size_t shape[] = {static_cast<size_t>(rle.size()), 6};
              return give(std::move(out), shape);
          },
          "runs"_a);
}

void bind_outlines(nb::module_& m) {
    m.def("masks_trace",
          [](const Rle& rle) {
              delineate::Outlines outlines;
              {
                  const nb::gil_scoped_release unlocked;
                  outlines = delineate::trace(rle);
              }
              const size_t shape[] = {outlines.points.size() / 2, 2};
              return nb::make_tuple(give(std::move(outlines.points), shape), give(std::move(outlines.rings)),
                                    give(std::move(outlines.masks)));
          },
          "runs"_a,
          nb::sig("def masks_trace(runs: Runs) -> tuple[NDArray[numpy.int32], NDArray[numpy.int64], "
                  "NDArray[numpy.int64]]"));
    m.def("masks_perimeters",
          [](const Rle& rle, double dy, double dx) {
              std::vector<double> out;
              {
                  const nb::gil_scoped_release unlocked;
                  out = delineate::perimeters(rle, dy, dx);
              }
              return give(std::move(out));
          },
          "runs"_a, "dy"_a = 1.0, "dx"_a = 1.0);
}

void bind_comparisons(nb::module_& m) {
    m.def("masks_iou",
          [](const Rle& a, const Rle& b, const Array1<uint8_t>& crowd) {
              std::vector<double> out;
              {
                  const nb::gil_scoped_release unlocked;
                  out = delineate::mask_iou(a, b, view(crowd));
              }
              const size_t shape[] = {static_cast<size_t>(a.size()), static_cast<size_t>(b.size())};
              return give(std::move(out), shape);
          },
          "a"_a, "b"_a, "crowd"_a.noconvert());
    m.def("masks_nms",
          [](const Rle& rle, const Array1<int64_t>& order, double threshold) {
              std::vector<int64_t> kept;
              {
                  const nb::gil_scoped_release unlocked;
                  kept = delineate::mask_nms(rle, view(order), threshold);
              }
              return give(std::move(kept));
          },
          "runs"_a, "order"_a.noconvert(), "threshold"_a);
    m.def("boxes_nms",
          [](const Array1<float>& boxes, const Array1<int64_t>& order, float threshold) {
              std::vector<int64_t> kept;
              {
                  const nb::gil_scoped_release unlocked;
                  kept = delineate::box_nms(view(boxes), view(order), threshold);
              }
              return give(std::move(kept));
          },
          "boxes"_a.noconvert(), "order"_a.noconvert(), "threshold"_a);
}

void bind_geometry(nb::module_& m) {
    const auto release = nb::call_guard<nb::gil_scoped_release>();
    m.def("masks_take", [](const Rle& rle, const Array1<int64_t>& indices) { return delineate::take(rle, view(indices)); },
          "runs"_a, "indices"_a.noconvert(), release);
    m.def("masks_concat",
          [](const std::vector<const Rle*>& parts) {
              Rle whole{parts.at(0)->height, parts.at(0)->width, {}, {0}};
              for (const Rle* part : parts) delineate::append(whole, *part);
              return whole;
          },
          "parts"_a);
    m.def("masks_unite", &delineate::unite, "runs"_a, release);
    m.def("masks_transpose", &delineate::transpose, "runs"_a, release);
    m.def("masks_flip_horizontal", &delineate::flip_horizontal, "runs"_a, release);
    m.def("masks_flip_vertical", &delineate::flip_vertical, "runs"_a, release);
    m.def("masks_rotate180", &delineate::rotate180, "runs"_a, release);
    m.def("masks_shift",
          [](const Rle& rle, int64_t dy, int64_t dx, int64_t height, int64_t width) {
              return delineate::shift(rle, dy, dx, height, width);
          },
          "runs"_a, "dy"_a, "dx"_a, "height"_a, "width"_a, release);
    m.def("masks_shift_each",
          [](const Rle& rle, const Array1<int64_t>& dy, const Array1<int64_t>& dx, int64_t height, int64_t width) {
              return delineate::shift(rle, view(dy), view(dx), height, width);
          },
          "runs"_a, "dy"_a.noconvert(), "dx"_a.noconvert(), "height"_a, "width"_a, release);
    m.def("masks_affine",
          [](const Rle& rle, const Array1<double>& inverse, int64_t height, int64_t width) {
              std::array<double, 6> matrix{};
              std::copy_n(inverse.data(), std::min<size_t>(6, inverse.size()), matrix.begin());
              return delineate::affine(rle, matrix, height, width);
          },
          "runs"_a, "inverse"_a.noconvert(), "height"_a, "width"_a, release);
    m.def("masks_roi_align",
          [](const Rle& rle, const Array1<int64_t>& indices, const Array1<float>& boxes, const WritableFloats3& out, bool aligned) {
              delineate::roi_align(rle, view(indices), view(boxes),
                                   {static_cast<int64_t>(out.shape(1)), static_cast<int64_t>(out.shape(2))}, aligned,
                                   out.data(), 0);
          },
          "runs"_a, "indices"_a.noconvert(), "boxes"_a.noconvert(), "out"_a.noconvert(), "aligned"_a, release);
    m.def("masks_resize_area", &delineate::resize_area, "runs"_a, "height"_a, "width"_a, release);
    m.def("masks_resize", &delineate::resize, "runs"_a, "height"_a, "width"_a, release);
}

}  // namespace

void bind_masks(nb::module_& m) {
    bind_runs(m);
    bind_conversions(m);
    bind_measures(m);
    bind_outlines(m);
    bind_comparisons(m);
    bind_geometry(m);
}
