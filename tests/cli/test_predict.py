"""``delineate predict`` from pictures to files, with the model that ships inside."""

import csv
import importlib.resources
import json
from functools import partial

import colours
import numpy as np
import pytest
from networks import torchvision_detector
from PIL import Image
from synthetic import STYLES, nuclei

from delineate.everything import Options
from delineate.formats import coco
from delineate.image import read_image


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for index, style in enumerate(STYLES):
        image, _ = nuclei(seed=index, size=(96, 128), count=8, style=style)
        Image.fromarray(image).save(folder / f"{style}.png")
    (folder / "sub").mkdir()
    Image.fromarray(image).save(folder / "sub" / "brightfield.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_becomes_overlays_a_coco_file_and_a_table(run, pictures, tmp_path):
    ended = run("predict", pictures, "--out", tmp_path / "out")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("4 pictures, ")
    overlays = sorted(path.name for path in (tmp_path / "out/overlays").iterdir())
    assert overlays == ["brightfield-2.png", "brightfield.png", "fluorescence.png", "histology.png"]
    assert read_image(tmp_path / "out/overlays/histology.png").shape == (96, 128, 3)
    document = json.loads((tmp_path / "out/predictions.json").read_text())
    assert [category["name"] for category in document["categories"]] == ["nucleus"]
    assert len(document["images"]) == 4
    assert all(0 <= one["score"] <= 1 and one["segmentation"]["counts"] for one in document["annotations"])
    table = rows(tmp_path / "out/objects.csv")
    assert len(table) == len(document["annotations"]) > 0
    areas = sorted(float(row["area_px"]) for row in table)
    assert areas == sorted(one["area"] for one in document["annotations"])


def test_nuclei_are_found_where_they_are(run, pictures, tmp_path):
    run("predict", pictures / "fluorescence.png", "--out", tmp_path)
    _, truth = nuclei(seed=0, size=(96, 128), count=8, style="fluorescence")
    (record,) = coco.read(tmp_path / "predictions.json")
    overlap = record.instances.masks.iou(truth.masks)
    assert (overlap.max(axis=0) > 0.6).mean() >= 0.7


def test_the_file_can_be_read_back_and_evaluated(run, pictures, tmp_path):
    run("predict", pictures / "histology.png", "--out", tmp_path)
    dataset = coco.read(tmp_path / "predictions.json")
    assert dataset[0].path.is_file()
    assert dataset[0].instances.scores is not None


def test_bare_results_and_no_overlays(run, pictures, tmp_path):
    ended = run("predict", pictures / "histology.png", "--out", tmp_path, "--coco-results", "--no-overlays")
    assert ended.code == 0
    results = json.loads((tmp_path / "predictions.json").read_text())
    assert {"image_id", "category_id", "segmentation", "score"} <= set(results[0])
    assert not (tmp_path / "overlays").exists()


def test_thresholds_and_micrometres(run, pictures, tmp_path):
    run("predict", pictures / "fluorescence.png", "--out", tmp_path / "all", "--score", "0.05")
    run(
        "predict",
        pictures / "fluorescence.png",
        "--out",
        tmp_path / "one",
        "--max-detections",
        "1",
        "--pixel-size",
        "0.5",
    )
    everything, best = rows(tmp_path / "all/objects.csv"), rows(tmp_path / "one/objects.csv")
    assert len(best) == 1 <= len(everything)
    assert float(best[0]["area_um2"]) == pytest.approx(float(everything[0]["area_px"]) / 4)


def test_overlays_of_an_earlier_run_are_no_pictures(run, pictures, tmp_path):
    (tmp_path / "cell.png").write_bytes((pictures / "histology.png").read_bytes())
    for _ in range(2):
        assert run("predict", tmp_path, "--out", tmp_path / "results").out.startswith("1 pictures")


def test_patterns_are_expanded_and_pictures_named_twice_count_once(run, pictures, tmp_path):
    ended = run("predict", f"{pictures}/*.png", pictures / "histology.png", "--out", tmp_path)
    assert ended.out.startswith("3 pictures")


def test_unreadable_pictures_are_named_and_skipped(run, pictures, tmp_path):
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "empty.png").write_bytes(b"")
    (bad / "cut.png").write_bytes((pictures / "histology.png").read_bytes()[:500])
    (bad / "text.jpg").write_text("hello")
    ended = run(
        "predict", bad, pictures / "histology.png", tmp_path / "absent.png", "--out", tmp_path / "out"
    )
    assert ended.code == 1
    assert ended.out.startswith("1 pictures")
    assert "(4 skipped)" in ended.out
    for name in ("empty.png", "cut.png", "text.jpg", "absent.png"):
        assert name in ended.err
    left = {path.name for path in (tmp_path / "out").rglob("*")}
    assert left == {"overlays", "histology.png", "predictions.json", "objects.csv"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["absent/*.png"], "absent/"),
        (["."], "no pictures found"),
        (["{pictures}", "--pixel-size", "-1"], "--pixel-size must be positive"),
        (["{pictures}", "--pixel-size", "1,2,3"], "--pixel-size must be positive"),
        (["{pictures}", "--pixel-size", "small"], "--pixel-size must be positive"),
        (["{pictures}", "--model", "nuclear"], "Did you mean 'nuclei'"),
        (["{pictures}", "--score", "7"], "score must be within"),
        (["{pictures}", "--model", "{pictures}/notes.txt"], "notes.txt"),
    ],
)
def test_mistakes_end_with_two(run, pictures, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    ended = run("predict", *(word.format(pictures=pictures) for word in words), "--out", tmp_path / "out")
    assert ended.code == 2
    assert message in ended.err


def test_a_dataset_of_every_kind_of_picture(run, tmp_path):
    image, _ = nuclei(seed=3, size=(64, 64), style="fluorescence")
    grey = image[..., 0]
    kinds = {
        "grey.png": Image.fromarray(grey),
        "alpha.png": Image.fromarray(np.dstack([image, grey])),
        "deep.png": Image.fromarray(grey.astype(np.uint16) * 17),
        "float.tif": Image.fromarray(grey.astype(np.float32) / 99),
        "palette.png": Image.fromarray(image).convert("P"),
        "one.png": Image.fromarray(grey[:1, :1]),
        "photo.jpg": Image.fromarray(image),
    }
    (tmp_path / "in").mkdir()
    for name, picture in kinds.items():
        picture.save(tmp_path / "in" / name)
    ended = run("predict", tmp_path / "in", "--out", tmp_path / "out")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("7 pictures")


def test_real_nuclei_and_a_foreign_model(run, shared, tmp_path):
    weights = shared / "weights" / "yolov8n-seg_int8.onnx"
    photo = shared / "data" / "coco128_seg" / "images" / "000000000036.jpg"
    assert run("predict", photo, "--model", weights, "--out", tmp_path / "photo").code == 0
    found = {row["class"] for row in rows(tmp_path / "photo/objects.csv")}
    assert {"person", "umbrella"} <= found
    cells = sorted((shared / "data" / "dsb2018" / "images").glob("*.png"))[:3]
    assert run("predict", *cells, "--out", tmp_path / "cells").code == 0
    assert len(rows(tmp_path / "cells/objects.csv")) > 10


@pytest.fixture
def spots(tmp_path):
    """A picture with discs, its truth, and an encoder of colours as CLIP's files."""
    picture, truth = colours.scene(
        [("red", 24, 32, 16), ("green", 24, 96, 15), ("blue", 72, 32, 17), ("red", 72, 96, 18)]
    )
    Image.fromarray(picture).save(tmp_path / "spots.png")
    return tmp_path / "spots.png", truth, colours.write_clip(tmp_path / "colours")


def test_texts_name_what_is_found(run, spots, tmp_path, monkeypatch):
    monkeypatch.setattr("delineate.text.GRID", Options(points=2, iou=0.5, stability=0.7))
    path, truth, encoder = spots
    ended = run(
        "predict",
        path,
        "--text",
        "red",
        "--text",
        "blue disc",
        "--encoder",
        encoder,
        "--out",
        tmp_path / "out",
    )
    assert ended.code == 0, ended.err
    dataset = coco.read(tmp_path / "out" / "predictions.json")
    assert dataset.classes == ("red", "blue disc")
    found = dataset[0].instances
    assert sorted(found.labels.tolist()) == [0, 0, 1]
    overlap = found.masks.iou(truth.masks)
    assert overlap.max(1).min() > 0.7
    assert [("red", "green", "blue")[label] for label in truth.labels[overlap.argmax(1)]] == [
        ("red", "blue")[label] for label in found.labels
    ]
    assert [row["class"] for row in rows(tmp_path / "out" / "objects.csv")].count("blue disc") == 1
    assert (tmp_path / "out" / "overlays" / "spots.png").is_file()


def test_a_promptable_model_is_asked_for_everything(run, spots, tmp_path, monkeypatch):
    monkeypatch.setattr("delineate.cli._everything.Options", partial(Options, points=2, stability=0.7))
    path, truth, _ = spots
    words = ("predict", path, "--model", "click", "--score", "0.5", "--out", tmp_path)
    ended = run(*words)
    assert ended.code == 0, ended.err
    dataset = coco.read(tmp_path / "predictions.json")
    assert dataset.classes == ("object",)
    found = dataset[0].instances
    assert (np.diff(found.scores) <= 0).all()
    assert found.scores.min() > 0.5
    assert found.masks.iou(truth.masks).max(0).min() > 0.7
    assert run(*words, "--max-detections", "1").out.startswith("1 pictures, 1 objects")


def test_texts_choose_among_the_masks_of_an_instance_model_or_a_pair_of_files(
    run, spots, tmp_path, monkeypatch
):
    monkeypatch.setattr("delineate.text.GRID", Options(points=2, iou=0.5, stability=0.7))
    path, truth, encoder = spots
    words = (
        "predict",
        path,
        "--text",
        "green",
        "--encoder",
        encoder,
        "--max-detections",
        "1",
        "--no-overlays",
    )
    weights = importlib.resources.files("delineate") / "weights"
    pair = f"{weights / 'click_encoder.onnx'},{weights / 'click_decoder.onnx'}"
    for number, model in enumerate(("nuclei", pair)):
        ended = run(*words, "--model", model, "--out", tmp_path / str(number))
        assert ended.code == 0, ended.err
        found = coco.read(tmp_path / str(number) / "predictions.json")[0].instances
        assert len(found) == 1
        assert found.masks.iou(truth.masks).argmax() == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--text", "cell"], "Run: delineate models download clip-vit_b32"),
        (["--text", "cell", "--encoder", "nowhere"], "encoder must be a folder with CLIP's ONNX files"),
        (["--text", " ", "--encoder", "COLOURS"], "texts must name what to find"),
        (["--text", "a", "--text", "a", "--encoder", "COLOURS"], "each once, got 'a' more than once"),
        (["--text", "a", "--encoder", "COLOURS", "--model", "none.onnx"], "model must be a file"),
    ],
)
def test_what_a_text_lacks_is_said(run, spots, tmp_path, monkeypatch, words, message):
    monkeypatch.setenv("DELINEATE_CACHE", str(tmp_path / "cache"))
    path, _, encoder = spots
    words = [str(encoder) if word == "COLOURS" else word for word in words]
    ended = run("predict", path, *words, "--out", tmp_path / "out")
    assert ended.code == 2
    assert message in ended.err
    assert not (tmp_path / "out").exists()


def test_class_names_of_a_foreign_model(run, pictures, tmp_path):
    (tmp_path / "model.onnx").write_bytes(torchvision_detector(label=13))
    (tmp_path / "names.txt").write_text(
        "\n".join(f"kind {label}" for label in range(1, 14)) + "\n\n", "utf-8"
    )
    words = "predict", pictures / "sub", "--model", tmp_path / "model.onnx", "--no-overlays"
    for given, name in (("coco", "stop sign"), (tmp_path / "names.txt", "kind 13")):
        ended = run(*words, "--out", tmp_path / "out", "--classes", given)
        assert ended.code == 0, ended.err
        assert {row["class"] for row in rows(tmp_path / "out/objects.csv")} == {name}
    assert run(*words, "--out", tmp_path / "out", "--classes", tmp_path / "absent.txt").code == 2
