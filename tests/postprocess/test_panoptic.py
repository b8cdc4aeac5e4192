"""Panoptic merging against a plain version on bitmaps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delineate.formats import coco_panoptic
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.metrics.panoptic import evaluate_panoptic
from delineate.panoptic import Panoptic, PanopticDataset, PanopticRecord
from delineate.postprocess.panoptic import Rules, combine
from delineate.postprocess.semantic import ClassMap


def drawn(rows):
    """Bitmaps of the digits 1..9 in a drawing, as many as its greatest one."""
    cells = np.array([[int(cell) for cell in row] for row in rows])
    return np.stack([cells == number for number in range(1, cells.max() + 1)])


def things(bitmaps, labels, scores):
    return Instances.of(Masks.from_dense(np.asarray(bitmaps, bool)), labels, np.float32(scores))


def flat(classes, score=0.5):
    classes = np.asarray(classes, np.int32)
    return ClassMap(classes, np.full(classes.shape, score, np.float32))


def plain(bitmaps, labels, scores, classes, stuff, rules):
    """The rule written down on whole pictures: (map, rows of (id, label, is thing))."""
    canvas, rows = np.zeros(classes.shape, int), []
    for index in sorted(range(len(scores)), key=lambda place: -scores[place]):
        mask = bitmaps[index]
        area, taken = mask.sum(), (mask & (canvas > 0)).sum()
        if scores[index] < rules.score:
            break
        if area == 0 or taken / area > rules.overlap or taken == area:
            continue
        rows.append((len(rows) + 1, labels[index], True))
        canvas[mask & (canvas == 0)] = len(rows)
    for kind in np.unique(classes):
        mask = (classes == kind) & (canvas == 0)
        if stuff[kind] < 0 or mask.sum() < rules.stuff_area or not mask.any():
            continue
        rows.append((len(rows) + 1, stuff[kind], False))
        canvas[mask] = len(rows)
    return canvas, rows


def test_a_drawing():
    """Two people overlap; the better one keeps the shared pixels; sky and grass fill what is free."""
    first = np.zeros((4, 6), bool)
    first[1:3, 1:3] = True
    second = np.zeros((4, 6), bool)
    second[1:4, 2:4] = True
    semantic = flat([[1] * 6] * 2 + [[2] * 6] * 2)
    found = combine(things([first, second], [0, 0], [0.6, 0.9]), semantic, [-1, 5, 6], Rules(stuff_area=5))
    assert found.map.tolist() == [
        [3, 3, 3, 3, 3, 3],
        [3, 2, 1, 1, 3, 3],
        [4, 2, 1, 1, 4, 4],
        [4, 4, 1, 1, 4, 4],
    ]
    assert found.labels.tolist() == [0, 0, 5, 6]
    assert found.things.tolist() == [True, True, False, False]
    np.testing.assert_allclose(found.scores, [0.9, 0.6, 0.5, 0.5], rtol=1e-6)


def test_an_object_that_is_half_covered_stays_and_one_covered_more_goes():
    wide, half, most = (np.zeros((1, 12), bool) for _ in range(3))
    wide[0, :6], half[0, 4:8], most[0, 5:8] = True, True, True
    semantic = flat(np.zeros((1, 12)))
    kept = combine(things([wide, half], [0, 1], [0.9, 0.8]), semantic, [-1])
    assert kept.areas.tolist() == [6, 2]
    gone = combine(things([wide, half, most], [0, 1, 2], [0.9, 0.8, 0.7]), semantic, [-1])
    assert gone.labels.tolist() == [0, 1]


def test_limits_are_inclusive():
    mask = np.ones((1, 1, 4), bool)
    semantic = flat([[0, 0, 1, 1]])
    assert len(combine(things(mask, [0], [0.5]), semantic, [-1, -1], Rules(score=0.5))) == 1
    nothing = things(mask[:0].reshape(0, 1, 4), [], [])
    assert len(combine(nothing, semantic, [-1, 3], Rules(stuff_area=2))) == 1
    assert len(combine(nothing, semantic, [-1, 3], Rules(stuff_area=3))) == 0


def test_void_where_the_class_map_says_thing_and_no_object_is():
    found = combine(
        things(np.zeros((0, 2, 3)), [], []), flat([[0, 0, 1], [0, 1, 1]]), [-1, 4], Rules(stuff_area=1)
    )
    assert found.map.tolist() == [[0, 0, 1], [0, 1, 1]]
    assert found.scores.tolist() == [0.5]


def test_a_semantic_network_alone():
    """No objects at all: every class is stuff."""
    found = combine(things(np.zeros((0, 1, 4)), [], []), flat([[2, 0, 2, 1]]), [0, 1, 2], Rules(stuff_area=0))
    assert found.labels.tolist() == [0, 1, 2]
    assert found.map.tolist() == [[3, 1, 3, 2]]


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 7), st.floats(0, 1), st.floats(0, 1), st.integers(0, 30))
def test_equals_the_plain_version(seed, count, score, overlap, area):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 20, 2)
    y, x = np.mgrid[:height, :width]
    centres, radii = rng.uniform(0, 20, (count, 2)), rng.uniform(0, 9, count)
    bitmaps = np.hypot(y - centres[:, :1, None], x - centres[:, 1:, None]) < radii[:, None, None]
    scores = np.float32(rng.choice([0.2, 0.5, 0.8], count) if seed % 2 else rng.random(count))
    labels, stuff = rng.integers(0, 5, count), np.array([-1, 9, 8, -1, 7])
    classes = ((y // 3 + x // 4) % 5).astype(np.int32)
    rules = Rules(score=score, overlap=overlap, stuff_area=area)
    found = combine(things(bitmaps, labels, scores), flat(classes, 0.25), stuff, rules)
    canvas, rows = plain(bitmaps, labels, scores, classes, stuff, rules)
    assert (found.map == canvas).all()
    assert list(zip(found.ids, found.labels, found.things, strict=True)) == rows


def test_ten_thousand_objects():
    places = np.arange(10_000)
    boxes = np.stack([places % 100 * 4, places // 100 * 4], 1)
    counts = [[(400 * x + y), 3, 397, 3, 160000 - 400 * x - y - 403] for x, y in boxes.tolist()]
    masks = Masks.from_counts(np.concatenate(counts).astype(np.uint32), np.arange(0, 50_001, 5), (400, 400))
    scores = np.linspace(1, 0.5, 10_000, dtype=np.float32)
    found = combine(Instances.of(masks, scores=scores), flat(np.zeros((400, 400))), [0])
    assert len(found) == 10_001
    assert set(found.areas[:-1].tolist()) == {6}


def test_written_as_coco_panoptic_and_perfect_against_itself(tmp_path):
    bitmaps = drawn(["1120", "1120", "0000"])
    found = combine(things(bitmaps, [0, 0], [0.9, 0.8]), flat(np.ones((3, 4))), [-1, 1], Rules(stuff_area=1))
    record = PanopticRecord(None, found.size, found, 7)
    dataset = PanopticDataset([record], ["person", "sky"], [True, False])
    coco_panoptic.write(dataset, tmp_path / "found.json")
    again = coco_panoptic.read(tmp_path / "found.json")
    assert again[0].read() == found
    assert evaluate_panoptic(again, dataset).all.pq == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, s: (t, s, [-1]), r"entry for class 1, got 1 entries"),
        (lambda t, s: (t, s, [0.5, 1.0]), r"stuff must be \(K,\) ints"),
        (lambda t, s: (t, flat(np.zeros((9, 9))), [0]), r"size of things \(2, 3\), got \(9, 9\)"),
        (lambda t, s: (t, flat(s.classes - 2), [0, 1]), r"entry for class -1"),
        (lambda t, s: (Instances.of(t.masks, t.labels), s, [0, 1]), r"must have masks and scores"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    given_, semantic = things(drawn(["110", "000"]), [0], [0.9]), flat([[0, 1, 1], [0, 0, 0]])
    with pytest.raises(ValueError, match=message):
        combine(*change(given_, semantic))


@pytest.mark.parametrize("field", ["score", "overlap", "stuff_area"])
def test_rules_out_of_range(field):
    with pytest.raises(ValueError, match="must be within"):
        Rules(**{field: -1})


def test_the_result_is_a_panoptic_picture():
    assert isinstance(combine(things(np.zeros((0, 1, 1)), [], []), flat([[0]]), [-1]), Panoptic)
