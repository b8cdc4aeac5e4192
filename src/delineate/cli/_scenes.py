"""What models that name every pixel leave behind: panoptic files, class maps, tables. Serves `predict`."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from delineate import atomic
from delineate.algebra import to_label_map
from delineate.draw import draw
from delineate.formats import coco_panoptic
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.measure import write_csv
from delineate.panoptic import Panoptic, PanopticDataset, PanopticRecord
from delineate.postprocess.panoptic import Rules, combine
from delineate.predict import Predictor
from delineate.shape import PixelSize

Drawing: TypeAlias = Callable[[], NDArray[np.uint8]]
"""Draws an overlay, whenever there is time for it."""

MOST_CLASSES = 30  # of the table that is printed


class Scene(NamedTuple):
    """A panoptic picture as runs, so that many fit into memory."""

    segments: Instances
    things: NDArray[np.bool_]

    @classmethod
    def of(cls, picture: Panoptic) -> Scene:
        return cls(picture.to_instances(stuff=True), picture.things)

    def painted(self) -> Panoptic:
        """The map again."""
        found = self.segments
        if found.masks is None or found.ids is None:
            raise ValueError("Scene: segments must have masks and ids")
        map_ = to_label_map(found.masks, found.ids, dtype=np.uint32).astype(np.int32)
        return Panoptic(map_, found.ids.astype(np.int32), found.labels, self.things, scores=found.scores)


class Scenes:
    """How a model's pictures are looked at and written.

    Args:
        predictor: A panoptic or a semantic model.
        rules: What becomes a segment, of panoptic models.
    """

    def __init__(self, predictor: Predictor, rules: Rules) -> None:
        self._predictor, self._rules = predictor, rules
        self._semantic = predictor.decode == "semantic"
        self._names = [*predictor.classes, *predictor.stuff]

    def look(self, image: NDArray[np.uint8]) -> tuple[Scene, Drawing]:
        """What a picture shows, and what draws it."""
        found = self._classes(image) if self._semantic else self._predictor.panoptic(image, self._rules)
        unnamed = int(found.labels.max(initial=-1)) + 1 - len(self._names)
        self._names += [f"stuff {len(self._names) + n}" for n in range(unnamed)]
        return Scene.of(found), lambda: draw(image, found, self._names, legend=True)

    def _classes(self, image: NDArray[np.uint8]) -> Panoptic:
        """Every class that shows as a segment of stuff; the background is void."""
        found = self._predictor.class_map(image)
        size = found.classes.shape[0], found.classes.shape[1]
        nothing = Instances.of(Masks.empty(size), np.zeros(0, np.int64), np.zeros(0, np.float32))
        labels = np.arange(len(self._predictor.classes) + 1) - 1
        return combine(nothing, found, labels, Rules(stuff_area=0))

    def write(self, found: Sequence[tuple[Path, Scene]], out: Path, pixel_size: PixelSize | None) -> str:
        """The files of all pictures.

        Args:
            found: The pictures and what was found in each.
            out: The folder.
            pixel_size: As `measure.write_csv` takes it.

        Returns:
            What to print: a line, and a table of the classes.
        """
        names = tuple(self._names)
        things = tuple(not self._semantic and n < len(self._predictor.classes) for n in range(len(names)))
        records = [
            PanopticRecord(path, scene.segments.size, scene.painted, n)
            for n, (path, scene) in enumerate(found, 1)
        ]
        coco_panoptic.write(PanopticDataset(tuple(records), names, things), out / "predictions.json")
        objects = 0
        if not self._semantic:
            pictures = ((str(path), scene.segments[scene.things]) for path, scene in found)
            objects = write_csv(out / "objects.csv", pictures, names, pixel_size=pixel_size)
        rows = [row for path, scene in found for row in _rows(path, scene, names)]
        _write_table(out / "classes.csv", rows)
        if self._semantic:
            _write_maps(out, found, self._predictor.classes)
        head = f"{len({row.name for row in rows})} classes" if self._semantic else f"{objects} objects"
        total = sum(scene.segments.size[0] * scene.segments.size[1] for _, scene in found)
        return f"{head}\n{_table(rows, total)}"


def scene_of(predictor: Predictor, score: float | None, stuff_area: int | None) -> Scenes | None:
    """How a model that names every pixel is used; None for the others, which find objects."""
    if predictor.decode not in ("panoptic", "semantic"):
        return None
    given = {"score": score, "stuff_area": stuff_area}
    changed = {name: value for name, value in given.items() if value is not None}
    return Scenes(predictor, msgspec.structs.replace(predictor.card.panoptic, **changed))


class _Row(NamedTuple):
    """What a picture shows of a class."""

    picture: str
    name: str
    kind: str  # thing, stuff
    objects: int | None
    area: int
    share: float


def _rows(path: Path, scene: Scene, names: Sequence[str]) -> Iterator[_Row]:
    """A row per class that shows, in the order of the classes."""
    found = scene.segments
    if found.masks is None:
        return
    areas = found.masks.areas
    for label in np.unique(found.labels).tolist():
        own = found.labels == label
        area, thing = int(areas[own].sum()), bool(scene.things[own][0])
        share = area / (found.size[0] * found.size[1])
        count = int(own.sum()) if thing else None
        yield _Row(str(path), names[label], "thing" if thing else "stuff", count, area, share)


def _write_table(path: Path, rows: Sequence[_Row]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["picture", "class", "kind", "objects", "area_px", "share"])
    for row in rows:
        count = "" if row.objects is None else row.objects
        writer.writerow([row.picture, row.name, row.kind, count, row.area, f"{row.share:.6f}"])
    atomic.write_bytes(path, text.getvalue().encode())


def _write_maps(out: Path, found: Sequence[tuple[Path, Scene]], classes: Sequence[str]) -> None:
    """Pictures of class numbers, 0 the background, named as coco_panoptic names its maps; and what they mean."""
    folder = out / "class_maps"
    folder.mkdir(exist_ok=True)
    depth = np.uint8 if len(classes) < 255 else np.uint16
    stems = coco_panoptic.stems(path.stem for path, _ in found)
    for (_, scene), stem in zip(found, stems, strict=True):
        if scene.segments.masks is not None:
            array = to_label_map(scene.segments.masks, scene.segments.labels + 1, dtype=depth)
            with atomic.writing(folder / f"{stem}.png") as file:
                Image.fromarray(array).save(file, "PNG", compress_level=1)
    text = "".join(f"{name}\n" for name in ("background", *classes))
    atomic.write_bytes(out / "class_names.txt", text.encode())


def _table(rows: Sequence[_Row], pixels: int) -> str:
    """Classes over all pictures, things first, as lines; empty if they are too many."""
    kinds: dict[tuple[str, str], list[_Row]] = {}
    for row in rows:
        kinds.setdefault((row.kind, row.name), []).append(row)
    if not kinds or len(kinds) > MOST_CLASSES:
        return ""
    lines = []
    for (kind, name), own in kinds.items():
        area = sum(row.area for row in own)
        count = sum(row.objects or 0 for row in own)
        rank = (0, -count) if kind == "thing" else (1, -area)
        lines.append(
            (rank, name, kind, str(count) if kind == "thing" else "", f"{100 * area / pixels:.1f} %")
        )
    lines.sort()
    wide = max(5, *(len(name) for _, name, *_ in lines))
    head = f"{'class':{wide}}  {'kind':5}  {'objects':>7}  {'area':>7}\n"
    return head + "".join(
        f"{name:{wide}}  {kind:5}  {count:>7}  {share:>7}\n" for _, name, kind, count, share in lines
    )
