"""torchmetrics' own evaluation code on the modules of this package and on pycocotools: the same numbers."""

import importlib
import sys

import numpy as np
import pytest

pytest.importorskip("torchvision", reason="torchmetrics' mean_ap needs torchvision")
pytest.importorskip("pycocotools")
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"
)

PARTS = ("coco", "cocoeval", "mask")


@pytest.fixture
def stand_in(monkeypatch):
    """Puts this package's modules in the place of pycocotools' for code that imports them from now on."""

    def swap():
        ours = "delineate.compat.pycocotools"
        monkeypatch.setitem(sys.modules, "pycocotools", importlib.import_module(ours))
        for part in PARTS:
            monkeypatch.setitem(sys.modules, f"pycocotools.{part}", importlib.import_module(f"{ours}.{part}"))

    return swap


def pictures(torch, seed):
    """Predictions and truths: ties, crowds, other classes, pictures without anything."""
    rng = np.random.default_rng(seed)

    def drawn(count):
        dense = np.zeros((count, 40, 50), bool)
        for one in dense:
            (y, x), (height, width) = rng.integers(0, 30, 2), rng.integers(1, 20, 2)
            one[y : y + height, x : x + width] = True
        return dense

    def boxed(dense):
        rows = [[*np.argwhere(one).min(0)[::-1], *(np.argwhere(one).max(0)[::-1] + 1)] for one in dense]
        return torch.tensor(np.array(rows, np.float32).reshape(-1, 4))

    for _ in range(12):
        known = drawn(rng.integers(0, 6))
        near = np.roll(known[: rng.integers(0, 6)], int(rng.integers(0, 3)), axis=2)
        found = np.concatenate([near, drawn(rng.integers(0, 4))])
        n, m = len(known), len(found)
        yield (
            {
                "boxes": boxed(found),
                "masks": torch.tensor(found),
                "scores": torch.tensor(rng.integers(1, 9, m) / 9, dtype=torch.float32),
                "labels": torch.tensor(rng.integers(0, 3, m)),
            },
            {
                "boxes": boxed(known),
                "masks": torch.tensor(known),
                "labels": torch.tensor(rng.integers(0, 3, n)),
                "iscrowd": torch.tensor((rng.random(n) < 0.15).astype(np.int64)),
                "area": torch.tensor(known.sum((1, 2)).astype(np.float32)),
            },
        )


def computed(kind, seed, **options):
    torch = importlib.import_module("torch")
    metric = importlib.import_module("torchmetrics.detection").MeanAveragePrecision(
        iou_type=kind, backend="pycocotools", **options
    )
    for found, known in pictures(torch, seed):
        metric.update([found], [known])
    return metric.compute()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "options",
    [
        {"kind": "bbox"},
        {"kind": "segm"},
        {"kind": ("bbox", "segm"), "class_metrics": True},
        {"kind": "segm", "class_metrics": True, "extended_summary": True},
        {"kind": "bbox", "iou_thresholds": [0.3, 0.5], "max_detection_thresholds": [1, 5, 20]},
        {"kind": "segm", "average": "micro"},
    ],
    ids=str,
)
def test_torchmetrics_computes_the_same(stand_in, monkeypatch, options, seed):
    pytest.importorskip("torchmetrics")
    theirs = computed(**options, seed=seed)
    stand_in()
    used = []
    evaluation = importlib.import_module("delineate.compat.pycocotools.cocoeval").COCOeval
    evaluate = evaluation.evaluate
    monkeypatch.setattr(evaluation, "evaluate", lambda self: (used.append(1), evaluate(self))[1])
    ours = computed(**options, seed=seed)
    assert used
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        pairs = (
            zip(value.items(), ours[key].items(), strict=True)
            if isinstance(value, dict)
            else [((0, value), (0, ours[key]))]
        )
        for (name, a), (other, b) in pairs:
            assert name == other
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=key)
