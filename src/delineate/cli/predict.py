"""``delineate predict``: pictures in; overlays, a file of what was found and tables out."""

from __future__ import annotations

import glob
import importlib.util
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
from cyclopts import Parameter
from numpy.typing import NDArray

from delineate._coco_names import CLASSES, GAPS
from delineate.cli._everything import Everything, promptable
from delineate.cli._progress import track
from delineate.cli._scenes import Drawing, Scene, scene_of
from delineate.cli._text import Named
from delineate.dataset import Dataset, Record
from delineate.draw import draw
from delineate.errors import FormatError, MissingExtra
from delineate.formats import coco
from delineate.image import SUFFIXES, read_image, write_image
from delineate.instances import Instances
from delineate.measure import write_csv
from delineate.predict import Predictor

CHECKPOINTS = (".safetensors", ".pt", ".pth", ".pkl")
"""Of files that torch reads; all others are ONNX."""

Found = TypeVar("Found", Instances, Scene)


def predict_command(
    images: Annotated[
        tuple[str, ...], Parameter(help="Pictures, folders of pictures, or patterns such as 'a/*.png'.")
    ],
    /,
    *,
    out: Annotated[Path, Parameter(help="Folder for the results; made if missing.")],
    model: Annotated[
        str | None,
        Parameter(
            help="Name of an embedded or a published model (see `delineate models`), or path of an ONNX file. By "
            "default nuclei; with --text the promptable click. Promptable ones (files: ENCODER.onnx,DECODER.onnx) are "
            "asked for everything."
        ),
    ] = None,
    text: Annotated[
        tuple[str, ...],
        Parameter(negative="", help="Find what this names, such as 'red car'; may be given several times."),
    ] = (),
    encoder: Annotated[
        str,
        Parameter(
            help="What understands --text: a published encoder's name, or a folder of CLIP's ONNX files."
        ),
    ] = "clip-vit_b32",
    accept_licence: Annotated[
        str,
        Parameter(help="Licence of a published model's weights that you accept, if it is no permissive one."),
    ] = "",
    offline: Annotated[bool, Parameter(negative="", help="Never download a model.")] = False,
    score: Annotated[float | None, Parameter(help="Leave out objects with a lower score.")] = None,
    max_detections: Annotated[
        int | None, Parameter(help="At most so many objects a picture, the best ones.")
    ] = None,
    classes: Annotated[
        str | None,
        Parameter(
            help="Names of the model's classes: a text file with one a line, or 'coco' for COCO's ids 1 to 90."
        ),
    ] = None,
    pixel_size: Annotated[
        str | None,
        Parameter(help="Micrometres per pixel, or width,height of a pixel: measures in micrometres."),
    ] = None,
    coco_results: Annotated[
        bool, Parameter(negative="", help="predictions.json as a bare COCO results list of objects.")
    ] = False,
    objects: Annotated[
        bool,
        Parameter(
            negative="", help="Of models that name every pixel: objects alone, as other models give them."
        ),
    ] = False,
    stuff_area: Annotated[
        int | None, Parameter(help="Of panoptic models: stuff needs at least so many pixels of a picture.")
    ] = None,
    overlays: Annotated[bool, Parameter(help="Draw the pictures with what was found.")] = True,
) -> int:
    """Segments pictures; see `delineate predict --help`."""
    paths, failures = _find(images, out)
    if not paths and not failures:
        sys.stderr.write(
            "delineate predict: no pictures found. Name pictures, folders of pictures, or patterns.\n"
        )
        return 2
    sides = None if pixel_size is None else _pixel_sides(pixel_size)
    if pixel_size is not None and sides is None:
        sys.stderr.write(
            f"delineate predict: --pixel-size must be positive micrometres, or two such as 0.3,0.5, got {pixel_size}.\n"
        )
        return 2
    started = time.monotonic()
    if text:
        predictor: Predictor | Everything | Named = Named(
            text,
            encoder,
            model or "click",
            accepted=accept_licence,
            offline=offline,
            score=score,
            most=max_detections,
        )
    else:
        names = None if classes is None else _class_names(classes)
        predictor = _predictor(
            model or "nuclei",
            accept_licence,
            offline=offline,
            score=score,
            most=max_detections,
            classes=names,
        )
    if overlays:
        (out / "overlays").mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    drawn = out if overlays else None
    if isinstance(predictor, Predictor) and not objects and not coco_results:
        scenes = scene_of(predictor, score, stuff_area)
        if scenes is not None:
            seen = _results(paths, scenes.look, drawn, failures)
            return _end(len(seen), scenes.write(seen, out, sides), out, failures, started)
    found = _results(paths, partial(_objects, predictor), drawn, failures)
    records = (Record(path, one.size, one, n) for n, (path, one) in enumerate(found, 1))
    dataset = Dataset(tuple(records), predictor.classes)
    if coco_results:
        coco.write_results(dataset, out / "predictions.json")
    else:
        coco.write(dataset, out / "predictions.json")
    pictures = ((str(record.path), record.instances) for record in dataset)
    rows = write_csv(out / "objects.csv", pictures, predictor.classes, pixel_size=sides)
    return _end(len(dataset), f"{rows} objects", out, failures, started)


def _end(pictures: int, found: str, out: Path, failures: list[str], started: float) -> int:
    """Says what was done; the exit code."""
    for failure in failures:
        sys.stderr.write(f"delineate predict: skipped {failure}\n")
    head, _, table = found.partition("\n")
    skipped = f" ({len(failures)} skipped)" if failures else ""
    sys.stdout.write(
        f"{pictures} pictures, {head}, {time.monotonic() - started:.1f} s -> {out}{skipped}\n{table}"
    )
    return 0 if not failures else 1 if pictures else 2


def _predictor(
    model: str,
    accepted: str,
    *,
    offline: bool,
    score: float | None,
    most: int | None,
    classes: tuple[str, ...] | None,
) -> Predictor | Everything:
    """Of a name, a model file, or a checkpoint; promptable models are asked for everything."""
    if Path(model).suffix.lower() in CHECKPOINTS and Path(model).is_file():
        if importlib.util.find_spec("torch") is None:
            raise MissingExtra("torch", "torch")
        from delineate import trained

        return trained.predictor(model, score=score, max_detections=most, classes=classes)
    prompted = promptable(model, accepted, offline=offline)
    if prompted is not None:
        return Everything(prompted, score=score, most=most)
    return Predictor(model, score=score, max_detections=most, classes=classes)


def _pixel_sides(text: str) -> tuple[float, float] | None:
    """Width and height of "0.3" or "0.3,0.5"; None for anything else."""
    try:
        sides = [float(part) for part in text.split(",")]
    except ValueError:
        return None
    if len(sides) > 2 or not all(0 < side < float("inf") for side in sides):
        return None
    return sides[0], sides[-1]


def _class_names(given: str) -> tuple[str, ...]:
    """Names out of a file, empty lines at its end left out; of COCO's ids, those that mean nothing by number."""
    if given == "coco":
        names = iter(CLASSES)
        return tuple(f"class {label}" if label in GAPS else next(names) for label in range(1, 91))
    return tuple(line.strip() for line in Path(given).read_text("utf-8-sig").rstrip().splitlines())


def _find(images: Iterable[str], out: Path) -> tuple[list[Path], list[str]]:
    """Pictures named by files, folders and patterns, each once, in the order given; and what does not exist.

    What an earlier run left in `out` are no pictures to segment, where a folder holds both.
    """
    results = {(out / name).resolve() for name in ("overlays", "predictions", "class_maps")}
    paths: dict[Path, None] = {}
    missing = []
    for image in images:
        path = Path(image)
        if path.is_dir():
            found = sorted(
                child
                for child in path.rglob("*")
                if child.suffix.lower() in SUFFIXES and child.parent.resolve() not in results
            )
        elif path.exists():
            found = [path]
        else:
            found = sorted(Path(match) for match in glob.glob(image, recursive=True))  # noqa: PTH207 (absolute too)
            if not found:
                missing.append(f"{image}: no such file, folder or pattern.")
        paths |= dict.fromkeys(path for path in found if path.is_file())
    return list(paths), missing


def _objects(
    predictor: Predictor | Everything | Named, image: NDArray[np.uint8]
) -> tuple[Instances, Drawing]:
    """The objects of a picture, and what draws them."""
    found = predictor.predict(image)
    return found, lambda: draw(image, found, predictor.classes)


def _results(
    paths: list[Path],
    work: Callable[[NDArray[np.uint8]], tuple[Found, Drawing]],
    out: Path | None,
    failures: list[str],
) -> list[tuple[Path, Found]]:
    """What was found in each picture that can be read; overlays are drawn and written meanwhile."""
    results: list[tuple[Path, Found]] = []
    with ThreadPoolExecutor(2, thread_name_prefix="pictures") as pool:
        pending: list[Future[None]] = []
        for path, found, overlay in track(
            _segment(paths, work, out, pool, failures), "Segmenting", len(paths)
        ):
            results.append((path, found))
            pending += [] if overlay is None else [overlay]
            while len(pending) > 4 or (pending and pending[0].done()):
                pending.pop(0).result()  # a disk that is full or a folder that is not writable ends the run
        for overlay in pending:
            overlay.result()
    return results


def _segment(
    paths: list[Path],
    work: Callable[[NDArray[np.uint8]], tuple[Found, Drawing]],
    out: Path | None,
    pool: ThreadPoolExecutor,
    failures: list[str],
) -> Iterator[tuple[Path, Found, Future[None] | None]]:
    """Reads one picture ahead, segments, and hands the overlay to the pool."""
    names = _overlay_names(paths)
    ahead = pool.submit(read_image, paths[0]) if paths else None
    for index, path in enumerate(paths):
        reading, ahead = ahead, pool.submit(read_image, paths[index + 1]) if index + 1 < len(paths) else None
        try:
            image = reading.result() if reading else read_image(path)
        except FormatError as error:
            failures.append(str(error))
            continue
        found, drawing = work(image)
        target = None if out is None else out / "overlays" / names[index]
        yield path, found, None if target is None else pool.submit(_write_overlay, drawing, target)


def _overlay_names(paths: list[Path]) -> list[str]:
    """NAME.png for each picture; pictures of one name in several folders are numbered: NAME-2.png."""
    taken: set[str] = set()
    names = []
    for path in paths:
        name, number = path.stem, 1
        while name.lower() in taken:
            number += 1
            name = f"{path.stem}-{number}"
        taken.add(name.lower())
        names.append(f"{name}.png")
    return names


def _write_overlay(drawing: Drawing, path: Path) -> None:
    write_image(path, drawing())
