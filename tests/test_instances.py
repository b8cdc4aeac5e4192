import copy
import pickle
import timeit

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from delineate.instances import Instances
from delineate.masks import Masks

SIZE = (6, 8)


def made(count=3, **changes):
    """Some instances with every field; instance n has its box at column n and the label n."""
    dense = np.zeros((count, *SIZE), bool)
    for n in range(count):
        dense[n, 1:3, n : n + 2] = True
    masks = Masks.from_dense(dense)
    fields = {
        "size": SIZE,
        "boxes": masks.boxes,
        "labels": np.arange(count),
        "scores": np.linspace(0.25, 0.75, count, dtype=np.float32),
        "masks": masks,
        "crowd": np.arange(count) % 2 == 1,
        "ids": np.arange(count) + 100,
        "extras": {"area": np.arange(count) * 1.5, "keypoints": np.arange(count * 6).reshape(count, 3, 2)},
    }
    return Instances(**fields | changes)


def test_fields_have_exact_types():
    found = Instances((np.int64(6), 8), [[0, 1, 2, 3]], [4], [1], None, [0], [7], {"name": ["a"]})
    assert found.size == SIZE
    assert all(type(value) is int for value in found.size)
    types = [found.boxes.dtype, found.labels.dtype, found.scores.dtype, found.crowd.dtype, found.ids.dtype]
    assert types == [np.float32, np.int64, np.float32, np.bool_, np.int64]
    assert found.extras["name"].tolist() == ["a"]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16, np.float64])
def test_boxes_of_any_number_type(dtype):
    assert Instances(SIZE, np.array([[0, 1, 2, 3]], dtype), [0]).boxes.tolist() == [[0, 1, 2, 3]]


def test_arrays_are_copied_and_read_only():
    boxes = np.zeros((1, 4), np.float32)
    found = Instances(SIZE, boxes, [0], extras={"area": (area := np.zeros(1))})
    boxes[:] = 5
    area[:] = 5
    assert found.boxes.tolist() == [[0, 0, 0, 0]]
    assert found.extras["area"].tolist() == [0]
    for array in (found.boxes, found.labels, found.extras["area"], made()[1:].boxes, made()[[0]].ids):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 1
    boxes[:] = 6  # the caller's own array stays writable


def test_fields_cannot_be_set():
    with pytest.raises(AttributeError):
        made().boxes = None
    with pytest.raises(TypeError):
        made().extras["area"] = np.zeros(3)


NO_BOXES = np.zeros((0, 4))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"size": (6,)}, ValueError, r"size must be \(height, width\), got \(6,\)"),
        ({"size": 6}, ValueError, r"size must be \(height, width\), got 6"),
        ({"size": "68"}, ValueError, r"size must be \(height, width\), got '68'"),
        ({"size": (6, 0)}, ValueError, r"two ints of at least 1, got \(6, 0\)"),
        ({"size": (6.0, 8)}, ValueError, r"two ints of at least 1, got \(6.0, 8\)"),
        ({"size": (True, 8)}, ValueError, r"two ints of at least 1, got \(True, 8\)"),
        ({"boxes": [[0, 0, 1]]}, ValueError, r"boxes must have shape \(N, 4\), got \(1, 3\)"),
        ({"boxes": [0, 0, 1, 1]}, ValueError, r"boxes must have shape \(N, 4\), got \(4,\)"),
        ({"boxes": [["0", "0", "1", "1"]]}, TypeError, "boxes must be numbers .float32., got <U1"),
        ({"boxes": [[0, 0, 1, 1], [0, np.nan, 1, 1]]}, ValueError, "boxes must be finite, got .* in row 1"),
        ({"boxes": [[0, 0, 1e39, 1]]}, ValueError, "boxes must be finite, got .*inf.* in row 0"),
        (
            {"boxes": [[0, 0, 1, 1], [4, 0, 3, 1]]},
            ValueError,
            r"got \[4.0, 0.0, 3.0, 1.0\] in row 1. Convert",
        ),
        ({"labels": [0, 1]}, ValueError, r"labels must have shape \(3,\) for 3 boxes, got \(2,\)"),
        ({"labels": [0, 1.5, 2]}, TypeError, "labels must be ints .int64., got float64"),
        ({"labels": [True, False, True]}, TypeError, "labels must be ints .int64., got bool"),
        ({"labels": [0, -2, -1]}, ValueError, "labels must be at least 0, got -2"),
        (
            {"labels": np.full(3, 2**63, np.uint64)},
            ValueError,
            "labels must fit int64, got 9223372036854775808",
        ),
        ({"scores": [[0.5]] * 3}, ValueError, r"scores must have shape \(3,\) for 3 boxes, got \(3, 1\)"),
        ({"scores": [0.5, np.nan, 0.1]}, ValueError, "scores must be finite, got nan"),
        ({"scores": [0.5, 1j, 0.1]}, TypeError, "scores must be numbers .float32., got complex128"),
        (
            {"masks": np.zeros((3, *SIZE))},
            TypeError,
            "masks must be Masks or None, got ndarray. Use Masks.from_dense",
        ),
        ({"masks": 0}, ValueError, "masks must be 3 for 3 boxes, got 0"),
        ({"masks": 3, "size": (6, 9)}, ValueError, r"size \(6, 9\) of the instances, got \(6, 8\)"),
        ({"crowd": [0, 1, 2]}, ValueError, "crowd must hold bools .or 0 and 1., got 2"),
        ({"crowd": [0.0, 1.0, 0.0]}, TypeError, "crowd must be bools .bool., got float64"),
        ({"crowd": [True]}, ValueError, r"crowd must have shape \(3,\) for 3 boxes, got \(1,\)"),
        ({"ids": [1, 2]}, ValueError, r"ids must have shape \(3,\) for 3 boxes, got \(2,\)"),
        ({"ids": ["a", "b", "c"]}, TypeError, "ids must be ints .int64., got <U1"),
        ({"extras": [1, 2, 3]}, TypeError, "extras must be a mapping of names to arrays, got list"),
        ({"extras": {1: [1, 2, 3]}}, TypeError, "extras must have str names, got 1"),
        (
            {"extras": {"a": [1, 2]}},
            ValueError,
            r"extras\['a'\] must have 3 rows, one per box, got shape \(2,\)",
        ),
        ({"extras": {"a": 1}}, ValueError, r"extras\['a'\] must have 3 rows, one per box, got shape \(\)"),
        (
            {"extras": {"a": [{}, {}, {}]}},
            TypeError,
            r"extras\['a'\] must hold numbers, bools or strings, got object",
        ),
    ],
)
def test_wrong_fields_are_refused(changes, error, message):
    fields = {"size": SIZE, "boxes": [[0, 0, 1, 1]] * 3, "labels": [0, 1, 2]}
    if isinstance(changes.get("masks"), int):  # masks kept in parameters would outlive the native module
        changes = changes | {"masks": made(changes["masks"]).masks}
    with pytest.raises(error, match=message):
        Instances(**fields | changes)


def test_boxes_may_reach_over_the_canvas_and_be_empty():
    assert len(Instances(SIZE, [[-5, -5, 99, 99], [3, 3, 3, 3]], [0, 0])) == 2


def test_nothing_is_ordinary():
    nothing = Instances(SIZE, [], [], [], Masks.empty(SIZE), [], [], {"area": []})
    assert nothing.boxes.shape == (0, 4)
    assert len(nothing[:0]) == len(nothing[[]]) == len(nothing[np.zeros(0, bool)]) == 0
    assert nothing[[]] == nothing
    assert Instances.concat([nothing, nothing]) == nothing


def test_empty():
    assert Instances.empty(SIZE) == Instances(SIZE, NO_BOXES, [], masks=Masks.empty(SIZE))
    assert Instances.empty(SIZE).scores is None
    assert Instances.empty(SIZE, scored=True).scores.shape == (0,)
    with pytest.raises(ValueError, match="size must be"):
        Instances.empty((6,))


def test_of_masks():
    whole = made()
    fields = {"scores": whole.scores, "crowd": whole.crowd, "ids": whole.ids, "extras": whole.extras}
    assert Instances.of(whole.masks, whole.labels, **fields) == whole
    assert Instances.of(whole.masks).labels.tolist() == [0, 0, 0]
    assert Instances.of(Masks.from_dense(np.zeros((1, *SIZE), bool))).boxes.tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("index", "kept"),
    [
        (slice(1, None), [1, 2]),
        (slice(None, None, -1), [2, 1, 0]),
        ([2, 0, 0], [2, 0, 0]),
        ([-1], [2]),
        (np.array([0, 2], np.uint8), [0, 2]),
        (np.array([False, True, True]), [1, 2]),
        ([True, False, True], [0, 2]),
        ((1,), [1]),
        ([], []),
    ],
)
def test_index_selects_in_every_field(index, kept):
    whole, part = made(), made()[index]
    assert part.labels.tolist() == kept
    assert part.ids.tolist() == [100 + n for n in kept]
    assert part.boxes[:, 0].tolist() == kept
    assert part.masks.boxes[:, 0].tolist() == kept
    assert part.extras["area"].tolist() == [1.5 * n for n in kept]
    assert part.crowd.tolist() == [n % 2 == 1 for n in kept]
    assert part.scores.tolist() == whole.scores[kept].tolist()
    assert part.size == SIZE
    assert part.boxes.flags.c_contiguous  # native code takes no other
    # What selection skips checking would pass the constructor.
    assert part == Instances(**{name: getattr(part, name) for name in Instances.__slots__})


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (1, TypeError, r"got 1. Use \[1:2\] to keep one instance"),
        (-1, TypeError, r"got -1. Use \[-1:\] to keep one instance"),
        (np.int64(0), TypeError, r"Use \[0:1\] to keep one"),
        ("scores", TypeError, "must be a slice, or an array of ints or bools, got 'scores'"),
        ([0.0, 1.0], TypeError, "got dtype float64"),
        ([[0, 1]], TypeError, "must be a slice, or an array"),
        ([3], IndexError, "must be within 3 instances, got 3"),
        ([0, -4], IndexError, "must be within 3 instances, got -4"),
        ([True, False], IndexError, "a bool index must have 3 values, got 2"),
    ],
)
def test_wrong_index_is_refused(index, error, message):
    with pytest.raises(error, match=message):
        made()[index]


def test_iterating_says_how_to_take_one():
    with pytest.raises(TypeError, match=r"Use \[0:1\]"):
        list(made())


@given(st.lists(st.integers(0, 4), max_size=8), st.lists(st.integers(0, 4), max_size=8))
def test_concat_of_selections_is_selection_of_both(first, second):
    whole = made(5)
    assert Instances.concat([whole[first], whole[second]]) == whole[first + second]


@given(st.lists(st.booleans(), min_size=5, max_size=5))
def test_bools_select_like_their_positions(keep):
    assert made(5)[np.array(keep)] == made(5)[np.flatnonzero(keep)]


def test_concat_skips_what_empty_sets_lack():
    whole = made()
    assert Instances.concat([Instances.empty(SIZE), whole, Instances.empty(SIZE)]) == whole
    boxes_only = Instances(SIZE, [[0, 0, 1, 1]], [0])
    assert Instances.concat([boxes_only, Instances.empty(SIZE)]).masks is None


def test_concat_fills_crowd():
    plain, crowd = made(1, crowd=None), made(2)
    assert Instances.concat([plain, crowd]).crowd.tolist() == [False, False, True]
    assert Instances.concat([plain, plain]).crowd is None


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (list, "parts must hold at least one set, got none"),
        (
            lambda: [Instances.empty((6, 8)), Instances.empty((6, 9))],
            r"must have one size, got \(6, 8\) and \(6, 9\)",
        ),
        (lambda: [made(), made(scores=None)], "scores must be in all parts or in none, got 1 of 2"),
        (lambda: [made(), made(masks=None)], "masks must be in all parts or in none"),
        (lambda: [made(), made(ids=None)], "ids must be in all parts or in none"),
        (lambda: [made(), made(extras={})], r"extras\['area'\] must be in all parts or in none"),
        (
            lambda: [made(1, extras={"a": [[1]]}), made(1, extras={"a": [[1, 2]]})],
            r"extras\['a'\] must have one shape per instance, got \(1,\) and \(2,\)",
        ),
    ],
)
def test_sets_that_do_not_fit_are_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        Instances.concat(parts())


def test_replace_checks_again():
    assert made().replace(scores=None).scores is None
    assert made().replace(labels=[5, 6, 7]).labels.tolist() == [5, 6, 7]
    with pytest.raises(ValueError, match="labels must have shape"):
        made().replace(labels=[1])
    with pytest.raises(TypeError, match=r"must be among size, boxes, .*, got 'label'"):
        made().replace(label=[1])


@pytest.mark.parametrize(
    "changes",
    [
        {"size": (6, 9), "masks": None},
        {"boxes": np.zeros((3, 4))},
        {"labels": [0, 1, 3]},
        {"scores": None},
        {"scores": [0.25, 0.5, 0.5]},
        {"masks": None},
        {"crowd": None},
        {"ids": [0, 0, 0]},
        {"extras": {}},
        {"extras": {"area": np.arange(3) * 1.5}},
        {"extras": {"area": np.arange(3), "keypoints": np.arange(18).reshape(3, 3, 2)}},
    ],
)
def test_equality_is_by_value(changes):
    assert made() == made()
    assert made() != made(**changes)
    assert made() != made(masks=Masks.from_dense(np.zeros((3, *SIZE), bool)))
    assert made() != "instances"


def test_missing_values_in_extras_are_equal_to_themselves():
    first, second = (made(1, extras={"a": [np.nan], "b": ["x"]}) for _ in range(2))
    assert first == second


def test_instances_are_not_hashable():
    with pytest.raises(TypeError, match="unhashable"):
        hash(made())


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda found: pickle.loads(pickle.dumps(found))]
)
def test_copies_are_equal_and_read_only(copied):
    again = copied(made())
    assert again == made()
    assert not again.boxes.flags.writeable


def test_repr():
    assert repr(made()) == "Instances(3, size=(6, 8), scores, masks, crowd, ids, area, keypoints)"
    assert repr(Instances(SIZE, [], [])) == "Instances(0, size=(6, 8))"


def test_selecting_from_a_hundred_is_cheap():
    rng = np.random.default_rng(0)
    dense = np.zeros((100, 120, 120), bool)
    for mask in dense:
        y, x = rng.integers(0, 100, 2)
        mask[y : y + 20, x : x + 20] = True
    found = Instances.of(Masks.from_dense(dense), scores=rng.random(100), extras={"area": np.zeros(100)})
    seconds = min(timeit.repeat(lambda: found[found.scores > 0.5], number=50, repeat=10)) / 50
    # About 20 microseconds on an idle machine; the bound only catches a change of kind.
    assert seconds < 500e-6
