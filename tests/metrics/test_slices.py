import json

import numpy as np
import pytest
from scenes import scene

from delineate.metrics import evaluate
from delineate.metrics.slices import NONE, slices


def attributes(number):
    known = {
        "stain": "HE" if number % 3 else "DAB",
        "depth": number * 1.5,
        "plate": number % 2,
        "mixed": ["a", "b"],
    }
    return known if number else {"odd": {}}


@pytest.fixture(scope="module")
def sides():
    return scene(4, pictures=20, attributes=attributes)


def part(sides, keep):
    return evaluate(*(side.filter(lambda record: keep(record.id)) for side in sides))


def test_words_make_a_slice_each(sides):
    found = {one.name: one.report for one in slices(*sides, "stain")}
    assert list(found) == ["DAB", "HE", NONE]
    expected = part(sides, lambda number: number % 3 and number)
    assert found["HE"].ap == expected.ap
    assert np.array_equal(found["HE"].precision, expected.precision)
    assert found[NONE].pictures == 1
    assert sum(report.objects for report in found.values()) == evaluate(*sides).objects


def test_few_numbers_make_a_slice_each(sides):
    assert [one.name for one in slices(*sides, "plate")] == ["0", "1", NONE]
    assert [one.name for one in slices(*sides, "mixed")] == ["a, b", NONE]


def test_many_numbers_are_cut_into_quarters(sides):
    cut = slices(*sides, "depth")
    assert [one.name for one in cut] == ["1.5 to 7.5", "9 to 15", "16.5 to 21", "22.5 to 28.5", NONE]
    assert [one.report.pictures for one in cut] == [5, 5, 4, 5, 1]
    assert cut[1].report.ap == part(sides, lambda number: 6 <= number <= 10).ap


@pytest.mark.parametrize("by", ["size", "objects", "density"])
def test_what_every_record_has(sides, by):
    cut = slices(*sides, by)
    assert sum(one.report.pictures for one in cut) == 20
    assert len(cut) == (1 if by == "size" else len({one.name for one in cut}))


def test_split_of_the_records(sides):
    truth, found = sides
    named = truth.with_records(r.replace(split="val" if r.id < 5 else "test") for r in truth)
    assert [(one.name, one.report.pictures) for one in slices(named, found, "split")] == [
        ("test", 15),
        ("val", 5),
    ]


def test_json(sides):
    content = json.loads(json.dumps([one.as_dict() for one in slices(*sides, "stain")], allow_nan=False))
    assert content[0]["pictures"] == 6


def test_refuses_what_is_no_attribute(sides):
    with pytest.raises(
        ValueError, match=r"got 'colour'. Known: density, depth, mixed, objects, odd, plate, size, spl"
    ):
        slices(*sides, "colour")
    with pytest.raises(ValueError, match="'odd' must hold words or numbers, got dict in record 0"):
        slices(*sides, "odd")
    with pytest.raises(ValueError, match="slices: predictions must be about records of truth"):
        slices(sides[0].filter(lambda record: record.id), sides[1], "stain")
