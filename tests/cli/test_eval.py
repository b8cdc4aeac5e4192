import json

import numpy as np
import pytest

from delineate import Dataset, Instances, Masks, Record
from delineate.cli import main
from delineate.cli.eval import eval_command
from delineate.errors import DelineateError, FormatError
from delineate.formats import coco, lvis
from delineate.metrics import evaluate, evaluate_lvis, matching

# The tests set sys.argv, as a shell does.
pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens:UserWarning")


def objects(*boxes, **fields) -> Instances:
    masks = np.zeros((len(boxes), 8, 10), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return Instances.of(Masks.from_dense(masks), **fields)


@pytest.fixture
def truth() -> Dataset:
    parts = objects((0, 0, 4, 4), (5, 0, 9, 4)), objects((2, 2, 8, 6)), Instances.empty((8, 10))
    rows = zip("abc", parts, (7, 3, 5), strict=True)
    return Dataset([Record(f"images/{name}.png", (8, 10), part, n) for name, part, n in rows], ["nucleus"])


@pytest.fixture
def found(truth) -> Dataset:
    parts = (
        objects((0, 0, 4, 3), (5, 4, 9, 8), scores=[0.9, 0.3]),
        objects((2, 2, 8, 6), scores=[0.6]),
        objects((0, 0, 1, 1), scores=[0.7]),
    )
    return truth.with_records(r.replace(instances=part) for r, part in zip(truth, parts, strict=True))


@pytest.fixture
def files(truth, found, tmp_path):
    """Paths of the truth, of self-contained predictions and of a bare results list."""
    coco.write(truth, tmp_path / "truth.json")
    coco.write(found, tmp_path / "predictions.json")
    coco.write_results(found, tmp_path / "results.json", tmp_path / "truth.json")
    return tmp_path / "truth.json", tmp_path / "predictions.json", tmp_path / "results.json"


@pytest.fixture
def run(monkeypatch, capsys):
    """The command line as a user calls it: exit code, stdout, stderr."""

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["delineate", "eval", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        text = capsys.readouterr()
        return end.value.code or 0, text.out, text.err

    return call


def lines(text: str, start: str) -> list[list[str]]:
    rows = [line.replace("│", " ").split() for line in text.splitlines()]
    return [row for row in rows if row[:1] == [start]]


@pytest.mark.parametrize("which", [1, 2])
def test_prints_the_twelve_numbers(run, files, truth, found, which):
    code, out, err = run(files[0], files[which])
    assert (code, err) == (0, "")
    report = evaluate(truth, found)
    shown = [row[-1] for name in ("AP", "AR") for row in lines(out, name)]
    assert shown == ["-" if value < 0 else f"{value:.4f}" for value in report.stats]
    assert "3 pictures, 3 objects, 4 detections, 1 class\n" in out
    assert lines(out, "AP")[0] == ["AP", "0.50:0.95", "all", "100", f"{report.ap:.4f}"]


def test_writes_json(run, files, truth, found, tmp_path):
    code, _, _ = run(*files[:2], "--json", tmp_path / "report.json", "--matching", "--min-score", "0.5")
    assert code == 0
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["ap"] == json.loads(json.dumps(evaluate(truth, found).as_dict()))
    expected = matching(truth, found, min_score=0.5).as_dict()
    assert content["matching"] == {"min_score": 0.5, **json.loads(json.dumps(expected))}
    assert content["notices"] == []
    assert content["truth"].endswith("truth.json")


def test_matching_table(run, files):
    _, out, _ = run(*files[:2], "--matching")
    assert lines(out, "0.50") == [["0.50", "2", "2", "1", "0.5000", "0.6667", "0.5714", "0.4000", "0.8750"]]
    assert "mean over thresholds: 0.3067" in out


def test_boxes_and_limits(run, files, truth, found):
    _, out, _ = run(*files[:2], "--iou", "box", "--max-detections", "1")
    report = evaluate(truth, found, iou="box", max_detections=[1])
    assert lines(out, "AP")[0][-2:] == ["1", f"{report.ap:.4f}"]
    assert "Note: In 1 pictures there are more than 1 objects of one class (up to 2)" in out
    assert "Raise --max-detections to count them." in out


def test_boundary(run, files, truth, found):
    assert "masks instead of their boundaries" in run(*files[:2], "--iou", "boundary", "--explain")[1]
    code, out, _ = run(*files[:2], "--iou", "boundary")
    assert (code, lines(out, "AP")[0][-1]) == (0, f"{evaluate(truth, found, iou='boundary').ap:.4f}")
    assert "COCO, boundary IoU" in out


def test_classes_are_listed_when_few(run, tmp_path):
    def write(count):
        classes = [f"class{n}" for n in range(count)]
        part = objects((0, 0, 4, 4), (5, 0, 9, 4), labels=[0, 1])
        data = Dataset([Record("a.png", (8, 10), part, 1)], classes)
        coco.write(data, tmp_path / "truth.json")
        found = data[0].replace(instances=part.replace(scores=[1, 1]))
        coco.write(data.with_records([found]), tmp_path / "found.json")
        return run(tmp_path / "truth.json", tmp_path / "found.json")[1]

    few = write(3)
    assert lines(few, "class1") == [["class1", "1.0000", "1.0000", "1.0000"]]
    assert lines(few, "class2") == [["class2", "-", "-", "-"]]
    assert not lines(write(21), "class1")


def test_pictures_are_matched_by_name_before_id(run, files, found, truth, tmp_path):
    renumbered = [record.replace(id=n) for n, record in enumerate(reversed(found.records), 1)]
    coco.write(found.with_records(renumbered), tmp_path / "other.json")
    assert run(files[0], tmp_path / "other.json") == run(*files[:2])


def test_pictures_left_out_are_noticed(run, files, found, tmp_path):
    coco.write(found[:1], tmp_path / "some.json")
    code, out, _ = run(files[0], tmp_path / "some.json")
    assert code == 0
    assert "Note: 2 of 3 pictures are not in some.json; their objects count as missed." in out


def test_mistakes_end_with_a_message_and_code_2(run, files, truth, found, tmp_path):
    def message(*arguments):
        code, out, err = run(*arguments)
        assert (code, out) == (2, "")
        return err

    coco.write(truth.with_records([truth[0].replace(path="x/new.png", id=99)]), tmp_path / "new.json")
    coco.write(
        found.with_records([found[0], found[1].replace(path="elsewhere/a.png")]), tmp_path / "twice.json"
    )
    coco.write(Dataset(found.records, ["cell"]), tmp_path / "cells.json")
    boxes = [r.replace(instances=r.instances.replace(masks=None)) for r in found]
    coco.write(found.with_records(boxes), tmp_path / "boxes.json")
    assert "nothing.json: " in message(files[0], tmp_path / "nothing.json")
    for pair in ((tmp_path, files[1]), (files[0], tmp_path)):
        assert "must be a file, got a folder. Make one: delineate convert" in message(*pair)
    assert "scores, got none. The truth comes first, then the predictions." in message(files[0], files[0])
    assert "new.json: image 99: picture must be one of the truth" in message(files[0], tmp_path / "new.json")
    assert "twice.json: pictures must be different, got two for 7" in message(
        files[0], tmp_path / "twice.json"
    )
    assert "share classes with truth (nucleus), got cell" in message(files[0], tmp_path / "cells.json")
    assert "boxes.json: has boxes only. Compare boxes with --iou box." in message(
        files[0], tmp_path / "boxes.json"
    )
    assert "--max-detections must be at least 1, got 0" in message(*files[:2], "--max-detections", 0)


def test_report_into_a_missing_folder_is_refused(run, files, tmp_path):
    code, _, err = run(*files[:2], "--json", tmp_path / "nowhere/report.json")
    assert code == 2
    assert "nowhere/report.json: cannot be written" in err
    assert not (tmp_path / "nowhere").exists()


def test_the_function_raises_what_the_command_prints(files, tmp_path):
    with pytest.raises(FormatError, match=r"nothing.json: cannot be read: No such file or directory\."):
        eval_command(files[0], tmp_path / "nothing.json")
    with pytest.raises(DelineateError, match="must be at least 1, got -3"):
        eval_command(*files[:2], max_detections=-3)
    assert eval_command(*files[:2]) == 0


def test_panoptic_files_are_recognised(shared, run, tmp_path):
    path = shared / "data/coco_panoptic_sample/panoptic_examples.json"
    code, out, _ = run(path, path, "--json", tmp_path / "report.json")
    assert code == 0
    assert [word for word in ("PQ", "things", "stuff", "1.0000") if word not in out] == []
    assert json.loads((tmp_path / "report.json").read_text())["panoptic"]["all"]["pq"] == 1
    assert "Note:" not in out
    out = run(path, path, "--iou", "box", "--matching")[1]
    assert "Note: not available for panoptic files, left out: --iou, --matching." in out
    (tmp_path / "none.json").write_text('{"annotations": []}')
    code, _, err = run(path, tmp_path / "none.json")
    assert code == 2
    assert "must cover every picture of the truth" in err


def test_errors_and_scores_are_printed(run, files):
    out = run(*files[:2])[1]
    assert lines(out, "localisation") == [["localisation", "0", "0.0000"]]
    assert [row[1] for name in ("background", "missed") for row in lines(out, name)] == ["2", "1"]
    assert "Scores: expected calibration error" in out
    assert "Best F1 0.6667 at confidence 0.600" in out


def test_against_another_run(run, files, truth, found, tmp_path):
    worse = found.with_records(r.replace(instances=r.instances[:1]) for r in found)
    coco.write(worse, tmp_path / "worse.json")
    code, out, err = run(*files[:2], "--against", tmp_path / "worse.json", "--json", tmp_path / "r.json")
    assert (code, err) == (0, "")
    content = json.loads((tmp_path / "r.json").read_text())
    difference = evaluate(truth, found).ap - evaluate(truth, worse).ap
    assert content["against"]["ap"]["difference"] == pytest.approx(difference)
    assert content["against"]["resamples"] == 1000
    assert "1000 draws of 3 pictures" in out
    assert "against worse.json" in out
    coco.write(found[:1], tmp_path / "some.json")
    assert (
        "Note: 2 of 3 pictures are not in some.json"
        in run(*files[:2], "--against", tmp_path / "some.json")[1]
    )
    code, _, err = run(*files[:2], "--against", files[0])
    assert code == 2
    assert "scores, got none" in err


def test_slices_by_attribute(run, files, tmp_path):
    content = json.loads(files[0].read_text())
    for number, image in enumerate(content["images"]):
        image["stain"] = "HE" if number else "[red]DAB"
    (tmp_path / "stained.json").write_text(json.dumps(content))
    path = tmp_path / "r.json"
    code, out, _ = run(
        tmp_path / "stained.json", files[1], "--by", "stain", "--by", "objects", "--json", path
    )
    assert code == 0
    assert [row[:3] for row in (*lines(out, "HE"), *lines(out, "[red]DAB"))] == [
        ["HE", "2", "1"],
        ["[red]DAB", "1", "2"],
    ]
    parts = json.loads(path.read_text())["slices"]
    assert [one["name"] for one in parts["stain"]] == ["HE", "[red]DAB"]
    assert sum(one["pictures"] for one in parts["objects"]) == 3
    code, _, err = run(*files[:2], "--by", "colour")
    assert code == 2
    assert "--by must be an attribute of the records, got 'colour'. Known: " in err


def test_explains_under_other_conventions(run, files, truth, found, tmp_path):
    code, out, err = run(*files[:2], "--explain")
    assert (code, err) == (0, "")
    box = evaluate(truth, found, iou="box")
    row = lines(out, "boxes")[0]
    assert row[:3] == ["boxes", "instead", "of"]
    assert row[4] == f"{box.ap:.4f}"
    assert "not explained" not in out
    half = evaluate(truth, found).ap50
    out = run(*files[:2], "--target", half, "--json", tmp_path / "r.json")[1]
    assert "not explained" in out
    content = json.loads((tmp_path / "r.json").read_text())["explain"]
    assert content["candidates"][0]["fits"]
    assert content["path"][0]["name"] == "IoU 0.5 alone (AP50)"
    code, _, err = run(*files[:2], "--target", 50)
    assert code == 2
    assert "target must be an AP in [0, 1], got 50.0. Divide a percentage by 100" in err


def test_writes_html(run, files, tmp_path):
    code, _, err = run(*files[:2], "--html", tmp_path / "report.html", "--by", "density")
    assert (code, err) == (0, "")
    html = (tmp_path / "report.html").read_text("utf-8")
    assert html.startswith("<!DOCTYPE html>")
    assert "predictions.json on truth.json" in html
    assert "By density" in html
    code, _, err = run(*files[:2], "--html", tmp_path / "nowhere/report.html")
    assert code == 2
    assert "nowhere/report.html: cannot be written" in err


def test_help_has_examples(run):
    out = run("--help")[1]
    for option in ("--json", "--html", "--against", "--by", "--explain", "--target", "--matching"):
        assert option in out
    assert "delineate eval truth.json new.json --against old.json" in out


@pytest.fixture
def federated(truth, found, tmp_path):
    """Paths of the same as LVIS has it: nothing is known of the third picture."""
    told = ({"negative_classes": ["cell"]}, {"not_exhaustive_classes": ["nucleus"]}, {})
    records = [r.replace(attributes=more) for r, more in zip(truth, told, strict=True)]
    known = Dataset(records, ["nucleus", "cell"], {"categories": [{"frequency": "r"}, {"frequency": "f"}]})
    lvis.write(known, tmp_path / "lvis.json")
    coco.write_results(found, tmp_path / "results.json", tmp_path / "lvis.json")
    return tmp_path / "lvis.json", tmp_path / "results.json", known


def test_lvis(run, federated, found, tmp_path):
    path, results, known = federated
    code, out, err = run(path, results, "--json", tmp_path / "report.json")
    assert (code, err) == (0, "")
    report = evaluate_lvis(known, found)
    assert "LVIS, mask IoU" in out
    assert lines(out, "AP")[0] == ["AP", "0.50:0.95", "all", "all", "300", f"{report.ap:.4f}"]
    assert lines(out, "AP")[1][1] == "0.50"
    assert lines(out, "AP")[6][3:] == ["rare", "300", f"{report.ap_rare:.4f}"]
    assert "4 detections (3 of them judged)" in out
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["lvis"] == json.loads(json.dumps(report.as_dict()))


def test_lvis_from_a_file_with_scores_under_a_limit(run, federated, found, tmp_path):
    path, results, _ = federated
    coco.write(found, tmp_path / "scored.json")
    assert run(path, tmp_path / "scored.json") == run(path, results)
    _, out, _ = run(path, results, "--max-detections", "1", "--matching", "--iou", "boundary")
    assert "1 of lowest score were not counted. Raise --max-detections" in out
    assert "Note: not available for LVIS files, left out: --matching." in out
    assert "LVIS, boundary IoU" in out


def test_lvis_mistakes(run, federated, truth, tmp_path):
    code, _, err = run(federated[0], tmp_path / "none.json")
    assert (code, "none.json: cannot be read" in err) == (2, True)
    coco.write(truth, tmp_path / "plain.json")
    code, _, err = run(federated[0], tmp_path / "plain.json")
    assert code == 2
    assert "plain.json: image 7: annotations must have scores, got none" in err


def test_lvis_limits(run, federated):
    path, results, _ = federated
    assert lines(run(path, results)[1], "AP")[0][4] == "300"
    assert lines(run(path, results, "--max-detections", "100")[1], "AP")[0][4] == "100"


def test_lvis_pictures_are_matched_by_name(run, federated, found, tmp_path):
    path, results, _ = federated
    named = [one.replace(path=f"elsewhere/{one.path.name}", id=n) for n, one in enumerate(found, 100)]
    coco.write(found.with_records(named[:2]), tmp_path / "scored.json")
    code, out, err = run(path, tmp_path / "scored.json")
    assert (code, err) == (0, "")
    assert lines(out, "AP") == lines(run(path, results)[1], "AP")
    assert "Note: 1 of 3 pictures are not in scored.json" in out
    named[0] = named[0].replace(path="elsewhere/z.png")
    coco.write(found.with_records(named), tmp_path / "unknown.json")
    code, _, err = run(path, tmp_path / "unknown.json")
    assert (code, "picture must be one of the truth, got the unknown name 'z.png'" in err) == (2, True)
