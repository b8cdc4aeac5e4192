// Masks in the encodings of other programs. Arguments arrive checked by delineate/codecs.py.
#include "bind_arrays.hpp"
#include "codecs.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using delineate::Array1;
using delineate::Box;
using delineate::give;
using delineate::Rle;

namespace {

using Boxes = nb::ndarray<const int64_t, nb::shape<-1, 4>, nb::c_contig, nb::device::cpu>;
using WritableBytes2 = nb::ndarray<uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

nb::tuple row_crops(const Rle& rle) {
    delineate::RowCrops crops;
    std::vector<int64_t> boxes;
    {
        const nb::gil_scoped_release unlocked;
        crops = delineate::row_crops(rle);
        for (const Box& b : crops.boxes) boxes.insert(boxes.end(), {b.x0, b.y0, b.x1, b.y1});
    }
    const size_t counts[] = {crops.counts.size()}, offsets[] = {crops.offsets.size()}, rows[] = {crops.boxes.size(), 4};
    return nb::make_tuple(give(std::move(crops.counts), counts), give(std::move(crops.offsets), offsets),
                          give(std::move(boxes), rows));
}

Rle from_row_crops(int64_t height, int64_t width, const Array1<uint32_t>& counts, const Array1<int64_t>& offsets,
                   const Boxes& rows) {
    std::vector<Box> boxes;
    for (size_t i = 0; i < rows.shape(0); ++i) boxes.push_back({rows(i, 0), rows(i, 1), rows(i, 2), rows(i, 3)});
    return delineate::from_row_crops(height, width, {counts.data(), counts.size()}, {offsets.data(), offsets.size()}, boxes);
}

Rle from_label_studio(int64_t height, int64_t width, const nb::list& streams) {
    std::vector<std::string_view> views;
    for (const nb::handle item : streams) {
        const auto bytes = nb::cast<nb::bytes>(item);
        views.emplace_back(bytes.c_str(), bytes.size());
    }
    const nb::gil_scoped_release release;
    return delineate::from_label_studio(height, width, views);
}

}  // namespace

void bind_codecs(nb::module_& m) {
    const auto release = nb::call_guard<nb::gil_scoped_release>();
    m.def("masks_row_crops", &row_crops, "runs"_a,
          nb::sig("def masks_row_crops(runs: Runs) -> tuple[NDArray[numpy.uint32], NDArray[numpy.int64], "
                  "NDArray[numpy.int64]]"));
    m.def("masks_from_row_crops", &from_row_crops, "height"_a, "width"_a, "counts"_a.noconvert(), "offsets"_a.noconvert(),
          "boxes"_a.noconvert(), release);
    m.def("masks_pack_rows", [](const Rle& rle, int64_t i, const WritableBytes2& out) { delineate::pack_rows(rle, i, out.data()); },
          "runs"_a, "i"_a, "out"_a.noconvert(), release);
    m.def("masks_to_label_studio",
          [](const Rle& rle, int64_t i) {
              std::vector<uint8_t> stream;
              {
                  const nb::gil_scoped_release unlocked;
                  stream = delineate::to_label_studio(rle, i);
              }
              return nb::bytes(stream.data(), stream.size());
          },
          "runs"_a, "i"_a);
    m.def("masks_from_label_studio", &from_label_studio, "height"_a, "width"_a, "streams"_a,
          nb::sig("def masks_from_label_studio(height: int, width: int, streams: list[bytes]) -> Runs"));
}
