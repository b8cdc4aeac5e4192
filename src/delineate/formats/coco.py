"""COCO instances: one JSON file for all pictures (https://cocodataset.org/#format-data), and results lists.

::

    {"images": [{"id": 5, "file_name": "a.png", "height": 480, "width": 640}],
     "categories": [{"id": 1, "name": "nucleus"}],
     "annotations": [
      {"id": 7, "image_id": 5, "category_id": 1, "iscrowd": 0, "area": 20.0, "bbox": [2, 1, 5, 4],
       "segmentation": [[2, 1, 7, 1, 7, 5, 2, 5]]},
      {"id": 8, "image_id": 5, "category_id": 1, "iscrowd": 1, "area": 9, "bbox": [0, 0, 3, 3],
       "segmentation": {"size": [480, 640], "counts": [0, 3, 477, 3, 477, 3, 306237]}}]}

A segmentation is a list of polygons (parts of one object), or a run-length mask, compressed (str) or not
(list). Annotations may carry "score" (then the file holds predictions) and "track_id".

A results list is the bare form that evaluation servers take::

    [{"image_id": 5, "category_id": 1, "score": 0.9, "segmentation": {"size": [480, 640], "counts": "..."}}]
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from delineate import atomic
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import _coco_further as coco_further
from delineate.formats import _coco_json as coco_json
from delineate.formats import _coco_table as coco_table
from delineate.formats import _coco_write as coco_write
from delineate.formats import _json_outline as json_outline
from delineate.instances import Instances
from delineate.masks import Masks

KEEPS = frozenset(
    {"boxes", "masks", "holes", "parts", "overlaps", "empty masks", "crowd", "scores", "ids", "area"}
    | {"annotation_id", "instance order", "class order", "empty pictures", "picture ids"}
    | {"picture attributes", "info", "videos", "splits", "group", "z_order", "attributes"}
)
"""What ``read(write(dataset))`` preserves: all of it. Not kept: polygons as drawn (masks keep their pixels),
extras that `read` does not make, category ids."""
SUFFIX = ".json"

_log = logging.getLogger("delineate")

_OWN = {
    "area",
    "annotation_id",
    "bbox",
    "score",
    "group",
    "z_order",
    "attributes",
}  # the extras that reading makes and writing uses


def sniff(path: str | Path) -> bool:
    """Whether the file looks like COCO instances.

    That is a JSON object with the lists "images", "annotations" and "categories".

    Args:
        path: Any file.
    """
    keys = json_outline.values(path) or {}
    lists = [keys.get(name, b"") for name in ("images", "annotations", "categories")]
    panoptic = b'"segments_info"' in lists[1]
    # With "videos" it is CocoVID, which youtube_vis reads.
    others = panoptic or "videos" in keys or coco_json.is_federated(lists[0], lists[2])
    return all(text.startswith(b"[") for text in lists) and not others


def read(path: str | Path, images: str | Path | None = None) -> Dataset:
    """Read a COCO file.

    Records come in the order of "images", the instances of a picture in the order of "annotations". Labels
    are positions in the list of categories sorted by id. ``Record.attributes`` holds the other keys of the
    picture (without "split", "video" and "frame", which are its fields), ``Dataset.attributes`` "info",
    "licenses" and the other keys of the "categories", if there are any. Boxes come
    from "bbox", or from the mask where there is none; a missing "area" becomes the mask's
    (or the box's) area, missing annotation ids are numbered after the largest one. ``crowd`` is None for a
    picture without crowds. If no annotation of the file has a segmentation, all ``masks`` are None; if only
    some have, the others get empty masks, and the log says how many.

    The picture of an entry is looked for as ``images/NAME`` and ``NAME`` beside the JSON file, then in
    ``../images``, ``../images/SUBSET`` and ``../SUBSET`` (instances_SUBSET.json); it need not exist.

    Args:
        path: The JSON file.
        images: The folder that file names are relative to; None to look in the places above.

    Returns:
        The dataset; ``extras`` has "area" (float64), "annotation_id" (int64), and the file's numbers where
        `Instances` has 32 bits only: "bbox" ((N, 4) float64 x, y, width, height), "score" (float64). Where
        annotations have further keys, "group", "z_order" (int64) and "attributes" (JSON) keep them.

    Raises:
        FormatError: The file is missing, not JSON, or contradicts itself; the message names the place.
    """
    path = Path(path)
    with coco_json.opened(path) as file:
        scan = coco_table.scan(path, file)
        content = coco_json.load(path, coco_json.Content, None if scan is None else scan.head)
        categories, more = coco_json.categories(path, content.categories)
        classes, labels = coco_json.classes(path, categories)
        found = coco_json.pictures(path, content.images, roots(path, images))
        records = None if scan is None else coco_table.records(scan, found, labels)
    if records is None:  # something is unusual or wrong
        records = _annotated(path, found, labels)
    head = {"info": content.info, "licenses": content.licenses, "categories": more if any(more) else None}
    return Dataset(records, classes, {key: value for key, value in head.items() if value})


def write(
    dataset: Dataset,
    path: str | Path,
    *,
    segmentations: Literal["rle", "polygons"] = "rle",
    images: str | Path | None = None,
) -> None:
    """Write a COCO file; the same dataset always gives the same bytes.

    Category ids are 1, 2, ... in the order of the classes. Annotation ids come from the extra
    "annotation_id" (if unique throughout, else 1, 2, ...), areas from "area" (else from the mask or the box),
    and boxes and scores from "bbox" and "score" where they are the instances' own with more digits. Other
    extras are not written, and the log says so.

    Args:
        dataset: What to write.
        path: The JSON file; replaced in one step.
        segmentations: "rle" writes every mask as a compressed string. "polygons" writes the outlines of the
            pixels, and a compressed string where polygons cannot say the same pixels (holes, empty masks,
            crowds).
        images: The folder that file names shall be relative to; None for the folder of the JSON file.
    """
    if segmentations not in ("rle", "polygons"):
        raise ValueError(f"coco.write: segmentations must be 'rle' or 'polygons', got {segmentations!r}")
    path = Path(path)
    root = path.parent if images is None else Path(images)
    lost = {name for record in dataset for name in coco_write.extras(record)} - _OWN
    if lost:
        _log.warning("%s: COCO cannot hold the extras %s; they are left out", path, ", ".join(sorted(lost)))
    entries = [coco_write.image_entry(record, root) for record in dataset]
    # pycocotools refuses to load results against a file without "info".
    head = {"info": dataset.attributes.get("info", {}), "licenses": dataset.attributes.get("licenses", [])}
    annotations = coco_write.instances(dataset, polygons=segmentations == "polygons")
    with atomic.writing(path) as file:
        file.write(coco_write.encode(head)[:-1] + b',"images":[\n')
        file.writelines(coco_write.lines(entries))
        file.write(b'],"categories":[\n')
        file.writelines(coco_write.lines(coco_write.categories(dataset)))
        file.write(b'],"annotations":[\n')
        file.writelines(coco_write.lines(annotations))
        file.write(b"]}\n")


def read_results(path: str | Path, truth: str | Path) -> Dataset:
    """Read a results list: predictions for the pictures of a truth file.

    Args:
        path: The JSON list.
        truth: The COCO file with the pictures and categories that the ids mean.

    Returns:
        One record per picture of the truth, in its order, also where nothing was found. ``masks`` are None if
        the list has boxes only; ``extras["area"]`` is the area by which pycocotools sorts results into size
        ranges: the box's if the first result has a box, else the mask's.

    Raises:
        FormatError: The list does not fit the truth; the message names the place.
    """
    path, truth = Path(path), Path(truth)
    head = _head(truth)
    classes, labels = coco_json.classes(truth, head.categories)
    found = coco_json.pictures(truth, head.images, roots(truth))
    with coco_json.opened(path) as file:
        scan = coco_table.scan(path, file, results=True)
        records = None if scan is None else coco_table.records(scan, found, labels, results=True)
    if records is None:  # something is unusual or wrong
        records = _results(path, found, labels)
    return Dataset(records, classes)


def write_results(
    dataset: Dataset,
    path: str | Path,
    truth: str | Path | None = None,
    *,
    kind: Literal["masks", "boxes"] | None = None,
) -> None:
    """Write the predictions of a dataset as a results list; the same dataset always gives the same bytes.

    Args:
        dataset: Predictions: every non-empty record has scores.
        path: The JSON file; replaced in one step.
        truth: The COCO file whose ids to use: categories are matched by name, pictures by file name where the
            truth has exactly one of that name, else by id. None: record ids as they are, categories 1, 2, ...
        kind: "masks" writes segmentations only (as pycocotools wants them: with boxes beside them it would
            sort by the area of the box), "boxes" writes boxes only. None: masks where there are any.

    Raises:
        ValueError: Scores or masks are missing, or the truth lacks a picture or a class.
    """
    if kind not in (None, "masks", "boxes"):
        raise ValueError(f"coco.write_results: kind must be 'masks', 'boxes' or None, got {kind!r}")
    for record in dataset:
        if len(record.instances) and record.instances.scores is None:
            raise ValueError(
                f"coco.write_results: instances must have scores, got none in record {record.id!r}"
            )
        if len(record.instances) and kind == "masks" and record.instances.masks is None:
            raise ValueError(
                f"coco.write_results: instances must have masks, got none in record {record.id!r}"
            )
    ids, categories = _ids_of_truth(dataset, None if truth is None else Path(truth))
    with atomic.writing(path) as file:
        file.write(b"[\n")
        file.writelines(coco_write.lines(coco_write.results(dataset, ids, categories, boxes=kind == "boxes")))
        file.write(b"]\n")


def roots(path: Path, images: str | Path | None = None) -> list[Path]:
    """Where the pictures of a file may lie; the last one is the fallback.

    Args:
        path: The JSON file.
        images: The only place, if given.
    """
    if images is not None:
        return [Path(images)]
    folder, above = path.parent, path.parent / ".."
    subset = path.stem.partition("_")[2] or path.stem
    return [folder / "images", folder, above / "images", above / "images" / subset, above / subset, folder]


def _head(path: Path) -> coco_json.Head:
    with coco_json.opened(path) as file:
        return coco_json.load(path, coco_json.Head, coco_table.head(path, file))


def _annotated(
    path: Path, found: Sequence[coco_json.Picture], labels: Mapping[int, int]
) -> tuple[Record, ...]:
    """The records of a COCO file, or what is wrong with it."""
    entries = coco_json.load(path, coco_json.Content).annotations
    names = [
        f"annotations[{n}]" if entry.id is None else f"annotation {entry.id}"
        for n, entry in enumerate(entries)
    ]
    _number(path, entries)
    if any(entry.score is not None for entry in entries):
        _need_scores(path, entries, names)
    further = coco_further.columns(coco_json.load(path, coco_json.Loose).annotations)
    if further is None:
        raise FormatError(path, "annotations", "further keys must be JSON in UTF-8, got other bytes.")
    return _records(path, found, entries, names, labels, further=further)


def _results(path: Path, found: Sequence[coco_json.Picture], labels: Mapping[int, int]) -> tuple[Record, ...]:
    """The records of a results list, or what is wrong with it."""
    entries = coco_json.load(path, list[coco_json.Annotation])
    names = [f"result {n}" for n in range(len(entries))]
    _need_scores(path, entries, names)
    spans, boxed = coco_json.boxes(path, entries, names)
    areas = (spans[:, 2] * spans[:, 3]).tolist()
    for position, entry in enumerate(entries):  # as pycocotools' loadRes does it
        entry.id = position + 1
        entry.iscrowd = None
        entry.area = areas[position] if boxed[0] and boxed[position] else None
    return _records(path, found, entries, names, labels, scored=True)


def _number(path: Path, entries: Sequence[coco_json.Annotation]) -> None:
    """Check annotation ids and give one to those that have none."""
    given = [entry.id for entry in entries if entry.id is not None]
    if len(set(given)) < len(given):
        twice = Counter(given).most_common(1)[0][0]
        raise FormatError(path, f"annotation {twice}", "id must be unique, got it more than once.")
    if len(given) < len(entries):
        following = itertools.count(max([0, *given]) + 1)  # never 0, which pycocotools takes for none
        for entry in entries:
            if entry.id is None:
                entry.id = next(following)


def _need_scores(path: Path, entries: Sequence[coco_json.Annotation], names: Sequence[str]) -> None:
    for entry, name in zip(entries, names, strict=True):
        if entry.score is None:
            raise FormatError(path, name, "score must be a number (all entries have one, or none), got none.")


def _records(
    path: Path,
    found: Sequence[coco_json.Picture],
    entries: Sequence[coco_json.Annotation],
    names: Sequence[str],
    labels: Mapping[int, int],
    *,
    scored: bool = False,
    further: Mapping[str, NDArray[Any]] = MappingProxyType({}),
) -> tuple[Record, ...]:
    """One record per picture with its entries in file order."""
    groups: dict[int | str, list[int]] = {picture.id: [] for picture in found}
    for position, (entry, name) in enumerate(zip(entries, names, strict=True)):
        if entry.image_id not in groups:
            raise FormatError(path, name, f"image_id must be the id of a picture, got {entry.image_id!r}.")
        if entry.category_id not in labels:
            text = f"category_id must be the id of a category, got {entry.category_id}."
            raise FormatError(path, name, text)
        if entry.iscrowd not in (None, 0, 1):
            raise FormatError(path, name, f"iscrowd must be 0 or 1, got {entry.iscrowd}.")
        groups[entry.image_id].append(position)
    shaped = sum(map(coco_json.has_segmentation, entries))
    if 0 < shaped < len(entries):
        text = "%s: %d of %d entries have no segmentation; their masks are empty"
        _log.warning(text, path, len(entries) - shaped, len(entries))
    scored = scored or any(entry.score is not None for entry in entries)
    columns = coco_json.columns(path, entries, names, labels, scored=scored, need_boxes=not shaped)
    records = []
    for picture in found:
        at = groups[picture.id]
        masks = None
        if shaped or not entries:
            here = [entries[n] for n in at], [names[n] for n in at]
            masks = coco_json.masks(path, *here, picture.size)
        part = {name: column[at] for name, column in columns.items()}
        instances = _instances(part, masks, picture.size)
        more = {name: column[at] for name, column in further.items()}
        extras = {
            name: column.astype(str) if column.dtype == object else column for name, column in more.items()
        }
        instances = instances.replace(extras={**instances.extras, **extras})
        records.append(Record(picture.path, picture.size, instances, picture.id, **picture.fields))
    return tuple(records)


def _instances(part: dict[str, NDArray[Any]], masks: Masks | None, size: tuple[int, int]) -> Instances:
    """The entries of one picture, from their rows of the columns."""
    spans, areas, boxed = part["bbox"], part["area"], part["boxed"]
    if masks is not None and not boxed.all():
        tight = masks.boxes.astype(np.float64)
        spans = np.where(boxed[:, None], spans, np.hstack([tight[:, :2], tight[:, 2:] - tight[:, :2]]))
    unknown = np.isnan(areas)
    if unknown.any():
        areas = np.where(unknown, spans[:, 2] * spans[:, 3] if masks is None else masks.areas, areas)
    # Boxes and scores once more, with all bits of the file: evaluation must see what pycocotools sees.
    extras = {"area": areas, "annotation_id": part["id"], "bbox": spans}
    if "score" in part:
        extras["score"] = part["score"]
    return Instances(
        size,
        np.hstack([spans[:, :2], spans[:, :2] + spans[:, 2:]]),
        part["label"],
        part.get("score"),
        masks,
        part["crowd"] if part["crowd"].any() else None,
        part["track_id"] if part["tracked"].any() else None,
        extras,
    )


def _ids_of_truth(dataset: Dataset, truth: Path | None) -> tuple[dict[int | str, int | str], list[int]]:
    """The picture ids and category ids to write."""
    if truth is None:
        return {record.id: record.id for record in dataset}, list(range(1, len(dataset.classes) + 1))
    head = _head(truth)
    names, labels = coco_json.classes(truth, head.categories)
    ids_by_label = list(labels)
    used = {int(label) for record in dataset for label in record.instances.labels}
    missing = [name for label, name in enumerate(dataset.classes) if label in used and name not in names]
    if missing:
        raise ValueError(f"coco.write_results: classes must be categories of {truth}, got {missing[0]!r}")
    categories = [ids_by_label[names.index(name)] if name in names else -1 for name in dataset.classes]
    found = coco_json.pictures(truth, head.images, roots(truth))
    counts = Counter(picture.path.name for picture in found if picture.path is not None)
    by_name = {p.path.name: p.id for p in found if p.path is not None and counts[p.path.name] == 1}
    known = {picture.id for picture in found}
    ids: dict[int | str, int | str] = {}
    for record in dataset:
        ids[record.id] = by_name.get(record.path.name, record.id) if record.path is not None else record.id
        if ids[record.id] not in known:
            raise ValueError(f"coco.write_results: pictures must be in {truth}, got {record.name}")
    if len(set(ids.values())) < len(ids):
        twice = Counter(ids.values()).most_common(1)[0][0]
        raise ValueError(f"coco.write_results: pictures must be different in {truth}, got {twice!r} twice")
    return ids, categories
