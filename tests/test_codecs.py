"""Masks in other programs' encodings against those programs (golden files), and parsers fed with damage."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_masks import drawn, stacks

from delineate import codecs
from delineate.codecs import CvatMask
from delineate.errors import FormatError
from delineate.masks import Masks

MANY = settings(max_examples=100, deadline=None)
# Made by golden/make_codecs.py with label-studio-converter 0.0.59 and cvat-sdk 2.80.0.
GOLDEN = json.loads(Path(__file__).with_name("golden").joinpath("codecs.json").read_text("utf-8"))
CODECS = {
    "png": (codecs.to_png, codecs.from_png),
    "label studio": (codecs.to_label_studio, codecs.from_label_studio),
    "cvat": (codecs.to_cvat, codecs.from_cvat),
    "row counts": (codecs.to_row_counts, codecs.from_row_counts),
    "start lengths": (codecs.to_start_lengths, codecs.from_start_lengths),
}


def masks_or_reason(read, *arguments):
    try:
        return read(*arguments)
    except ValueError as error:
        return str(error)


def golden_masks(entry):
    height, width = entry["size"]
    bits = np.frombuffer(bytes.fromhex(entry["bits"]), np.uint8)
    return Masks.from_dense(np.unpackbits(bits, count=height * width).reshape(1, height, width))


@pytest.mark.parametrize("entry", GOLDEN, ids=lambda entry: str(entry["size"]))
def test_equal_to_the_programs_own_encoders(entry):
    masks = golden_masks(entry)
    stream = bytes.fromhex(entry["label_studio"])
    assert [bytes(values) for values in codecs.to_label_studio(masks)] == [stream]
    assert codecs.from_label_studio([stream], masks.size) == masks
    if entry["label_studio_colours"]:
        coloured = bytes.fromhex(entry["label_studio_colours"])
        assert codecs.from_label_studio([coloured, list(coloured)], masks.size) == Masks.concat(
            [masks, masks]
        )
    (found,) = codecs.to_cvat(masks)
    assert found.points == entry["cvat"]
    assert CvatMask.from_points([float(value) for value in entry["cvat"]]) == found
    assert codecs.from_cvat([found], masks.size) == masks


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@MANY
@given(stacks())
def test_round_trip(codec, dense):
    to, back = codec
    masks = Masks.from_dense(dense)
    assert back(to(masks), masks.size) == masks


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (5, 8)])
def test_edges(codec, size):
    to, back = codec
    empty, full = Masks.from_dense(np.zeros((1, *size), bool)), Masks.from_dense(np.ones((1, *size), bool))
    both = Masks.concat([full, empty, full])
    assert back(to(both), size) == both
    assert to(Masks.empty(size)) == []
    assert back([], size) == Masks.empty(size)


@pytest.mark.parametrize("name", ["cvat", "row counts", "start lengths", "label studio"])
def test_a_canvas_without_pixels(name):
    to, back = CODECS[name]
    masks = Masks.from_dense(np.zeros((2, 0, 5), bool))
    assert back(to(masks), (0, 5)) == masks


@pytest.mark.parametrize("name", ["cvat", "row counts", "start lengths", "label studio"])
def test_memory_follows_the_object(name):
    to, back = CODECS[name]
    masks = Masks.from_polygons([[[9000, 9000, 9050, 9000, 9050, 9060]]] * 5, (20_000, 15_000))
    assert back(to(masks), masks.size) == masks


@MANY
@given(stacks())
def test_row_counts_are_counts_of_the_flat_picture(dense):
    for counts, mask in zip(codecs.to_row_counts(Masks.from_dense(dense)), dense, strict=True):
        values = np.arange(len(counts)) % 2 == 1
        assert np.repeat(values, counts).tolist() == mask.ravel().tolist()


@MANY
@given(stacks())
def test_start_lengths_are_read_as_kaggle_reads_them(dense):
    for text, mask in zip(codecs.to_start_lengths(Masks.from_dense(dense)), dense, strict=True):
        flat = np.zeros(mask.size, bool)
        numbers = [int(word) for word in text.split()]
        for start, length in zip(numbers[::2], numbers[1::2], strict=True):
            flat[start - 1 : start - 1 + length] = True
        assert (flat.reshape(mask.shape, order="F") == mask).all()


@MANY
@given(stacks())
def test_png_is_what_pillow_reads(dense):
    for content, mask in zip(codecs.to_png(Masks.from_dense(dense)), dense, strict=True):
        picture = Image.open(io.BytesIO(content))
        assert picture.mode == "1"
        assert (np.asarray(picture) == mask).all()


@pytest.mark.parametrize("mode", ["1", "L", "I;16", "P", "RGB", "LA", "RGBA"])
def test_png_of_every_kind(mode):
    masks, dense = drawn("#..# .##. ....")
    values = dense[0].astype(np.uint8) * 255
    if mode == "I;16":
        picture = Image.fromarray(dense[0].astype(np.uint16))  # 1 of 65535 is covered too
    elif mode == "P":
        picture = Image.fromarray(dense[0].astype(np.uint8), "L").convert("P")
        picture.putpalette([0, 0, 0, 0, 9, 0])
    else:
        picture = Image.fromarray(values).convert(mode)
    file = io.BytesIO()
    picture.save(file, "PNG")
    assert codecs.from_png([file.getvalue()]) == masks


def test_png_refuses():
    masks, _ = drawn("#..# .##. ....")
    content = codecs.to_png(masks)
    with pytest.raises(ValueError, match="size must be given where there are no pictures"):
        codecs.from_png([])
    with pytest.raises(ValueError, match=r"pictures\[1\]: size must be \(3, 4\), got \(1, 1\)"):
        codecs.from_png(content + codecs.to_png(Masks.from_dense(np.ones((1, 1, 1), bool))))
    for damaged in (b"", b"no picture", content[0][:40]):
        with pytest.raises(FormatError):
            codecs.from_png([damaged])
    with pytest.raises(ValueError, match=r"masks must have pixels to become PNG, got size \(0, 4\)"):
        codecs.to_png(Masks.from_dense(np.zeros((1, 0, 4), bool)))


ONE = [0, 0, 0, 8, 57, 27, 252, 255, 224]  # two covered pixels in a row


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ([], r"masks\[1\]: rle must hold all of the picture, got an end after 0 bytes"),
        (ONE[:-1], r"masks\[1\]: rle must hold all of the picture, got an end after 8 bytes"),
        ([*ONE, 0, 1], r"masks\[1\]: rle must end with the picture, got more at byte 8"),
        ([0, 0, 0, 12, *ONE[4:]], r"rle must be of 8 bytes \(RGBA of 2 pixels\), got 12"),
        ([*ONE[:6], 255, 255, 255, 255, 255], "got a run beyond it at byte 9"),
        ([0, 0, 0, 256], "whole numbers from 0 to 255"),
        ([-1], "whole numbers from 0 to 255"),
        ("AAAA", "whole numbers from 0 to 255"),
        (7, "whole numbers from 0 to 255"),
    ],
)
def test_label_studio_refuses(rle, message):
    with pytest.raises(ValueError, match=message):
        codecs.from_label_studio([ONE, rle], (1, 2))


def test_label_studio_takes_padding_and_literals():
    padded = [*ONE, 0, 0]
    assert codecs.from_label_studio([padded], (1, 2)).areas == [2]
    # Eight literals: words of 8 bits, first field of 3 bits.
    values = [9, 9, 9, 0, 0, 0, 0, 1]
    bits = f"{8:032b}" + f"{7:05b}" + "".join(f"{n - 1:04b}" for n in (3, 4, 8, 16))
    bits += "0" + "00" + f"{7:03b}" + "".join(f"{value:08b}" for value in values)
    stream = [int(bits[k : k + 8].ljust(8, "0"), 2) for k in range(0, len(bits), 8)]
    assert codecs.from_label_studio([stream], (1, 2)).to_dense().tolist() == [[[False, True]]]


@MANY
@given(st.binary(max_size=40), st.integers(0, 4), st.integers(0, 4))
def test_any_bytes_are_masks_or_refused(data, height, width):
    head = (4 * height * width).to_bytes(4, "big")
    for stream in (data, head + data):
        found = masks_or_reason(codecs.from_label_studio, [stream], (height, width))
        assert len(found) == 1 if isinstance(found, Masks) else found.startswith("masks[0]: rle must")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (CvatMask([0, 4], 3, 1, 2, 2), r"masks\[0\]: left, top, width, height must lie within 3 x 4 pixels"),
        (CvatMask([0, 4], -1, 1, 2, 2), r"masks\[0\]: left, top, width, height must lie within"),
        (CvatMask([0, 4], 3, 1, -2, 2), r"must lie within 3 x 4 pixels, got 3, 1, -2, 2"),
        (CvatMask([0, 3], 1, 1, 2, 2), r"masks\[0\]: rle must sum to 4 \(2 x 2\), got 3"),
        (CvatMask([0, 2**32 - 1, 2**32 - 1], 1, 1, 2, 2), "rle must sum to 4"),
        (CvatMask("0, x", 1, 1, 2, 2), "rle must be whole numbers from 0 to"),
        (CvatMask("", 1, 1, 2, 2), "rle must be whole numbers from 0 to"),
        (CvatMask("0, 99999999999999999999", 1, 1, 2, 2), "rle must be whole numbers"),
        (CvatMask([0, -4], 1, 1, 2, 2), "rle must be whole numbers"),
        (CvatMask([0.5, 3.5], 1, 1, 2, 2), "rle must be whole numbers"),
        (CvatMask([0, np.inf], 1, 1, 2, 2), "rle must be whole numbers"),
        (CvatMask([0, 2**70], 1, 1, 2, 2), "rle must be whole numbers"),
        (CvatMask([[0, 4]], 1, 1, 2, 2), "rle must be whole numbers"),
        (CvatMask([0, 4], 2**40, 1, 2, 2), "left, top, width, height must be whole numbers"),
    ],
)
def test_cvat_refuses(shape, message):
    with pytest.raises(ValueError, match=message):
        codecs.from_cvat([shape], (3, 4))


def test_cvat_text_and_points():
    assert codecs.from_cvat([CvatMask(" 0,2 ,2", 1, 1, 2, 2)], (3, 4)).areas == [2]
    for points, message in (([0, 4, 1, 1], "got 4 numbers"), ([0, 4, 1, 1, 2, "x"], "must be whole numbers")):
        with pytest.raises(ValueError, match=message):
            CvatMask.from_points(points)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([5, 1], r"masks\[0\]: counts must sum to 12"),
        ([5, -1], r"masks\[0\]: counts must be whole numbers from 0"),
        ([5, 2**32], r"masks\[0\]: counts must be whole numbers from 0"),
        ([], r"masks\[0\]: counts must sum to 12 \(\d x \d\), got 0"),
    ],
)
def test_row_counts_refuse(counts, message):
    with pytest.raises(ValueError, match=message):
        codecs.from_row_counts([counts], (3, 4))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5", "must be pairs"),
        ("5 x", "must be pairs"),
        ("5 +2", "must be pairs"),
        ("1_0 2", "must be pairs"),
        ("5 2.0", "must be pairs"),
        (None, "must be pairs"),
        (5, "must be pairs"),
        ("5 9999999999999999999", "must be pairs"),
        ("0 2", r"must rise from 1 to 12 and share no pixel, got \['0', '2'\] at pair 0"),
        ("5 0", r"got \['5', '0'\] at pair 0"),
        ("1 2 12 2", r"got \['12', '2'\] at pair 1"),
        ("13 1", r"got \['13', '1'\] at pair 0"),
        ("5 2 6 1", r"got \['6', '1'\] at pair 1"),
        ("5 2 1 1", r"got \['1', '1'\] at pair 1"),
    ],
)
def test_start_lengths_refuse(text, message):
    with pytest.raises(ValueError, match=rf"masks\[1\]: runs .*{message}"):
        codecs.from_start_lengths(["1 1", text], (3, 4))


@MANY
@given(st.text(alphabet="0123456789 -.\n", max_size=20))
def test_any_text_is_masks_or_refused(text):
    pairs = masks_or_reason(codecs.from_start_lengths, [text], (3, 4))
    runs = masks_or_reason(codecs.from_cvat, [CvatMask(text.replace("-", ","), 1, 1, 2, 2)], (3, 4))
    for found in (pairs, runs):
        assert len(found) == 1 if isinstance(found, Masks) else found.startswith("masks[0]: r")


def test_adjoining_runs_become_one():
    assert codecs.from_start_lengths(["1 2 3 4"], (3, 4)).counts(0).tolist() == [0, 6, 6]
