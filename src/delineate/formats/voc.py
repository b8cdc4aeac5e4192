"""Pascal VOC: palette pictures of objects and classes, and an XML file for each picture.

The layout of the development kit (http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/)::

    JPEGImages/a.jpg                SegmentationObject/a.png    the pixels of object 1 are 1, of object 2 are 2 ...
    Annotations/a.xml               SegmentationClass/a.png     the same pixels are the numbers of their classes
    ImageSets/Segmentation/train.txt                            names of pictures, one a line

    <annotation><size><width>500</width><height>375</height><depth>3</depth></size>
     <object><name>cat</name><difficult>0</difficult>
      <bndbox><xmin>1</xmin><ymin>20</ymin><xmax>90</xmax><ymax>80</ymax></bndbox></object></annotation>

0 is the background. 255 is void: borders and what nobody should be judged on. Void is no object when read, and crowd
regions become void when written. Boxes are inclusive and count from 1: xmin - 1 to xmax are x0 to x1 here. The n-th
object of the XML is object n of the pictures. Classes are those of class_names.txt (the background first), else VOC's
twenty.

Where there are XML files only, also beside their pictures as Roboflow exports them, objects have boxes and no masks.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from delineate import algebra, atomic
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import _pictures
from delineate.formats import _voc_files as voc_files
from delineate.formats._painting import hidden
from delineate.image import read_label_map, read_size
from delineate.instances import Instances
from delineate.masks import Masks

KEEPS = frozenset(
    {
        "masks",
        "holes",
        "parts",
        "empty masks",
        "boxes",
        "instance order",
        "class order",
        "empty pictures",
        "splits",
    }
)
"""What ``read(write(dataset))`` preserves. Of objects under others only what shows is kept."""
SUFFIX = ""

VOID = 255
CLASSES = (
    *(
        "aeroplane",
        "bicycle",
        "bird",
        "boat",
        "bottle",
        "bus",
        "car",
        "cat",
        "chair",
        "cow",
        "diningtable",
        "dog",
    ),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""VOC's own."""

_log = logging.getLogger("delineate")


def sniff(path: str | Path) -> bool:
    """Whether it is a folder of this layout, or one with VOC's XML files beside pictures, or in its folders.

    Args:
        path: Any file or folder.
    """
    try:
        return voc_files.is_tree(Path(path)) or voc_files.has_flat_files(Path(path))
    except OSError:
        return False


def read(path: str | Path) -> Dataset:
    """Read a folder of this layout; ids are 1, 2, ... in the order of splits and names.

    If there are pictures of objects, the dataset is what ImageSets/Segmentation lists and what has such a picture.
    Listed pictures without one are not annotated: they are left out, and the log says how many. Boxes come from the
    XML where its objects fit the pictures, else from the masks; objects of the XML alone have empty masks.
    ``extras["attributes"]`` holds what the XML says besides (difficult, truncated, occluded, pose ...). Pictures of
    colours (CVAT's exports) mean VOC's palette, and classes the colours of labelmap.txt.

    Args:
        path: The folder, "VOC2012" for instance.

    Raises:
        FormatError: There is no such folder, or a file does not fit; the message names the place.
    """
    path = Path(path)
    if not sniff(path):
        text = "must be a folder with JPEGImages and SegmentationObject or Annotations, or with XML files, got none."
        raise FormatError(path, "", text)
    entries = voc_files.tree(path) if voc_files.is_tree(path) else voc_files.flat(path)
    listed, colours = voc_files.class_names(path)
    shaped = any(entry.objects is not None for entry in entries)
    known = [None if entry.xml is None else voc_files.boxes(entry.xml) for entry in entries]
    classes = _classes(listed, known, shaped=shaped)
    records: list[Record] = []
    notices: Counter[str] = Counter()
    for entry, said in zip(entries, known, strict=True):
        if (entry.objects if shaped else said) is None:
            notices["pictures are not annotated; they are left out"] += 1
            continue
        if shaped:
            instances = _from_pictures(entry, said, classes, colours, notices)
        else:
            assert said is not None  # noqa: S101 - for the type checker
            instances = _from_boxes(entry, said, classes)
        records.append(Record(entry.picture, instances.size, instances, len(records) + 1, split=entry.split))
    for text, count in notices.items():
        if count:
            _log.warning("%s: %d %s", path, count, text)
    return Dataset(tuple(records), tuple(classes))


def _classes(listed: list[str] | None, known: Sequence[voc_files.Said | None], *, shaped: bool) -> list[str]:
    if listed is not None:
        return listed
    names = {one.name for said in known if said is not None for one in said.objects}
    return list(CLASSES) if shaped or names <= set(CLASSES) else sorted(names)


def _from_pictures(
    entry: voc_files.Entry,
    said: voc_files.Said | None,
    classes: Sequence[str],
    colours: NDArray[np.uint8],
    notices: Counter[str],
) -> Instances:
    """The objects of SegmentationObject, with what the XML says of them if it fits."""
    assert entry.objects is not None  # noqa: S101 - for the type checker
    size = read_size(entry.picture) if entry.picture.is_file() else None
    array = read_label_map(entry.objects, size, voc_files.palette())
    masks, values = algebra.from_label_map(np.where(array == VOID, 0, array).astype(array.dtype))
    labels = _labels(entry, array, values, said, classes, colours)
    if said is None or not _fit(said, values, labels, classes):
        if said is not None:
            notices["XML files have other objects than their pictures; boxes are those of the masks"] += 1
        return Instances.of(masks, labels)
    # Objects that are wholly under others are in the XML only: they keep their place, with an empty mask.
    at = np.full(len(said.objects), len(masks), np.int64)
    at[values.astype(np.int64) - 1] = np.arange(len(masks))
    nothing = Masks.from_counts([masks.size[0] * masks.size[1]], [0, 1], masks.size)
    notices["objects are in XML files only; their masks are empty"] += len(at) - len(masks)
    boxes = np.array([one.box for one in said.objects], np.float32).reshape(-1, 4)
    labels = np.array([classes.index(one.name) for one in said.objects], np.int64)
    texts = np.array([one.attributes for one in said.objects], np.str_)
    return Instances(
        masks.size, boxes, labels, masks=Masks.concat([masks, nothing])[at], extras={"attributes": texts}
    )


def _fit(
    said: voc_files.Said, values: NDArray[np.uint32], labels: NDArray[np.int64], classes: Sequence[str]
) -> bool:
    """Whether the XML has each object of the picture at its number and by its class, and no unknown class."""
    known = set(classes)
    if len(values) and int(values.max()) > len(said.objects):
        return False
    named = (said.objects[value - 1].name for value in values.tolist())
    same = all(name == classes[label] for name, label in zip(named, labels, strict=True))
    return same and all(one.name in known for one in said.objects)


def _labels(
    entry: voc_files.Entry,
    array: NDArray[Any],
    values: NDArray[np.uint32],
    said: voc_files.Said | None,
    classes: Sequence[str],
    colours: NDArray[np.uint8],
) -> NDArray[np.int64]:
    """The class of each object: what most of its pixels are in SegmentationClass, else what the XML says."""
    found = np.full(len(values), -1, np.int64)
    if entry.classes is not None:
        kinds = read_label_map(entry.classes, array.shape, colours)
        pairs, counts = np.unique(array.astype(np.int64) * 2**32 + kinds, return_counts=True)
        order = np.argsort(counts, kind="stable")  # so that the most frequent class is written last
        of = dict(zip((pairs[order] >> 32).tolist(), (pairs[order] & (2**32 - 1)).tolist(), strict=True))
        found = np.array([of[value] - 1 for value in values.tolist()], np.int64)
    elif said is not None:
        for n, value in enumerate(values.tolist()):
            if value <= len(said.objects) and said.objects[value - 1].name in classes:
                found[n] = classes.index(said.objects[value - 1].name)
    wrong = np.flatnonzero((found < 0) | (found >= len(classes)))
    if len(wrong):
        text = (
            f"object {values[wrong[0]]} must be of one of {len(classes)} classes, got {found[wrong[0]] + 1}. "
            "Write class_names.txt, the background first"
        )
        raise FormatError(entry.classes or entry.objects or entry.picture, "", text)
    return found


def _from_boxes(entry: voc_files.Entry, said: voc_files.Said, classes: Sequence[str]) -> Instances:
    size = said.size or read_size(entry.picture)
    names = {name: n for n, name in enumerate(classes)}
    for one in said.objects:
        if one.name not in names:
            raise FormatError(
                entry.xml or entry.picture, one.where, f"name must be a class, got {one.name!r}."
            )
    boxes = np.array([one.box for one in said.objects], np.float32).reshape(-1, 4)
    labels = np.array([names[one.name] for one in said.objects], np.int64)
    texts = np.array([one.attributes for one in said.objects], np.str_)
    return Instances(size, boxes, labels, extras={"attributes": texts})


def write(dataset: Dataset, path: str | Path, *, pictures: _pictures.Placing = "link") -> None:
    """Write the layout above and class_names.txt, which appear in one step.

    Later objects are on top, crowd regions become void below them. The log says how many objects lose pixels, or
    have none. Without masks, XML files alone are written.

    Args:
        dataset: What to write.
        path: The folder; it must be new or empty.
        pictures: "link" and "copy" put the pictures into JPEGImages; "leave" leaves that to you.

    Raises:
        FormatError: There are more than 254 objects in a picture or classes, a class or a split has a name that does
            not fit, or a picture is missing.
        FileExistsError: There is something in the folder.
    """
    path = Path(path)
    _check(dataset, path)
    shaped = any(record.instances.masks is not None for record in dataset) or not len(dataset)
    lists: dict[str, list[str]] = {}
    covered = 0
    with atomic.writing_folder(path) as root:
        for folder in (
            "JPEGImages",
            "Annotations",
            *(("SegmentationObject", "SegmentationClass") if shaped else ()),
        ):
            (root / folder).mkdir()
        for record, name in zip(dataset, _pictures.names(dataset, by_split=False), strict=True):
            stem, found = Path(name).stem, record.instances
            if record.path is not None:
                _pictures.place(record.path, root / "JPEGImages" / name, pictures)
            single = found if found.crowd is None else found[~found.crowd]
            if shaped:
                if found.masks is None or single.masks is None:
                    raise ValueError(
                        f"voc.write: instances must have masks in all records, got none in {record.name}"
                    )
                covered += hidden(single.masks)
                _write_maps(root, stem, found, single)
            texts = _attributes(single)
            xml = voc_files.dump(name, found.size, single, dataset.classes, texts)
            (root / "Annotations" / f"{stem}.xml").write_text(xml, "utf-8")
            if record.split is not None:
                lists.setdefault(_pictures.folder_name(path, record.split, "trainval"), []).append(stem)
        voc_files.write_lists(root, lists, dataset.classes, "Segmentation" if shaped else "Main")
    if covered:
        _log.warning("%s: %d objects lose pixels under later ones, or have none", path, covered)


def _check(dataset: Dataset, path: Path) -> None:
    if len(dataset.classes) >= VOID:
        raise FormatError(
            path, "", f"classes must be at most {VOID - 1}, got {len(dataset.classes)}. Use coco."
        )
    for name in dataset.classes:
        if len(name.splitlines()) != 1 or name != name.strip() or name in voc_files.NO_CLASSES:
            raise FormatError(path, "", f"class must have a name of one line, got {name!r}. Rename it.")
    for record in dataset:
        if len(record.instances) >= VOID:
            text = f"objects must be at most {VOID - 1}, got {len(record.instances)}. Use label_maps or coco."
            raise FormatError(path, record.name, text)


def _write_maps(root: Path, stem: str, found: Instances, single: Instances) -> None:
    """Both pictures: void first, then the objects."""
    assert found.masks is not None  # noqa: S101 - for the type checker
    assert single.masks is not None  # noqa: S101
    crowd = Masks.empty(found.size) if found.crowd is None else found.masks[found.crowd]
    masks = Masks.concat([crowd, single.masks])
    void = np.full(len(crowd), VOID, np.int64)
    numbers = {"Object": np.arange(1, len(single) + 1), "Class": single.labels + 1}
    for kind, values in numbers.items():
        array = algebra.to_label_map(masks, np.concatenate([void, values]), dtype=np.uint8)
        voc_files.write_palette(root / f"Segmentation{kind}" / f"{stem}.png", array)


def _attributes(found: Instances) -> list[dict[str, object]]:
    texts = found.extras.get("attributes")
    return [{} for _ in range(len(found))] if texts is None else [json.loads(str(text)) for text in texts]
