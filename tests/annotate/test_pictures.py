import io
import threading
import time

import numpy as np
import pytest
from PIL import Image

from delineate.annotate import pictures as module
from delineate.annotate.pictures import Gallery
from delineate.errors import FormatError
from delineate.image import read_image


def decoded(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def gallery(*paths, **options):
    files = dict(enumerate(paths))
    return Gallery(files.__getitem__, **options)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("large")
    y, x = np.mgrid[:1100, :2600]
    pixels = np.stack([x // 11, y // 5, (x + y) // 20], 2).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "large.bmp")
    return tmp_path / "large.bmp", pixels


def test_small_pictures_are_sent_without_loss(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    content, kind = gallery(tmp_path / "a.png").view(0)
    assert kind == "image/png"
    assert (decoded(content) == pixels).all()


def test_deep_and_turned_pictures_are_shown_as_they_are_read(tmp_path):
    deep = (np.arange(1200).reshape(30, 40) * 50).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.tif")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.tile(np.arange(90, dtype=np.uint8), (60, 1))).save(tmp_path / "turned.jpg", exif=exif)
    shown = gallery(tmp_path / "deep.tif", tmp_path / "turned.jpg")
    assert (decoded(shown.view(0)[0]) == read_image(tmp_path / "deep.tif")).all()
    assert decoded(shown.view(1)[0]).shape == (90, 60, 3)
    assert decoded(shown.thumbnail(1)).shape == (90, 60, 3)


def test_large_pictures_come_as_a_view_and_tiles(large):
    path, pixels = large
    shown = gallery(path)
    view = decoded(shown.view(0)[0])
    assert view.shape == (550, 1300, 3)
    tile = decoded(shown.tile(0, 0, 5, 2))
    expected = pixels[1024:, 2560:]
    assert tile.shape == expected.shape == (76, 40, 3)
    assert np.abs(tile.astype(int) - expected).mean() < 3
    half = decoded(shown.tile(0, 1, 0, 0)).astype(int)
    means = pixels[:1024, :1024].reshape(512, 2, 512, 2, 3).mean(axis=(1, 3))
    assert np.abs(half - means).mean() < 3
    assert max(decoded(shown.thumbnail(0)).shape) == module.THUMBNAIL


@pytest.mark.parametrize("place", [(0, 6, 0), (0, 0, 3), (13, 0, 0), (-1, 0, 0), (12, 1, 0)])
def test_tiles_that_are_not_there(large, place):
    with pytest.raises(KeyError):
        gallery(large[0]).tile(0, *place)


def test_decoded_pictures_are_bounded(tmp_path, monkeypatch):
    for n in range(4):
        Image.fromarray(np.full((50, 50, 3), n, np.uint8)).save(tmp_path / f"{n}.png")
    calls = []
    monkeypatch.setattr(module, "read_image", lambda path: calls.append(path) or read_image(path))
    shown = gallery(*(tmp_path / f"{n}.png" for n in range(4)), held=2 * 7500)
    for n in (0, 1, 0, 2, 0, 1):
        assert (shown.pixels(n) == n).all()
    assert [int(path.stem) for path in calls] == [0, 1, 2, 1]


def test_a_picture_that_is_asked_for_twice_at_once_is_decoded_once(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((50, 50, 3), np.uint8)).save(tmp_path / "a.png")
    calls, gate = [], threading.Event()

    def slow(path):
        calls.append(path)
        gate.wait(5)
        return read_image(path)

    monkeypatch.setattr(module, "read_image", slow)
    shown = gallery(tmp_path / "a.png")
    threads = [threading.Thread(target=shown.pixels, args=(0,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_halves_that_two_ask_for_at_once_are_made_once(large, monkeypatch):
    shown = gallery(large[0])
    shown.pixels(0)
    both, reduce = threading.Barrier(2), Image.Image.reduce

    def together(picture, factor):
        if picture.width == 2600:
            both.wait(5)  # both threads are about to make the first half
        return reduce(picture, factor)

    monkeypatch.setattr(Image.Image, "reduce", together)
    threads = [threading.Thread(target=shown.tile, args=(0, 2, 0, 0)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [level.shape[1] for level in shown._pyramid(0)] == [2600, 1300, 650]


def test_few_pictures_are_decoded_at_once(tmp_path, monkeypatch):
    for n in range(5):
        Image.fromarray(np.full((5, 5, 3), n, np.uint8)).save(tmp_path / f"{n}.png")
    lock, at_once, most = threading.Lock(), 0, 0

    def counted(path):
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.02)
        with lock:
            at_once -= 1
        return read_image(path)

    monkeypatch.setattr(module, "read_image", counted)
    shown = gallery(*(tmp_path / f"{n}.png" for n in range(5)))
    threads = [threading.Thread(target=shown.pixels, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 2


def test_a_new_file_is_read_anew(tmp_path):
    path = tmp_path / "a.png"
    shown = gallery(path)
    for grey, size in ((10, (5, 5)), (20, (6, 7))):
        Image.fromarray(np.full((*size, 3), grey, np.uint8)).save(path)
        assert (shown.pixels(0).shape, shown.pixels(0).max()) == ((*size, 3), grey)
        assert decoded(shown.thumbnail(0)).shape == (*size, 3)


def test_damaged_missing_and_huge_pictures(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n")
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff")
    Image.fromarray(np.zeros((50, 50), np.uint8)).save(tmp_path / "b.png")
    shown = gallery(tmp_path / "a.png", tmp_path / "a.jpg", tmp_path / "gone.png", tmp_path / "b.png")
    for number in range(3):
        for ask in (shown.view, shown.thumbnail):
            with pytest.raises(FormatError):
                ask(number)
    monkeypatch.setattr(module, "MAX_PIXELS", 2499)
    for ask in (shown.pixels, shown.thumbnail):
        with pytest.raises(FormatError, match="delineate tile"):
            ask(3)
    with pytest.raises(KeyError):
        shown.view(9)
