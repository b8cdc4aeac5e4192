import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from scenes import scene

from delineate import Dataset, Instances, Masks, Record, read_image
from delineate.metrics import compare, evaluate, explain, matching, slices, verdicts
from delineate.report import analyse, render, write_html

HOSTILE = (
    '<script>alert("x")</script>',
    "\"'><img src=x onerror=alert(1)>",
    "</style><!--nav-->&amp; {0} %s",
)
VOID = {"meta", "img"}


class Page(HTMLParser):
    """Every tag is closed, every id is there once, and nothing is loaded from elsewhere."""

    def __init__(self, html):
        super().__init__()
        self.open, self.ids, self.tags, self.words, self.links, self.images = [], [], [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []
        assert len(set(self.ids)) == len(self.ids)
        assert all(link.startswith("#") and link[1:] in self.ids for link in self.links)
        assert all(source.startswith("data:image/jpeg;base64,") for source in self.images)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            if name == "id":
                self.ids.append(value)
            if name == "href":
                self.links.append(value)
            if name == "src":
                self.images.append(value)
        if tag == "img":
            assert dict(attrs)["alt"]

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        assert self.open.pop() == tag

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)


@pytest.fixture(scope="module")
def sides():
    return scene(8, pictures=20, crowd=0.1, attributes=lambda number: {"stain": HOSTILE[number % 3]})


@pytest.fixture(scope="module")
def full(sides):
    truth, found = sides
    analysis = analyse(truth, found)
    fewer = found.with_records(r.replace(instances=r.instances[::2]) for r in found)
    return replace(
        analysis,
        matching=matching(truth, found),
        slices={"stain": slices(truth, found, "stain")},
        comparison=compare(verdicts(truth, fewer), analysis.judged, resamples=20),
        explanation=explain(truth, found, 0.3),
        settings={"truth": HOSTILE[0], **analysis.settings},
        notices=(HOSTILE[1],),
    )


def test_the_page_is_sound_and_holds_all_sections(full):
    page = Page(render(full, "A run"))
    names = ["curves", "classes", "errors", "confidence", "confusion"]
    names += ["slices", "against", "explain", "pictures", "settings"]
    assert [one for one in page.ids if not one.endswith("-title")] == names
    assert page.tags.count("h1") == 1
    assert f"{full.evaluation.ap:.3f}" in page.words
    assert len(page.images) == 24
    assert all(name in page.words for name in full.truth.classes)


def test_hostile_names_stay_words(full):
    html = render(replace(full, truth=full.truth), HOSTILE[0])
    renamed = Dataset(
        [r.replace(path=f"images/{r.id}{HOSTILE[1].replace('/', '')}") for r in full.truth], HOSTILE
    )
    named = analyse(renamed, Dataset(full.predictions.records, HOSTILE))
    for text in (html, render(named, HOSTILE[2])):
        page = Page(text)
        assert page.tags.count("script") == page.tags.count("style") == 1
        assert text.count("<!--") == 0
        assert "onerror" not in re.sub(r"&lt;img src=x onerror=alert\(1\)&gt;", "", text)
    assert HOSTILE[0] in page.words


def test_nothing_is_loaded_from_elsewhere(full):
    html = render(full)
    assert "http" not in html.replace("http-equiv", "")
    assert "default-src 'none'" in html
    assert "@import" not in html
    assert "url(" not in html


def test_charts_say_what_they_are(full):
    html = render(full)
    assert html.count("<svg") == html.count('role="img"')
    labels = re.findall(r'role="img" aria-label="([^"]+)"', html)
    assert "Precision over recall, mean of all classes" in labels
    assert "Share of right detections over score" in labels


def test_pictures_are_drawn_small_and_in_two_colours(tmp_path):
    """A right and a wrong detection on black: blue and orange; the missed object orange in the truth."""
    drawn = np.zeros((3, 200, 960), bool)
    drawn[0, 20:80, 20:200] = drawn[1, 20:80, 400:600] = drawn[2, 100:180, 600:900] = True
    masks = Masks.from_dense(drawn)
    Image.fromarray(np.zeros((200, 960, 3), np.uint8)).save(tmp_path / "dark.png")
    record = Record(tmp_path / "dark.png", (200, 960), Instances.of(masks[[0, 1]]), 5)
    truth = Dataset([record], ["cell"])
    found = truth.with_records([record.replace(instances=Instances.of(masks[[0, 2]], scores=[0.9, 0.9]))])
    pair = Page(render(analyse(truth, found))).images
    import base64

    left, right = (read_image(base64.b64decode(one.partition(",")[2])).astype(int) for one in pair)
    assert left.shape == right.shape == (100, 480, 3)

    def paint(image, x, y):
        red, _, blue = image[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3).max(axis=0)
        return "none" if max(red, blue) < 60 else "blue" if blue > red else "orange"

    edges = ((10, 25), (200, 25), (300, 70))  # left borders of the three, at half the size
    assert [paint(left, *edge) for edge in edges] == ["blue", "orange", "none"]
    assert [paint(right, *edge) for edge in edges] == ["blue", "none", "orange"]


@pytest.mark.parametrize(
    ("content", "words"), [(None, "the picture cannot be read"), (b"no png", "cannot be read")]
)
def test_pictures_that_cannot_be_read_are_grey(sides, tmp_path, content, words):
    truth, found = sides
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    page = Page(render(analyse(truth.with_records(r.replace(path=tmp_path / "a.png") for r in truth), found)))
    assert any(words in word for word in page.words)


def test_boxes_alone():
    sides = [
        part.with_records(
            r.replace(instances=Instances(r.size, r.instances.boxes, r.instances.labels, r.instances.scores))
            for r in part
        )
        for part in scene(3, pictures=8)
    ]
    assert len(Page(render(analyse(*sides, iou="box"))).images) > 0


def test_nothing_at_all():
    page = Page(render(analyse(*scene(0, pictures=0))))
    assert "pictures" not in page.ids
    one = Page(render(analyse(*scene(1, pictures=4, classes=["cell"]))))
    assert "confusion" not in one.ids


def test_the_size_is_bounded():
    classes = [f"class {n}" for n in range(200)]
    truth, found = scene(2, pictures=60, classes=classes, size=(700, 900))
    html = render(analyse(truth, found))
    assert len(html) < 2_000_000
    assert len(Page(html).images) == 24


def test_numbers_are_those_of_the_metrics(full, sides):
    content = full.as_dict()
    assert content["ap"] == evaluate(*sides).as_dict()
    assert set(content) >= {
        "errors",
        "calibration",
        "best_f1",
        "confusion",
        "matching",
        "slices",
        "against",
        "explain",
    }


def test_written_whole_with_progress(full, tmp_path):
    told = []
    write_html(full, tmp_path / "r.html", "T", progress=lambda *numbers: told.append(numbers))
    assert (tmp_path / "r.html").read_text("utf-8") == render(full, "T")
    assert told[-1] == (12, 12)
