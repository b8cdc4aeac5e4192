// Reading COCO files natively: the entries as columns, masks as texts.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <optional>

#include "coco_scan.hpp"
#include "mask_texts.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using namespace delineate;

namespace {

template <class T>
using Array1 = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <class T>
std::vector<T> copied(const Array1<T>& array) {
    return std::vector<T>(array.data(), array.data() + array.size());
}

template <class T>
nb::object give(std::vector<T>&& values, size_t columns = 1) {
    auto* held = new std::vector<T>(std::move(values));
    held->shrink_to_fit();
    const nb::capsule owner(held, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    const size_t shape[] = {held->size() / columns, columns};
    return nb::cast(nb::ndarray<nb::numpy, T>(held->data(), columns > 1 ? 2 : 1, shape, owner));
}

// Columns by name; only those that some entry has a value for.
nb::object scan(int descriptor, bool list, size_t window) {
    std::optional<CocoScan> found;
    {
        const nb::gil_scoped_release unlocked;
        found = scan_coco(File(descriptor), list, window);
    }
    if (!found) return nb::none();
    nb::dict sections, columns;
    for (const auto& one : found->sections)
        sections[one.key.c_str()] = nb::make_tuple(one.begin, one.end - one.begin);
    nb::list names;
    for (const auto& name : found->names) names.append(nb::str(name.c_str(), name.size()));
    const auto put = [&](const char* name, auto&& column, size_t width = 1) {
        if (!column.values.empty()) columns[name] = give(std::move(column.values), width);
    };
    columns["image"] = give(std::move(found->image));
    columns["category"] = give(std::move(found->category));
    put("named", found->named);
    put("id", found->id);
    put("track", found->track);
    put("crowd", found->crowd);
    put("score", found->score);
    put("area", found->area);
    put("box", found->box, 4);
    put("start", found->start);
    put("length", found->length);
    put("rle", found->rle);
    put("size", found->size, 2);
    put("pixels", found->pixels);
    put("tight", found->tight, 4);
    put("entry_start", found->entry_start);
    put("entry_length", found->entry_length);
    return nb::make_tuple(found->count, columns, names, sections);
}

// Whether it is a list; key, begin, length, and begin and length of the first element.
nb::object outline(int descriptor, size_t window) {
    std::optional<JsonOutline> found;
    {
        const nb::gil_scoped_release unlocked;
        found = outline_json(File(descriptor), window);
    }
    if (!found) return nb::none();
    nb::list values;
    for (const auto& one : found->values)
        values.append(nb::make_tuple(nb::str(one.key.c_str(), one.key.size()), one.begin, one.end - one.begin, one.first,
                                     one.first_end - one.first));
    return nb::make_tuple(found->list, values);
}

void make_texts(MaskTexts* self, int descriptor, const Array1<int64_t>& sizes, const Array1<int64_t>& offsets,
                const Array1<int64_t>& starts, const Array1<int32_t>& lengths) {
    MaskTexts made;
    made.file = std::make_shared<const File>(descriptor);
    made.sizes = copied(sizes);
    made.offsets = copied(offsets);
    made.starts = copied(starts);
    made.lengths = copied(lengths);
    made.check();
    new (self) MaskTexts(std::move(made));
}

// Other masks of the same file: those at `rows`, in pictures of their own.
MaskTexts chosen(const MaskTexts& texts, const Array1<int64_t>& rows, const Array1<int64_t>& sizes,
                 const Array1<int64_t>& offsets) {
    MaskTexts made;
    made.file = texts.file;
    made.sizes = copied(sizes);
    made.offsets = copied(offsets);
    made.starts.reserve(rows.size());
    made.lengths.reserve(rows.size());
    for (size_t k = 0; k < rows.size(); ++k) {
        made.starts.push_back(texts.starts.at(static_cast<size_t>(rows(k))));
        made.lengths.push_back(texts.lengths.at(static_cast<size_t>(rows(k))));
    }
    made.check();
    if (texts.measures) {
        TextMeasures some;
        for (size_t k = 0; k < rows.size(); ++k) {
            const size_t row = static_cast<size_t>(rows(k));
            some.areas.push_back(texts.measures->areas[row]);
            for (size_t n = 4 * row; n < 4 * row + 4; ++n) some.boxes.push_back(texts.measures->boxes[n]);
        }
        made.measures = std::make_shared<const TextMeasures>(std::move(some));
    }
    return made;
}

Rle decode(const MaskTexts& texts, int64_t picture) {
    if (picture < 0 || picture >= texts.pictures()) throw nb::index_error("MaskTexts: no such picture.");
    MaskTexts::Reader reader(texts);
    reader.open(picture);
    return reader.all();
}

// Shares a vector of something that others keep too; nobody writes to it.
template <class T>
nb::object share(const std::shared_ptr<const TextMeasures>& owner, const std::vector<T>& values, size_t columns = 1) {
    auto* held = new std::shared_ptr<const TextMeasures>(owner);
    const nb::capsule capsule(held, [](void* p) noexcept { delete static_cast<std::shared_ptr<const TextMeasures>*>(p); });
    const size_t shape[] = {values.size() / columns, columns};
    return nb::cast(nb::ndarray<nb::numpy, const T>(values.data(), columns > 1 ? 2 : 1, shape, capsule));
}

template <class T>
using Array2 = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

nb::tuple measure(MaskTexts& texts, const Array1<uint8_t>& wanted, bool boxes, const std::optional<Array2<int32_t>>& sizes,
                  const std::optional<Array1<uint32_t>>& areas, const std::optional<Array2<float>>& tight) {
    const size_t n = texts.starts.size();
    SizedMeasures before;
    bool fine = wanted.size() == n;
    if (sizes && areas && tight) {
        before = {{sizes->data(), sizes->size()}, {areas->data(), areas->size()}, {tight->data(), tight->size()}};
        fine &= sizes->size() == 2 * n && areas->size() == n && tight->size() == 4 * n;
    }
    if (!fine) throw std::invalid_argument("measure: arrays must have a row per mask.");
    std::shared_ptr<const TextMeasures> found;
    const std::span<const uint8_t> flags(wanted.data(), wanted.size());
    {
        const nb::gil_scoped_release unlocked;
        found = std::make_shared<const TextMeasures>(measure_texts(texts, flags, boxes, 0, before));
    }
    const bool all = std::find(flags.begin(), flags.end(), 0) == flags.end();
    if (all && boxes && found->broken.empty()) texts.measures = found;  // under the lock of the interpreter
    return nb::make_tuple(share(found, found->areas), share(found, found->boxes, 4), share(found, found->broken));
}

}  // namespace

void bind_coco(nb::module_& m) {
    m.def("coco_scan", &scan, "descriptor"_a, "list"_a, "window"_a = size_t{1} << 20,
          nb::sig("def coco_scan(descriptor: int, list: bool, window: int = 1048576) -> tuple[int, dict[str, NDArray], list[str], "
                  "dict[str, tuple[int, int]]] | None"));
    m.def("json_outline", &outline, "descriptor"_a, "window"_a = size_t{1} << 20,
          nb::sig("def json_outline(descriptor: int, window: int = 1048576) -> "
                  "tuple[bool, list[tuple[str, int, int, int, int]]] | None"));
    nb::class_<MaskTexts>(m, "MaskTexts", "Masks of many pictures as texts in a file; immutable.")
        .def("__init__", &make_texts, "descriptor"_a, "sizes"_a.noconvert(), "offsets"_a.noconvert(),
             "starts"_a.noconvert(), "lengths"_a.noconvert())
        .def("__len__", [](const MaskTexts& texts) { return texts.starts.size(); })
        .def("select", &chosen, "rows"_a.noconvert(), "sizes"_a.noconvert(), "offsets"_a.noconvert())
        .def("decode", &decode, "picture"_a, nb::call_guard<nb::gil_scoped_release>())
        .def("measure", &measure, "wanted"_a.noconvert(), "boxes"_a, "sizes"_a.noconvert() = nb::none(),
             "areas"_a.noconvert() = nb::none(), "tight"_a.noconvert() = nb::none(),
             nb::sig("def measure(self, wanted: NDArray[numpy.uint8], boxes: bool, sizes: NDArray[numpy.int32] | None = None, "
                     "areas: NDArray[numpy.uint32] | None = None, tight: NDArray[numpy.float32] | None = None) -> "
                     "tuple[NDArray[numpy.float64], NDArray[numpy.float32], NDArray[numpy.int64]]"));
}
