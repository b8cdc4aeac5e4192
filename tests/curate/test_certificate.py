import numpy as np
import pytest

from delineate import algebra
from delineate.curate.certificate import EXAMPLES, compare
from delineate.dataset import Dataset, Record
from delineate.instances import Instances
from delineate.masks import Masks

SIZE = (8, 9)


def picture(id_=1, name="a.png", shift=0, keep=slice(None), labels=(0, 1, 0), **changes):
    dense = np.zeros((3, *SIZE), bool)
    dense[0, 0:2, 0:2] = dense[1, 3:6, 3:7] = dense[2, 7, shift : shift + 2] = True
    instances = Instances.of(Masks.from_dense(dense), labels).replace(**changes)[keep]
    return Record(name, SIZE, instances, id_)


def dataset(*records, classes=("cell", "rod")):
    return Dataset(records, classes)


def counts(was, became, *kinds):
    return compare(was, became, kinds).counts


def test_the_same_is_clean():
    one = dataset(picture())
    found = compare(one, one)
    assert found.clean
    assert (found.pictures, found.objects, found.exact, found.least_iou) == (1, 3, 3, 1.0)
    assert compare(Dataset([], []), Dataset([], [])).clean


def test_labels_are_compared_by_name():
    other = dataset(picture(labels=(1, 0, 1)), classes=("rod", "cell"))
    assert compare(dataset(picture()), other, {"masks"}).clean
    assert counts(dataset(picture()), other, "class order") == {"class order": 1}
    wrong = compare(dataset(picture()), dataset(picture(labels=(0, 0, 0))), {"instance order"})
    assert [str(one) for one in wrong.examples] == ["a.png, object 2: label: was rod, became cell"]


def test_the_order_counts_only_where_it_is_kept():
    turned = dataset(picture(keep=[2, 0, 1]))
    assert compare(dataset(picture()), turned, {"masks"}).clean
    assert counts(dataset(picture()), turned, "masks", "instance order") == {"label": 2, "masks": 3}


def test_changed_pixels_are_found_with_their_iou():
    moved = compare(dataset(picture()), dataset(picture(shift=1, keep=[2, 1, 0])), {"masks"})
    assert moved.counts == {"masks": 1}
    assert (moved.exact, moved.least_iou) == (2, pytest.approx(1 / 3))
    assert str(moved.examples[0]) == "a.png, object 3: masks: was its pixels, became others (IoU 0.3333)"
    assert compare(dataset(picture()), dataset(picture(shift=1)), set()).clean, "masks are not asked for"


def test_missing_and_new_objects():
    fewer = compare(dataset(picture()), dataset(picture(keep=[0, 2])), {"masks"})
    assert [str(one) for one in fewer.examples] == ["a.png, object 2: object: was rod, became nothing"]
    assert fewer.least_iou == 0
    more = compare(dataset(picture(keep=[0, 2])), dataset(picture()), {"masks"})
    assert [str(one) for one in more.examples] == [
        "a.png: object: was nothing, became rod (object 2 of the copy)"
    ]


def test_missing_and_new_pictures():
    both = dataset(picture(), picture(2, "b.png", keep=[]))
    assert counts(both, dataset(picture()), "empty pictures") == {"picture": 1}
    assert counts(both, dataset(picture())) == {}, "a format without empty pictures may drop them"
    assert counts(dataset(picture()), both) == {"picture": 1}
    larger = picture().replace(instances=Instances.empty((9, 9)))
    assert counts(dataset(picture()), dataset(larger)) == {"picture": 1}


def test_pictures_of_one_name_are_paired_in_order():
    twice = dataset(picture(1, "x/a.png"), picture(2, "y/a.png", keep=[0]))
    assert compare(twice, twice).clean


@pytest.mark.parametrize(
    ("kind", "left", "right"),
    [
        ("scores", {"scores": [0.5, 0.5, 0.5]}, {"scores": [0.5, 0.25, 0.5]}),
        ("scores", {"scores": [0.5, 0.5, 0.5]}, {}),
        ("crowd", {"crowd": [False, True, False]}, {}),
        ("ids", {"ids": [1, 2, 3]}, {"ids": [1, 4, 3]}),
        ("group", {"extras": {"group": [-1, 2, -1]}}, {}),
        (
            "attributes",
            {"extras": {"attributes": ["{}", '{"a":1}', "{}"]}},
            {"extras": {"attributes": ["{}"] * 3}},
        ),
    ],
)
def test_columns(kind, left, right):
    was, became = dataset(picture(**left)), dataset(picture(**right))
    assert set(counts(was, became, kind)) == {kind}
    assert counts(was, became) == {}
    same = dataset(picture(**left))
    assert counts(was, same, kind) == {}


def test_a_column_that_says_nothing_equals_its_absence():
    spelled = picture(crowd=[False] * 3, extras={"group": [-1] * 3, "attributes": ['{"a": 1}', "{}", "{}"]})
    other = picture(extras={"attributes": ['{"a":1}', "{}", "{}"]})
    assert counts(dataset(spelled), dataset(other), "crowd", "group", "attributes") == {}


def test_frames_that_are_named_anew_are_paired_by_their_position():
    frames = [picture(n, f"shot_{n}.png").replace(video="v", frame=n) for n in range(3)]
    renamed = [picture(n, f"{n:05}.png").replace(video="v", frame=n) for n in (2, 0, 1)]
    found = compare(dataset(*frames), dataset(*renamed))
    assert (found.clean, found.pictures, found.exact) == (True, 3, 9)
    found = compare(
        dataset(*frames), dataset(*renamed[:2], picture(9, "x.png").replace(video="w", frame=1)), set()
    )
    assert [str(one) for one in found.examples] == [
        "shot_1.png: picture: was present, became absent",
        "x.png: picture: was absent, became present",
    ]


def test_what_was_not_said_may_be_filled_in():
    given = {"annotation_id": [7, 8, 9], "area": [4.0, 12.0, 2.0]}
    both = ("annotation_id", "area")
    numbered = dataset(picture(extras=given))
    assert counts(dataset(picture()), numbered, *both) == {}
    assert counts(numbered, dataset(picture()), *both) == {"annotation_id": 3, "area": 3}
    assert counts(dataset(picture()), dataset(picture(ids=[1, 2, 3])), "ids") == {}
    assert counts(dataset(picture(ids=[1, 2, 3])), dataset(picture()), "ids") == {"ids": 3}
    other = dataset(picture(extras={"annotation_id": [1, 2, 3], "area": [4.0, 12.0, 3.0]}))
    assert counts(numbered, other, *both) == {"annotation_id": 3, "area": 1}
    twice = dataset(picture(extras=given), picture(2, "b.png", extras=given))  # as splits of their own files
    anew = dataset(picture(extras=given), picture(2, "b.png", extras=given | {"annotation_id": [10, 11, 12]}))
    assert counts(twice, anew, *both) == {}


def test_records():
    was = dataset(picture().replace(video="v", frame=1, split="val", attributes={"a": 1}))
    became = dataset(picture(5))
    expected = {"picture ids": 1, "videos": 2, "splits": 1, "picture attributes": 1}
    assert counts(was, became, *expected) == expected


def test_boxes_are_compared_where_there_are_no_masks():
    def boxed(end):
        return dataset(Record(None, SIZE, Instances(SIZE, [[0, 0, 4, 4], [5, 5, 7, end]], [0, 0]), 3))

    assert compare(boxed(8), boxed(8.0005), set()).exact == 2
    found = compare(boxed(8), boxed(7), set())
    assert found.counts == {"masks": 1}
    assert found.least_iou == pytest.approx(2 / 3)


def test_examples_are_bounded_but_counts_are_not():
    many = dataset(*(picture(n, f"{n}.png") for n in range(80)))
    found = compare(
        many, Dataset([record.replace(instances=record.instances[:1]) for record in many], many.classes)
    )
    assert found.counts["object"] == 160
    assert len(found.examples) == EXAMPLES
    assert found.as_dict()["differences"] == found.counts


def stack(*shown, **changes):
    """Three squares that cover each other's corners, of which some pixels show."""
    dense = np.zeros((3, *SIZE), bool)
    dense[0, 0:5, 0:5] = dense[1, 2:7, 2:7] = dense[2, 1:3, 1:3] = True
    for place, rows in shown:
        dense[place, rows] = False
    return Record("a.png", SIZE, Instances.of(Masks.from_dense(dense), [0, 1, 0]).replace(**changes), 1)


@pytest.mark.parametrize("order", [None, [2, 1, 0], [1, 0, 2]])
@pytest.mark.parametrize("kinds", [{"masks"}, {"masks", "instance order"}])
def test_pixels_that_others_cover_may_be_lost_where_overlaps_are(order, kinds):
    was = stack()
    shown = Instances.of(algebra.resolve_overlaps(was.instances.masks, order), [0, 1, 0])
    found = compare(dataset(was), dataset(was.replace(instances=shown)), kinds)
    assert found.clean
    changed = int((shown.masks.areas != was.instances.masks.areas).sum())
    assert (found.exact, found.explained) == (3 - changed, changed)
    assert found.least_iou < 1
    assert counts(dataset(was), dataset(was.replace(instances=shown)), "masks", "overlaps") == {
        "masks": changed
    }


def test_pixels_that_nobody_has_are_a_difference():
    bitten = stack((0, slice(0, 1)))
    assert counts(dataset(stack()), dataset(bitten), "masks") == {"masks": 1}
    assert counts(dataset(bitten), dataset(stack()), "masks") == {"masks": 1}, "and so are new ones"


def test_what_is_covered_wholly_may_be_gone_where_empty_masks_are():
    under = stack((0, slice(0, 9)), (0, slice(None)))
    dense = under.instances.masks.to_dense()
    dense[0, 4:6, 4:6] = True
    was = under.replace(instances=under.instances.replace(masks=Masks.from_dense(dense)))
    shown = algebra.resolve_overlaps(was.instances.masks)
    became = was.replace(instances=was.instances.replace(masks=shown)[1:])
    for kinds in ({"masks"}, {"masks", "instance order"}):
        found = compare(dataset(was), dataset(became), kinds)
        assert (found.counts, found.exact, found.explained) == ({}, 1, 2)
    assert counts(dataset(was), dataset(became), "masks", "empty masks") == {"object": 1}
    assert counts(dataset(was), dataset(became.replace(instances=became.instances[[]])), "masks") == {
        "object": 3
    }


def test_crowds_may_be_gone_or_be_one_region_where_their_flag_is_lost():
    crowds = stack(crowd=[False, True, True])
    plain = stack(crowd=[True, False, False])
    assert counts(dataset(crowds), dataset(crowds.replace(instances=crowds.instances[:1])), "masks") == {}
    fewer = dataset(plain.replace(instances=plain.instances[:1]))
    assert counts(dataset(plain), fewer, "masks", "overlaps") == {"object": 2}
    one = crowds.instances.replace(labels=[0, 2, 2])[:2]
    more = dataset(crowds.replace(instances=one), classes=("cell", "rod", "ignore"))
    assert counts(dataset(crowds), more, "masks", "class order") == {}


def test_an_order_that_is_kept_is_one():
    three, two = dataset(picture()), dataset(picture(keep=[2, 0]))
    assert counts(three, two, "instance order") == {"object": 2}
    assert counts(three, dataset(picture(keep=[0, 2])), "instance order") == {"object": 1}


def test_pictures_without_a_file_are_called_as_folders_of_pictures_call_them():
    bare = [picture(n).replace(path=None, id=id_) for n, id_ in enumerate(("a/1", 19))]
    became = dataset(picture(1, "x/a_1.tif"), picture(2, "x/19.png"))
    assert compare(dataset(*bare), became, {"masks"}).clean
    split = [
        picture(1, "y/a.png").replace(split="val"),
        picture(2, "x/a.png", keep=[1]).replace(split="train"),
    ]
    turned = dataset(*split[::-1])
    assert compare(dataset(*split), turned, {"masks", "splits"}).clean
    assert not compare(dataset(*split), turned, {"masks"}).clean


def test_frames_may_be_filled_in_where_nothing_is():
    frames = [picture(n, f"{n}.png").replace(video=7, frame=n) for n in (0, 2)]
    more = [
        one.replace(video="7") for one in (*frames, picture(9, "9.png", keep=[]).replace(video=7, frame=1))
    ]
    assert compare(dataset(*frames), dataset(*more), {"videos"}).clean
    there = [*frames, picture(9, "9.png").replace(video=7, frame=1)]
    assert counts(dataset(*frames), dataset(*there), "videos") == {"picture": 1}
