from html.parser import HTMLParser

import numpy as np
import pytest
from synthetic import nuclei_dataset

from delineate.curate.browse import contact_sheet, spread, thumbnail, write_page
from delineate.curate.stats import Spread
from delineate.dataset import Dataset, Record
from delineate.instances import Instances
from delineate.masks import Masks


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.sources = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.words.append(data)


def square(size=(40, 80), path=None, id_=1):
    dense = np.zeros((1, *size), bool)
    dense[0, size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = True
    return Record(path, size, Instances.of(Masks.from_dense(dense)), id_, split="<val>")


def test_thumbnails_are_scaled_and_painted():
    small = thumbnail(square((400, 800)), ["cell"], 80)
    assert small.shape == (40, 80, 3)
    painted = (small != 96).any(axis=2)
    assert painted[10:20, 20:40].all()
    assert not painted[22:].any(), "a picture that is not known is grey"
    assert thumbnail(square((4, 8)), ["cell"], 80).shape == (4, 8, 3), "small pictures stay small"
    assert thumbnail(square((1, 5000)), ["cell"], 80).shape == (1, 80, 3)


def test_a_sheet_has_all_pictures(tmp_path):
    dataset = nuclei_dataset(tmp_path, count=3)
    sheet = contact_sheet(dataset, columns=2, side=60)
    assert sheet.shape == (2 * 62 + 2, 2 * 62 + 2, 3)
    assert (sheet[64:, 64:] == 255).all(), "the last place is free"
    assert (sheet[:62, :62] != 255).any()
    for wrong in (Dataset([], []), dataset):
        with pytest.raises(ValueError, match="a picture and a column"):
            contact_sheet(wrong, columns=0)


def test_a_page_is_whole_and_safe(tmp_path):
    records = [square(id_=1), square(path=tmp_path / "<img onerror=x>.png", id_=2)]
    dataset = Dataset(records, ["<script>alert(1)</script>", "<span onclick=x>"])
    write_page(dataset, tmp_path / "a.html", title="<b>", side=64)
    text = (tmp_path / "a.html").read_text("utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert page.tags.count("span") == 2, "one bar for each class"
    assert "b" not in page.tags
    assert page.tags.count("img") == 2
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources), (
        "nothing from outside"
    )
    assert "<script>alert(1)</script>" in page.words
    assert "<img onerror=x>.png: 1 objects, 80 x 40, <val>" in page.words
    write_page(Dataset([], []), tmp_path / "b.html")
    assert Page((tmp_path / "b.html").read_text("utf-8")).tags.count("img") == 0


def test_spreads_in_words():
    assert spread(None) == "-"
    assert spread(Spread(0, 0.1, 0.25, 0.5, 1), percent=True) == "25 (10 to 50) %"
