"""``delineate train``, ``predict`` and ``eval`` of networks that name every pixel, end to end on drawn landscapes."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="training needs the extra [torch]")

import landscapes  # noqa: E402

from delineate.formats import coco, coco_panoptic  # noqa: E402
from delineate.image import read_image, read_label_map  # noqa: E402
from delineate.metrics.panoptic import evaluate_panoptic  # noqa: E402


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    landscapes.write(folder, "train", 3, size=(64, 96))
    return folder


@pytest.fixture
def trained(run, scenes, tmp_path):
    """Trains a family's tiny test variant for a few steps; gives the best checkpoint."""

    def train(name, *more):
        settings = [f"model.name={name}", f"data.root='{scenes}'", "data.train=train.json"]
        settings += ["data.val=train.json", "size=64", "batch=3", "epochs=1", "samples=12", "threads=1"]
        settings += [
            "tensorboard=false",
            "panoptic.stuff_area=30",
            "panoptic.score=0.02",
            "optimiser.rate=5e-3",
        ]
        settings += ["optimiser.warmup=0.0", "optimiser.ema=0.5", "augment.mosaic=0.0", *more]
        words = [word for setting in settings for word in ("--set", setting)]
        ended = run("train", "--out", tmp_path / "run", *words)
        assert ended.code == 0, ended.err
        return tmp_path / "run" / "best.safetensors", ended.err

    before = torch.get_num_threads()
    yield train
    torch.set_num_threads(before)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_things_and_stuff_from_training_to_evaluation(run, scenes, trained, tmp_path):
    best, said = trained("panoptic_fpn-test")
    assert "pq " in said
    assert "pq_stuff" in said
    out = tmp_path / "out"
    ended = run("predict", scenes / "images", "--model", best, "--score", "0.02", "--out", out)
    assert ended.code == 0, ended.err
    assert ended.out.startswith("3 pictures, ")
    assert "stuff" in ended.out
    assert {path.name for path in out.iterdir()} == {
        "overlays",
        "predictions",
        "predictions.json",
        "objects.csv",
        "classes.csv",
    }
    found = coco_panoptic.read(out / "predictions.json")
    assert found.classes == ("house", "tree", "ball", "meadow", "sky", "water", "road")
    assert found.things == (True,) * 3 + (False,) * 4
    assert len(rows(out / "objects.csv")) == sum(int(record.read().things.sum()) for record in found)
    assert sum(len(record.read()) for record in found) > 0
    table = rows(out / "classes.csv")
    for row in table:
        record = next(record for record in found if record.path.name == row["picture"].rpartition("/")[2])
        made, label = record.read(), found.classes.index(row["class"])
        assert int(row["area_px"]) == made.areas[made.labels == label].sum()
        assert float(row["share"]) == pytest.approx(int(row["area_px"]) / (64 * 96), abs=1e-6)
        assert row["objects"] == ("" if row["kind"] == "stuff" else str((made.labels == label).sum()))
    overlay = read_image(out / "overlays" / "train0000.png")
    assert overlay.shape[0] > 64  # the legend is below a wide picture
    ended = run("eval", scenes / "train.json", out / "predictions.json", "--json", tmp_path / "pq.json")
    assert ended.code == 0, ended.err
    truth = coco_panoptic.read(scenes / "train.json")
    report = evaluate_panoptic(
        truth, coco_panoptic.read_predictions(out / "predictions.json", scenes / "train.json")
    )
    assert json.loads((tmp_path / "pq.json").read_text())["panoptic"]["all"]["pq"] == pytest.approx(
        report.all.pq
    )
    again = run("predict", scenes / "images", "--model", best, "--objects", "--out", tmp_path / "objects")
    assert again.code == 0
    assert coco.read(tmp_path / "objects" / "predictions.json").classes == ("house", "tree", "ball")


def test_class_maps_from_training_to_evaluation(run, scenes, trained, tmp_path):
    best, said = trained("fcn-test")
    assert "miou " in said
    ended = run("predict", scenes / "images", "--model", best, "--out", tmp_path / "out", "--no-overlays")
    assert ended.code == 0, ended.err
    names = (tmp_path / "out" / "class_names.txt").read_text().split()
    assert names == ["background", *landscapes.CLASSES]
    found = coco_panoptic.read(tmp_path / "out" / "predictions.json")
    assert not any(found.things)
    for record in found:
        made = record.read()
        map_ = read_label_map(tmp_path / "out" / "class_maps" / f"{record.path.stem}.png")
        assert map_.dtype == np.uint8
        assert np.array_equal(
            map_, np.append(0, made.labels + 1)[np.searchsorted(np.append(0, made.ids), made.map)]
        )
    shares = [float(row["share"]) for row in rows(tmp_path / "out" / "classes.csv")]
    assert 0 < sum(shares) <= 3 + 1e-5
    ended = run("eval", scenes / "train.json", tmp_path / "out" / "predictions.json")
    assert ended.code == 0, ended.err
    ended = run("predict", scenes / "images", "--model", best, "--objects", "--out", tmp_path / "out")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("3 pictures")


def test_every_kind_of_picture(run, scenes, trained, tmp_path):
    """Grey, deep, turned, one pixel, larger than a tile; and one that is none."""
    best, _ = trained("panoptic_fpn-test")
    (tmp_path / "in").mkdir()
    image, _ = landscapes.scene(3, (40, 60))
    grey = image[..., 0]
    Image.fromarray(grey).save(tmp_path / "in" / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 200).save(tmp_path / "in" / "deep.png")
    Image.fromarray(grey[:1, :1]).save(tmp_path / "in" / "one.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(tmp_path / "in" / "turned.jpg", exif=exif)
    Image.fromarray(np.tile(image, (2, 20, 1))).save(tmp_path / "in" / "wide.png")
    (tmp_path / "in" / "none.png").write_bytes(b"")
    for _ in range(2):  # results beside pictures are no pictures
        ended = run(
            "predict", tmp_path / "in", "--model", best, "--out", tmp_path / "in" / "out", "--stuff-area", 1
        )
        assert ended.code == 1
        assert ended.out.startswith("5 pictures")
        assert "none.png" in ended.err
    found = {r.path.name: r for r in coco_panoptic.read(tmp_path / "in" / "out" / "predictions.json")}
    assert found["turned.jpg"].size == (60, 40)
    assert found["one.png"].read().map.shape == (1, 1)
    assert found["wide.png"].read().map.shape == (80, 1200)
    nothing = run(
        *("predict", tmp_path / "in" / "grey.png", "--model", best, "--score", "1.0"),
        *("--stuff-area", "1000000", "--out", tmp_path / "void"),
    )
    assert nothing.code == 0, nothing.err
    (void,) = coco_panoptic.read(tmp_path / "void" / "predictions.json")
    assert len(void.read()) == 0
