import json
import logging

import pytest
import yaml

from delineate import formats
from delineate.annotate import saving
from delineate.dataset import Dataset
from delineate.errors import FormatError
from delineate.formats import coco, labelme, yolo
from delineate.instances import Instances
from delineate.masks import Masks


def annotated(record, *boxes):
    return record.replace(instances=Instances.of(Masks.from_boxes(boxes, record.size)))


@pytest.fixture
def truth(pictures):
    """a.png with an object, b.png without."""
    coco.write(Dataset((), ("cell",)), pictures / "x.json")
    from delineate.dataset import Record

    empty = Instances.empty((20, 30))
    records = [Record(pictures / name, (20, 30), empty, n) for n, name in enumerate(("a.png", "b.png"), 1)]
    (pictures / "x.json").unlink()
    return Dataset([annotated(records[0], [1, 1, 6, 6]), records[1]], ("cell",))


@pytest.mark.parametrize("module", [labelme, yolo])
def test_only_the_changed_picture_is_written(module, truth, tmp_path, caplog):
    name, root = module.__name__.split(".")[-1], tmp_path / "set"
    with caplog.at_level(logging.ERROR):
        module.write(truth, root, pictures="copy")
        known = module.read(root)
        assert len(known) == 2
        before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
        first, second = known
        changed = annotated(second, [2, 2, 9, 9], [12, 3, 15, 8])
        saving.save(known.with_records([first, changed]), root, name, {second.id}, classes=False)
        after = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
        files = saving.files(known, root, name, {second.id})
        assert [path for path in after if before.get(path) != after[path]] == files
        back = module.read(root)
    assert back.classes == ("cell",)
    assert [r.instances.masks for r in back] == [first.instances.masks, changed.instances.masks]


def test_labelme_keeps_what_is_no_object(truth, tmp_path):
    root = tmp_path / "set"
    labelme.write(truth, root, pictures="copy")
    path = root / "a.json"
    content = json.loads(path.read_text())
    point = {"label": "centre", "points": [[3, 4]], "shape_type": "point", "group_id": None, "flags": {}}
    content["shapes"].append(point)
    content |= {"flags": {"blurred": True}, "mine": 5}
    path.write_text(json.dumps(content))
    known = labelme.read(root)
    saving.save(
        known.with_records([annotated(known[0], [0, 0, 3, 3]), known[1]]),
        root,
        "labelme",
        {known[0].id},
        classes=False,
    )
    after = json.loads(path.read_text())
    assert after["shapes"][-1] == point
    assert (after["flags"], after["mine"], after["imagePath"], len(after["shapes"])) == (
        {"blurred": True},
        5,
        "a.png",
        2,
    )


def test_a_file_that_is_no_labelme_is_not_replaced(truth, tmp_path):
    root = tmp_path / "set"
    labelme.write(truth, root, pictures="copy")
    known = labelme.read(root)
    (root / "a.json").write_text("[1]")
    with pytest.raises(FormatError, match="must be a LabelMe file"):
        saving.save(known, root, "labelme", {known[0].id}, classes=False)
    assert (root / "a.json").read_text() == "[1]"


def test_new_classes(truth, tmp_path):
    yolo.write(truth, tmp_path / "y", pictures="copy")
    labelme.write(truth, tmp_path / "l", pictures="copy")
    for name in ("yolo", "labelme"):
        root = tmp_path / name[0]
        known = formats.read(root)
        saving.save(Dataset(known.records, ("cell", "no")), root, name, (), classes=True)
    content = yaml.load((tmp_path / "y" / "data.yaml").read_text(), yaml.BaseLoader)
    assert content["names"] == {"0": "cell", "1": "no"}
    assert content["train"] == "images/train"
    assert labelme.read(tmp_path / "l").classes == ("cell", "no")
