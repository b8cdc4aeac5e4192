"""Annotations back into the format that a folder has: COCO whole, LabelMe and YOLO picture by picture."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from delineate import atomic
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import coco, labelme, yolo
from delineate.formats._labelme_shapes import LINES
from delineate.formats._yolo_yaml import find, label_file


def save(dataset: Dataset, path: Path, format: str, changed: Collection[int | str], *, classes: bool) -> None:  # noqa: A002
    """Write what changed.

    A COCO file is replaced in one step. Of LabelMe and YOLO each changed picture's own file is replaced in one step;
    LabelMe's points, lines and "__ignore__" shapes stay.

    Args:
        dataset: All annotations.
        path: The file, or the folder of LabelMe or YOLO.
        format: "coco", "labelme" or "yolo".
        changed: Ids of the records that changed.
        classes: Whether the classes changed.

    Raises:
        FormatError: What is there cannot be read any more, or a class cannot be named in the format.
        OSError: The disk is full or not writable.
    """
    if format == "coco":
        coco.write(dataset, path)
        return
    if format == "yolo" and classes:
        _save_yolo_classes(path, dataset.classes)
    for record in dataset:
        if record.id in changed and record.path is not None:
            if format == "labelme":
                _save_labelme(record, dataset.classes)
            else:
                _save_yolo(record, dataset.classes)
    if format == "labelme" and classes:
        _save_labelme_classes(path / "labels.txt", dataset.classes)


def files(dataset: Dataset, path: Path, format: str, changed: Collection[int | str]) -> list[Path]:  # noqa: A002
    """The files that `save` would replace for these records, whether they exist or not.

    Args:
        dataset: As for `save`.
        path: As for `save`.
        format: As for `save`.
        changed: As for `save`.
    """
    if format == "coco":
        return [path]
    pictures = [record.path for record in dataset if record.id in changed and record.path is not None]
    return [found for picture in pictures if (found := place(picture, format)) is not None]


def place(picture: Path, format: str) -> Path | None:  # noqa: A002
    """Where the annotations of one picture are, in formats that have a file for each.

    >>> place(Path("images/b.png"), "labelme").as_posix(), place(Path("images/b.png"), "yolo").as_posix()
    ('images/b.json', 'labels/b.txt')
    """
    if format == "coco":
        return None
    return picture.with_suffix(".json") if format == "labelme" else label_file(picture)


def _save_labelme(record: Record, classes: tuple[str, ...]) -> None:
    assert record.path is not None  # noqa: S101 - for the type checker
    target = record.path.with_suffix(".json")
    content: dict[str, Any] = _alone(labelme, record.replace(split=None), classes, "*.json", json.loads)
    content["imagePath"] = Path(os.path.relpath(record.path, target.parent)).as_posix()
    if target.is_file():
        try:
            former = json.loads(target.read_bytes())
            kept = [shape for shape in former["shapes"] if _is_kept(shape)]
            content = {key: value for key, value in former.items() if key not in content} | content
            content["flags"] = former.get("flags") or {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FormatError(target, "", f"must be a LabelMe file to be replaced, got: {error}.") from error
        content["shapes"] += kept
    atomic.write_bytes(target, json.dumps(content, ensure_ascii=False, indent=2).encode())


def _is_kept(shape: dict[str, Any]) -> bool:
    return shape.get("shape_type") in LINES or shape.get("label") == "__ignore__"


def _save_labelme_classes(path: Path, classes: tuple[str, ...]) -> None:
    former = path.read_text("utf-8-sig").splitlines() if path.is_file() else ["__ignore__", "_background_"]
    missing = [name for name in classes if name not in former]
    if missing:
        atomic.write_bytes(path, ("\n".join([*former, *missing]) + "\n").encode())


def _save_yolo(record: Record, classes: tuple[str, ...]) -> None:
    assert record.path is not None  # noqa: S101 - for the type checker
    target = label_file(record.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    text: bytes = _alone(yolo, record.replace(split=None), classes, "labels/**/*.txt", bytes)
    atomic.write_bytes(target, text)


def _save_yolo_classes(root: Path, classes: tuple[str, ...]) -> None:
    path = find(root)
    if path is None:
        raise FormatError(root, "", "folder must have a data.yaml, got none.")
    if path.name == "classes.txt":
        atomic.write_bytes(path, ("\n".join(classes) + "\n").encode())
        return
    content: dict[str, Any] = yaml.load(path.read_text("utf-8-sig"), yaml.BaseLoader)
    content |= {"names": dict(enumerate(classes))}
    if "nc" in content:
        content["nc"] = len(classes)
    atomic.write_bytes(path, yaml.safe_dump(content, allow_unicode=True, sort_keys=False).encode())


def _alone(module: Any, record: Record, classes: tuple[str, ...], pattern: str, parse: Any) -> Any:  # noqa: ANN401
    """What a folder format writes for one picture."""
    options = {"side_file": False} if module is yolo else {}
    with tempfile.TemporaryDirectory(prefix="delineate-") as folder:
        target = Path(folder, "one")
        module.write(Dataset((record,), classes), target, pictures="leave", **options)
        return parse(next(target.glob(pattern)).read_bytes())
