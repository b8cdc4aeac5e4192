import numpy as np
import pytest

from delineate import Instances, Record
from delineate.tracks import ORDER, tracks


def part(ids, labels=None, **fields):
    count = len(ids) if ids is not None else len(labels)
    return Instances(
        (4, 6), np.zeros((count, 4)), [0] * count if labels is None else labels, ids=ids, **fields
    )


def frames(*parts):
    return [Record(None, (4, 6), one, n, {}, "v", n) for n, one in enumerate(parts)]


def test_rows_point_at_tracks():
    found = tracks(frames(part([7], [1]), part([]), part([9, 7], [0, 1], crowd=[True, False])))
    assert found.ids.tolist() == [9, 7]
    assert found.labels.tolist() == [0, 1]
    assert found.crowd.tolist() == [True, False]
    assert [row.tolist() for row in found.rows] == [[1], [], [0, 1]]
    assert found.first.tolist() == [[2, 0], [0, 0]]
    assert found.scores is None
    assert repr(found) == "Tracks(2 in 3 frames)"


def test_scores():
    found = tracks(frames(part([7], scores=[0.25]), part([]), part([9, 7], scores=[0.5, 0.25])))
    assert found.scores.tolist() == [0.5, 0.25]
    with pytest.raises(
        ValueError, match=r"score of track 7 must be the same in all frames, got 0.25 and 0.75"
    ):
        tracks(frames(part([7], scores=[0.25]), part([7], scores=[0.75])))


def test_nothing():
    for empty in ([], frames(part([]))):
        found = tracks(empty)
        assert len(found) == 0
        assert found.rows == () or [len(row) for row in found.rows] == [0]


def test_instances_without_ids_are_tracks_of_their_own():
    found = tracks(frames(part([5]), part(None, [0, 0]), part([5])))
    assert found.ids.tolist() == [5, 6, 7]
    assert [row.tolist() for row in found.rows] == [[0], [1, 2], [0]]


@pytest.mark.parametrize("seed", range(30))
def test_frames_keep_the_order_of_their_instances(seed):
    rng = np.random.default_rng(seed)
    order = rng.permutation(9) * 3 - 5
    parts = [part(order[rng.random(9) < 0.4]) for _ in range(7)]
    found = tracks(frames(*parts))
    for one, rows in zip(parts, found.rows, strict=True):
        assert (np.diff(rows) > 0).all()
        assert np.array_equal(found.ids[rows], one.ids)
    places = np.arange(9)
    ordered = [part(one.ids, extras={ORDER: [places[order == id_][0] for id_ in one.ids]}) for one in parts]
    seen = np.isin(order, np.concatenate([one.ids for one in parts]))
    assert np.array_equal(tracks(frames(*ordered)).ids, order[seen])


def test_frames_that_disagree_about_the_order_still_give_every_track_once():
    found = tracks(frames(part([1, 2, 3]), part([3, 2, 1]), part([4, 1])))
    assert sorted(found.ids.tolist()) == [1, 2, 3, 4]
    assert [found.ids[row].tolist() for row in found.rows] == [[1, 2, 3], [3, 2, 1], [4, 1]]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (part([3, 3]), r"ids must be unique in a frame, got 3 twice in record 1"),
        (part([3], [2]), r"label of track 3 must be the same in all frames, got 0 and 2 \(record 1\)"),
        (
            part([3], crowd=[True]),
            r"crowd flag of track 3 must be the same in all frames, got False and True",
        ),
        (part([3], scores=[0.5]), r"scores must be given in all frames or in none, got them in some"),
    ],
)
def test_what_is_no_track(second, message):
    with pytest.raises(ValueError, match=message):
        tracks(frames(part([3]), second))
