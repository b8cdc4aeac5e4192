import json
from pathlib import Path

import pytest
from PIL import Image

from delineate import formats
from delineate.errors import FormatError


def test_the_folder_is_the_registry():
    folder = Path(formats.__file__).parent
    modules = {path.stem for path in folder.glob("*.py") if path.stem[0] != "_"}
    assert formats.names() == sorted(modules - {"coco_panoptic", "cityscapes_panoptic", "class_maps"}), (
        "which holds no Dataset"
    )
    for name in formats.names():
        assert set(formats.KEEPABLE) >= formats.get(name).KEEPS, name
        assert formats.get(name).SUFFIX in (
            "",
            *(f".{kind}" for kind in ("json", "xml", "txt", "csv", "parquet")),
        )


@pytest.mark.parametrize("name", formats.names())
def test_every_format_has_the_same_face(name):
    module = formats.get(name)
    assert all(callable(getattr(module, function)) for function in ("sniff", "read", "write"))
    assert module.__doc__


@pytest.mark.parametrize("name", ["os", "_coco_json", "coco.read", "", "../coco", "coco_panoptic"])
def test_only_names_of_the_folder_are_imported(name):
    with pytest.raises(ValueError, match=r"name must be one of .*coco"):
        formats.get(name)


def test_a_close_name_is_suggested():
    with pytest.raises(ValueError, match=r"got 'cocoo'. Did you mean 'coco'"):
        formats.get("cocoo")


def test_detect(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    assert formats.detect(path) == "coco"
    path.write_text("{}")
    with pytest.raises(FormatError, match=r"file must be in a known format .*coco"):
        formats.detect(path)
    with pytest.raises(FormatError, match=r"file must exist"):
        formats.detect(tmp_path / "b.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"images": [', r"a.json: file must be JSON, got: Input data was truncated\.$"),
        ("", r"a.json: file must be JSON, got: Input data was truncated\.$"),
        ("\ufeff[1, x]", r"a.json: file must be JSON, got: JSON is malformed: .*"),
        ('[{"image_id": 1, "category_id": 1, "score": 0.5}]', r"results list. It goes with its truth"),
        (
            '{"images": [], "annotations": [{"segments_info": []}]}',
            r"got panoptic segments\. `delineate eval`",
        ),
    ],
)
def test_what_no_format_knows_is_named(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_text(content, "utf-8")
    with pytest.raises(FormatError, match=message):
        formats.detect(path)


def test_folders_that_no_format_knows_are_named(tmp_path):
    with pytest.raises(FormatError, match=r"folder must hold a dataset, got an empty one"):
        formats.detect(tmp_path)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "a.json").write_text("{}")
    with pytest.raises(FormatError, match=r"must be in a known format .*got none of them"):
        formats.detect(tmp_path)
    content = json.dumps({"images": [], "annotations": [], "categories": []})
    (tmp_path / "annotations" / "b.json").write_text(content)
    with pytest.raises(FormatError, match=r"got one with others in it\. Name .*annotations.b\.json \(coco\)"):
        formats.detect(tmp_path)
    (tmp_path / "train" / "masks").mkdir(parents=True)
    Image.new("L", (4, 3)).save(tmp_path / "train" / "masks" / "a.png")
    (tmp_path / "up").mkdir()
    (tmp_path / "train").rename(tmp_path / "up" / "train")
    with pytest.raises(FormatError, match=r"Name .*up \(label_maps\)"):
        formats.detect(tmp_path)


@pytest.mark.parametrize("name", formats.names())
def test_the_page_on_formats_has_its_row(name):
    page = Path(__file__).parents[2] / "docs" / "formats.md"
    rows = [line for line in page.read_text("utf-8").splitlines() if line.startswith(f"| {name} |")]
    lost = ", ".join(sorted(set(formats.KEEPABLE) - formats.get(name).KEEPS)) or "nothing"
    assert len(rows) == 1, f"docs/formats.md needs the row | {name} | what it is recognised by | {lost} |"
    assert rows[0].endswith(f"| {lost} |"), f"the row must end with | {lost} |"
