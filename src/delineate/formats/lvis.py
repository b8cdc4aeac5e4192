"""LVIS v1: COCO instances of which each picture is annotated for some classes only (https://www.lvisdataset.org).

::

    {"images": [{"id": 5, "coco_url": "http://.../val2017/a.jpg", "height": 480, "width": 640,
                 "neg_category_ids": [3], "not_exhaustive_category_ids": [1]}],
     "categories": [{"id": 1, "name": "nucleus", "frequency": "r", "image_count": 4, "synonyms": ["nucleus"]}],
     "annotations": [{"id": 7, "image_id": 5, "category_id": 1, "area": 20.0, "bbox": [2, 1, 5, 4],
                      "segmentation": [[2, 1, 7, 1, 7, 5, 2, 5]]}]}

Of the classes of "neg_category_ids" there is nothing in the picture; of "not_exhaustive_category_ids" there is more
than what is annotated; of classes that are neither there nor annotated nothing is known. "frequency" says in how many
training pictures a class occurs: r(are) up to 10, c(ommon) up to 100, f(requent). Results are COCO's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import _coco_json as coco_json
from delineate.formats import _json_outline as json_outline
from delineate.formats import coco

KEEPS = coco.KEEPS
"""What ``read(write(dataset))`` preserves: what COCO does, and what is known of classes in pictures."""
SUFFIX = ".json"

_KEYS = {
    "neg_category_ids": "negative_classes",
    "not_exhaustive_category_ids": "not_exhaustive_classes",
}
"""Key of the file -> key of ``Record.attributes``."""


class _Classes(msgspec.Struct):
    categories: list[coco_json.Category]


def sniff(path: str | Path) -> bool:
    """Whether the file looks like LVIS: COCO instances with negative categories, or with frequencies.

    Args:
        path: Any file.
    """
    keys = json_outline.values(path) or {}
    lists = [keys.get(name, b"") for name in ("images", "categories", "annotations")]
    return all(text.startswith(b"[") for text in lists) and coco_json.is_federated(lists[0], lists[1])


def read(path: str | Path, images: str | Path | None = None) -> Dataset:
    """Read an LVIS file as `coco.read` does.

    What is known of the classes of a picture comes as names: ``Record.attributes["negative_classes"]`` and
    ``["not_exhaustive_classes"]`` are lists in the order of the file; an empty one is left out.
    ``Dataset.attributes["categories"]`` has the "frequency" of each class.

    Args:
        path: The JSON file.
        images: The folder that file names are relative to. Where there is no "file_name", the end of "coco_url"
            is the name (val2017/a.jpg). None to look beside the file, as `coco.read` does.

    Raises:
        FormatError: The file is missing, not JSON, or contradicts itself; the message names the place.
    """
    path = Path(path)
    dataset = coco.read(path, images)
    ordered = sorted(coco_json.load(path, _Classes).categories, key=lambda category: category.id)
    if len(set(dataset.classes)) < len(ordered):
        twice = Counter(dataset.classes).most_common(1)[0][0]
        raise FormatError(path, "categories", f"names must be unique, got {twice!r} more than once.")
    names = {category.id: category.name for category in ordered}
    places = [str(root) for root in coco.roots(path, images)]
    return dataset.with_records(_named(path, record, names, places) for record in dataset)


def write(
    dataset: Dataset,
    path: str | Path,
    *,
    segmentations: Literal["rle", "polygons"] = "rle",
    images: str | Path | None = None,
) -> None:
    """Write an LVIS file; the same dataset always gives the same bytes.

    As `coco.write`, and every picture has "neg_category_ids" and "not_exhaustive_category_ids", empty where
    the record does not say. Frequencies come from ``Dataset.attributes["categories"]``. LVIS has no crowds: its
    own tools take them for objects.

    Args:
        dataset: What to write.
        path: The JSON file; replaced in one step.
        segmentations: As `coco.write` has it.
        images: As `coco.write` has it.

    Raises:
        ValueError: Two classes have one name, or a record names a class that the dataset does not have.
    """
    ids = {name: n for n, name in enumerate(dataset.classes, 1)}
    if len(ids) < len(dataset.classes):
        twice = Counter(dataset.classes).most_common(1)[0][0]
        raise ValueError(f"lvis.write: classes must have different names, got {twice!r} more than once")
    numbered = dataset.with_records(_numbered(record, ids) for record in dataset)
    coco.write(numbered, path, segmentations=segmentations, images=images)


def read_results(path: str | Path, truth: str | Path) -> Dataset:
    """Read a results list for the pictures of an LVIS file: that of COCO, see `coco.read_results`.

    Args:
        path: The JSON list.
        truth: The LVIS file with the pictures and categories that the ids mean.

    Raises:
        FormatError: The list does not fit the truth; the message names the place.
    """
    return coco.read_results(path, truth)


def _named(path: Path, record: Record, names: Mapping[int, str], places: Sequence[str]) -> Record:
    """The record with class names in place of category ids, and with the path that its address means."""
    attributes: dict[str, Any] = dict(record.attributes)
    for key, name in _KEYS.items():
        ids = attributes.pop(key, [])
        if not isinstance(ids, list) or any(not isinstance(one, int) or one not in names for one in ids):
            wrong = next((one for one in ids if one not in names), ids) if isinstance(ids, list) else ids
            text = f"{key} must be a list of ids of categories, got {wrong!r}."
            raise FormatError(path, f"image {record.id}", text)
        if ids:
            attributes[name] = [names[one] for one in ids]
    address = attributes.get("coco_url")
    picture = record.path
    if picture is None and isinstance(address, str):
        end = PurePosixPath(urlsplit(address).path).parts[-2:]
        picture = coco_json.resolve("/".join(part for part in end if part not in ("/", "..")), places)
    return record.replace(path=picture, attributes=attributes)


def _numbered(record: Record, ids: Mapping[str, int]) -> Record:
    """The record with category ids in place of class names."""
    attributes: dict[str, Any] = dict(record.attributes)
    for key, name in _KEYS.items():
        names: Any = attributes.pop(name, ())
        unknown = [one for one in names if one not in ids]
        if unknown:
            raise ValueError(
                f"lvis.write: {name} of record {record.id!r} must be classes of the dataset, got {unknown[0]!r}"
            )
        attributes[key] = [ids[one] for one in names]
    return record.replace(attributes=attributes)
