import contextlib
import io
import logging
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from delineate import _picture_files, image
from delineate.errors import FormatError
from delineate.image import read_image, read_label_map, read_size, to_rgb8, write_image

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 7, 3), np.uint8)
GREY = RGB[..., 0]
DEEP = RNG.integers(0, 65536, (5, 7, 3)).astype(np.uint16)


def encoded(picture, kind="PNG", **options):
    """The bytes of a picture file; `picture` is an array or a Pillow image."""
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def deep_png(array, colour_type):
    """A 16-bit PNG, which Pillow cannot write in colour."""
    height, width = array.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff(array, **options):
    tifffile = pytest.importorskip("tifffile", reason="writes the kinds of TIFF that Pillow cannot")
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def grey3(array):
    return np.repeat(array[:, :, None], 3, axis=2)


def stretched(array):
    """The module's rule, written down a second time."""
    ordered = np.sort(array[np.isfinite(array)].astype(np.float64).ravel())
    cut = (len(ordered) - 1) // 1000
    low, high = ordered[cut], ordered[-1 - cut]
    if low == high:
        low, high = ordered[0], ordered[-1]
    share = (array.astype(np.float64) - low) / (high - low)
    return np.floor(np.clip(np.nan_to_num(share, nan=0), 0, 1) * 255 + 0.5).astype(np.uint8)


# Kinds of pictures


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF", "WEBP", "JPEG", "JPEG2000", "AVIF"])
def test_every_format_is_read(kind):
    picture = np.full((20, 30, 3), (200, 100, 50), np.uint8)
    try:
        data = encoded(picture, kind)
    except (OSError, KeyError) as error:
        pytest.skip(f"Pillow was built without {kind}: {error}")
    assert read_size(data) == (20, 30)
    array = read_image(data)
    assert array.shape == (20, 30, 3)
    assert array.dtype == np.uint8
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert np.abs(array.astype(int) - picture).max() <= 5


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_eight_bits_are_exact(kind):
    assert np.array_equal(read_image(encoded(RGB, kind)), RGB)
    assert np.array_equal(read_image(encoded(GREY, kind)), grey3(GREY))
    assert np.array_equal(read_image(encoded(GREY > 99, kind)), grey3((GREY > 99) * np.uint8(255)))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_alpha_is_dropped_and_nothing_is_composited(kind):
    alpha = np.zeros_like(GREY)
    assert np.array_equal(read_image(encoded(np.dstack([RGB, alpha]), kind)), RGB)
    assert np.array_equal(read_image(encoded(np.dstack([GREY, alpha]), kind)), grey3(GREY))


@pytest.mark.parametrize("transparency", [None, 3, bytes(range(256))])
def test_palettes_are_resolved(transparency):
    picture = Image.fromarray(RGB).quantize(16)
    options = {} if transparency is None else {"transparency": transparency}
    assert np.array_equal(read_image(encoded(picture, **options)), np.asarray(picture.convert("RGB")))


def test_grey_with_a_transparent_value_keeps_it():
    assert np.array_equal(read_image(encoded(GREY, transparency=int(GREY[0, 0]))), grey3(GREY))


@pytest.mark.parametrize(("mode", "kind"), [("CMYK", "TIFF"), ("CMYK", "JPEG"), ("YCbCr", "JPEG")])
def test_other_colour_spaces_are_converted(mode, kind):
    picture = Image.new("RGB", (16, 8), (200, 100, 50)).convert(mode)
    assert np.abs(read_image(encoded(picture, kind)).astype(int) - (200, 100, 50)).max() <= 3


# More than eight bits


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (4, 2), (2, 3), (6, 4)])
def test_deep_png_loses_nothing(colour_type, channels):
    array = RNG.integers(0, 65536, (5, 7, channels)).astype(np.uint16)
    data = deep_png(array, colour_type)
    with _picture_files.opened(data) as picture:
        assert np.array_equal(picture.decode().reshape(array.shape), array)
    colours = stretched(array[..., : 1 if channels < 3 else 3])
    assert np.array_equal(read_image(data), colours if channels >= 3 else grey3(colours[..., 0]))


DTYPES = [np.uint16, np.int16, np.uint32, np.int32, np.float32, np.int8, np.float16, np.float64, np.uint64]


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_deep_grey_tiff_loses_nothing(dtype, byteorder, compression):
    values = RNG.integers(-120 if np.dtype(dtype).kind == "i" else 0, 128, (5, 7))
    array = (values * (200 if np.dtype(dtype).itemsize > 1 else 1)).astype(dtype)
    data = tiff(array, byteorder=byteorder, compression=compression, photometric="minisblack")
    with _picture_files.opened(data) as picture:
        assert np.array_equal(picture.decode(), array)
    assert np.array_equal(read_image(data), grey3(stretched(array)))
    assert read_size(data) == (5, 7)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_colour_tiff_loses_nothing(dtype, planar, byteorder, compression):
    array = DEEP.astype(dtype)
    stored = array if planar == "contig" else np.moveaxis(array, -1, 0)
    options = {"byteorder": byteorder, "compression": compression, "planarconfig": planar}
    data = tiff(stored, photometric="rgb", **options)
    with _picture_files.opened(data) as picture:
        assert np.array_equal(picture.decode(), array)
    assert np.array_equal(read_image(data), array if dtype == np.uint8 else stretched(array))


def test_deep_colour_tiff_drops_alpha():
    array = RNG.integers(0, 65536, (5, 7, 4)).astype(np.uint16)
    assert np.array_equal(read_image(tiff(array, photometric="rgb")), stretched(array[..., :3]))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_white_is_zero(dtype):
    array = np.array([[0, 10, 255]], dtype)
    assert read_image(tiff(array, photometric="miniswhite"))[0, :, 0].tolist() == [255, 245, 0]


@pytest.mark.parametrize(
    ("array", "got"),
    [(np.zeros((7, 9, 5)), r"\(7, 9, 5\) float64"), (np.zeros((7, 9), np.complex64), "complex64")],
)
def test_tiff_that_is_no_picture(array, got):
    planar = "contig" if array.ndim == 3 else None
    with pytest.raises(FormatError, match=rf"numbers in 1 to 4 channels, got .*{got}"):
        read_image(tiff(array, photometric="minisblack", planarconfig=planar))


def test_tiff_with_missing_strips_is_not_filled_up():
    data = bytearray(tiff(np.zeros((40, 50)), rowsperstrip=4, byteorder="<"))
    height = data.index(struct.pack("<HHII", 257, 4, 1, 40))
    data[height + 8 : height + 12] = struct.pack("<I", 400)
    with pytest.raises(FormatError, match="picture must be whole, got 10 of 100 strips or tiles"):
        read_image(bytes(data))


def test_without_tifffile_the_remedy_is_named(monkeypatch):
    data = tiff(np.zeros((4, 4)))
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    with pytest.raises(FormatError, match=r"got another .*Run: pip install tifffile"):
        read_image(data)


def test_several_pages_give_the_first_and_a_notice(caplog, tmp_path):
    pages = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    path = tmp_path / "pages.tif"
    path.write_bytes(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    with caplog.at_level(logging.WARNING, "delineate"):
        assert np.array_equal(read_image(path), RGB)
    assert caplog.messages == [f"{path}: has 2 pages or frames; only the first is read"]
    caplog.clear()
    with caplog.at_level(logging.WARNING, "delineate"):
        read_image(tiff(np.zeros((3, 4, 5)), photometric="minisblack"))
        read_image(encoded(RGB, "TIFF"))
    assert caplog.messages == ["<bytes>: has 3 pages or frames; only the first is read"]


# Orientation


def oriented(array, orientation, kind="JPEG", **options):
    exif = Image.Exif()
    exif[274] = orientation
    return encoded(array, kind, exif=exif, **options)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_orientation_is_applied(kind, orientation):
    options = {"lossless": True} if kind == "WEBP" else {}
    data = oriented(RGB, orientation, kind, **options)
    stored = Image.open(io.BytesIO(data))
    upright = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    assert np.array_equal(read_image(data), upright)
    assert read_size(data) == upright.shape[:2]
    assert np.array_equal(read_image(data, orient=False), np.asarray(stored.convert("RGB")))
    assert read_size(data, orient=False) == (5, 7)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_orientation_of_tiff_is_applied_once(orientation, dtype, compression):
    array = DEEP.astype(dtype)
    data = tiff(array, photometric="rgb", compression=compression, extratags=[(274, 3, 1, orientation, True)])
    flat = encoded(to_rgb8(array))
    upright = read_image(oriented(Image.open(io.BytesIO(flat)), orientation, "PNG"))
    assert np.array_equal(read_image(data), upright)
    assert read_size(data) == upright.shape[:2]
    assert np.array_equal(read_image(data, orient=False), to_rgb8(array))
    assert read_size(data, orient=False) == (5, 7)


@pytest.mark.parametrize("orientation", [0, 9, 1000])
def test_senseless_orientation_is_ignored(orientation):
    assert np.array_equal(read_image(oriented(RGB, orientation, "PNG")), RGB)


# Arrays


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(DTYPES), st.integers(0, 2**32 - 1))
def test_stretching_follows_the_rule(height, width, dtype, seed):
    rng = np.random.default_rng(seed)
    array = (rng.integers(0, 120, (height, width)) * (1 if np.dtype(dtype).itemsize == 1 else 100)).astype(
        dtype
    )
    expected = np.zeros((height, width)) if array.min() == array.max() else stretched(array)
    assert np.array_equal(to_rgb8(array), grey3(expected))


def test_outliers_do_not_darken_the_picture():
    array = np.linspace(0, 1000, 10_000).reshape(100, 100).astype(np.uint16)
    array[0, :5] = 65535
    assert to_rgb8(array)[50, 50, 0] in (127, 128, 129)


def test_sparse_bright_spots_survive():
    array = np.zeros((100, 100), np.uint16)
    array[3, 4] = 900
    assert to_rgb8(array)[3, 4].tolist() == [255, 255, 255]
    assert to_rgb8(array).sum() == 3 * 255


@pytest.mark.parametrize(
    "dtype", [np.uint16, np.int8, np.int64, np.float16, np.float32, np.float64, np.longdouble]
)
def test_constant_pictures_are_black(dtype):
    assert not to_rgb8(np.full((3, 4), 77, dtype)).any()


def test_values_that_are_no_numbers():
    array = np.array([[np.nan, -np.inf, 0, 5, 10, np.inf]])
    assert to_rgb8(array)[0, :, 0].tolist() == [0, 0, 0, 128, 255, 255]
    assert not to_rgb8(np.full((2, 2), np.nan)).any()
    assert to_rgb8(np.array([[np.inf, -np.inf]], np.float32))[0, :, 0].tolist() == [0, 0]


def test_extreme_floats_do_not_overflow():
    largest = np.finfo(np.float64).max
    assert to_rgb8(np.array([[-largest, 0, largest]]))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((5, 7), (5, 7)),
        ((5, 7, 1), (5, 7)),
        ((5, 7, 2), (5, 7)),
        ((5, 7, 4), (5, 7)),
        ((1, 5, 7), (5, 7)),
        ((3, 5, 7), (5, 7)),
        ((4, 5, 7), (5, 7)),
        ((3, 3, 3), (3, 3)),
        ((0, 7), (0, 7)),
        ((0, 7, 3), (0, 7)),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.bool_])
def test_layouts(shape, size, dtype):
    array = to_rgb8(np.ones(shape, dtype))
    assert array.shape == (*size, 3)
    assert array.dtype == np.uint8
    assert array.flags.c_contiguous


def test_eight_bit_rgb_is_not_copied():
    assert to_rgb8(RGB) is RGB or np.shares_memory(to_rgb8(RGB), RGB)


@pytest.mark.parametrize("shape", [(7,), (5, 7, 5), (2, 3, 5, 7), ()])
def test_shapes_that_are_no_picture(shape):
    with pytest.raises(ValueError, match=r"to_rgb8: array must be \(H, W\), .* got \("):
        to_rgb8(np.zeros(shape))


@pytest.mark.parametrize("dtype", [np.complex64, "U1", object, "M8[s]"])
def test_dtypes_that_are_no_picture(dtype):
    with pytest.raises(TypeError, match="to_rgb8: array must hold bools, ints or floats, got"):
        to_rgb8(np.zeros((2, 2), dtype))


# Bad files


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.png", b"", "picture must have content, got an empty file."),
        ("text.png", b"not a picture at all", "file must be a whole picture (PNG, JPEG, "),
        ("short.png", encoded(RGB)[:30], "file must be a whole picture"),
        ("script.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "got: no known signature."),
        ("zeros.bin", bytes(1000), "got: no known signature."),
    ],
)
def test_files_that_are_no_picture(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    for read in (read_image, read_size):
        with pytest.raises(FormatError) as caught:
            read(path)
        assert (caught.value.path, caught.value.item) == (path, "")
        assert message in caught.value.message


@pytest.mark.parametrize("name", ["missing.png", "folder", "nul\0.png"])
def test_paths_without_a_file(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(FormatError, match=r"picture must be a readable file, got: "):
        read_image(tmp_path / name)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000", "PPM"])
def test_every_truncation_is_an_error_or_a_picture(kind):
    data = encoded(RNG.integers(0, 256, (32, 32, 3), np.uint8), kind)
    broken = 0
    for length in range(0, len(data), max(1, len(data) // 60)):
        try:
            assert read_image(data[:length]).shape == (32, 32, 3)
        except FormatError:
            broken += 1
    assert broken > 30


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "TIFF", "BMP", "GIF", "PPM"]), st.data())
def test_damaged_files_never_fail_otherwise(kind, data):
    whole = bytearray(encoded(RGB, kind))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    # Damage in the size may claim a gigapixel, which is allowed but slow.
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(FormatError):
        patch.setattr(_picture_files, "MAX_PIXELS", 100_000)
        assert read_image(bytes(whole)).ndim == 3


def test_pictures_of_any_claimed_size_are_refused():
    body = chunk(b"IHDR", struct.pack(">IIBBBBB", 40_000, 30_000, 8, 2, 0, 0, 0)) + chunk(b"IDAT", b"")
    with pytest.raises(
        FormatError, match=r"at most 1000000000 pixels, got 30000 x 40000\. Cut it into tiles"
    ):
        read_image(b"\x89PNG\r\n\x1a\n" + body)


def test_pictures_over_pillows_own_limit_are_read(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # Pillow would warn from here on and refuse twice that
    assert np.array_equal(read_image(encoded(RGB)), RGB)


def test_pillows_warnings_stay_inside():
    # A TIFF whose tags are cut off makes Pillow warn; pytest turns warnings into errors.
    data = encoded(RGB, "TIFF", tiffinfo={270: "a description" * 9})
    for length in range(len(data) - 200, len(data)):
        with contextlib.suppress(FormatError):
            read_image(data[:length])


def test_threads_read_at_once():
    data = [encoded(np.full((40, 50, 3), n, np.uint8)) for n in range(20)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(read_image, data * 3))
    assert [int(array[0, 0, 0]) for array in found] == [*range(20)] * 3


def test_real_pictures_equal_pillow(shared):
    paths = sorted((shared / "data" / "coco_street" / "images").glob("*.jpg"))[:5]
    paths += sorted((shared / "data" / "dsb2018" / "images").glob("*.png"))[:5]
    assert len(paths) == 10
    for path in paths:
        with Image.open(path) as picture:
            assert np.array_equal(read_image(path), np.asarray(picture.convert("RGB")))
            assert read_size(path) == picture.size[::-1]


def test_endings_of_picture_files():
    assert {".png", ".tif", ".jpeg", ".avif"} <= image.SUFFIXES
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in image.SUFFIXES)


# Writing


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".bmp", ".PNG"])
def test_written_pictures_read_back(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_image(path, RGB)
    assert np.array_equal(read_image(path), RGB)
    write_image(path, GREY[:, ::-1])
    assert np.array_equal(read_image(path), grey3(GREY[:, ::-1]))
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_quality_of_lossy_pictures(tmp_path):
    picture = RNG.integers(0, 256, (64, 64, 3), np.uint8)
    sizes = []
    for quality in (100, 95, 30):
        write_image(tmp_path / "a.jpg", picture, quality=quality)
        sizes.append((tmp_path / "a.jpg").stat().st_size)
    assert all(larger > smaller for larger, smaller in pairwise(sizes))


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("a.gif", RGB, r"path must end in .png, .*, got 'a.gif'"),
        ("a", RGB, r"path must end in .png, .*, got 'a'"),
        ("a.png", DEEP, r"must be .* uint8, got \(5, 7, 3\) uint16. Use to_rgb8"),
        ("a.png", RGB[..., :2], r"got \(5, 7, 2\) uint8"),
        ("a.png", RGB[:0], r"array must have pixels, got shape \(0, 7, 3\)"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, name, array, message):
    with pytest.raises(ValueError, match=message):
        write_image(tmp_path / name, array)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(image.Image.Image, "save", fail)
    with pytest.raises(OSError, match="no space left"):
        write_image(tmp_path / "a.png", RGB)
    assert list(tmp_path.iterdir()) == []


# Pictures of numbers


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_label_maps_come_back_as_stored(kind):
    array = RNG.integers(0, np.iinfo(kind).max + 1, (5, 7)).astype(kind)
    for content in (encoded(array), encoded(array, "TIFF"), encoded(array, "TIFF", compression="tiff_lzw")):
        found = read_label_map(content)
        assert found.dtype == kind
        np.testing.assert_array_equal(found, array)


def test_label_maps_of_every_kind_of_sample():
    tifffile = pytest.importorskip("tifffile")
    whole = np.array([[0, 1, 70_000], [5, 2**31 - 1, 7]])
    for kind in (np.int32, np.uint32, np.int64, np.float64):
        file = io.BytesIO()
        tifffile.imwrite(file, whole.astype(kind))
        found = read_label_map(file.getvalue())
        assert found.dtype == np.uint32
        np.testing.assert_array_equal(found, whole)


def test_a_palette_gives_its_indices():
    picture = Image.fromarray(np.array([[0, 3], [255, 1]], np.uint8))
    picture.putpalette([9] * 768)  # all colours are the same
    assert read_label_map(encoded(picture)).tolist() == [[0, 3], [255, 1]]
    one_bit = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    assert read_label_map(encoded(one_bit)).tolist() == [[0, 1]]


def test_grey_colours_are_numbers_and_others_are_refused():
    assert read_label_map(encoded(np.dstack([GREY] * 3))).tolist() == GREY.tolist()
    with pytest.raises(FormatError, match="one number for each pixel, got colours"):
        read_label_map(encoded(RGB))


@pytest.mark.parametrize("value", [-1, 0.5, np.nan, np.inf, 2.0**33])
def test_other_numbers_are_refused(value):
    with pytest.raises(FormatError, match="numbers must be whole and from 0 to 4294967295"):
        read_label_map(encoded(np.array([[1, value]], np.float32), "TIFF"))


def test_label_maps_are_not_turned(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.tif", tiffinfo={274: 6})
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.tif"), GREY)


def test_colours_may_mean_numbers():
    colours = np.array([[0, 0, 0], [128, 0, 0], [9, 9, 9], [0, 0, 0]], np.uint8)
    numbers = RNG.integers(0, 3, (5, 7))
    content = encoded(colours[numbers])
    np.testing.assert_array_equal(read_label_map(content, (5, 7), colours), numbers)
    with pytest.raises(FormatError, match=r"colours must be among 1 known ones, got \["):
        read_label_map(content, None, colours[:1])
