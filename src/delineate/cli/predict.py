"""``delineate predict``: pictures in; overlays, a COCO file and a table of objects out."""

from __future__ import annotations

import glob
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import Parameter
from numpy.typing import NDArray

from delineate._coco_names import CLASSES, GAPS
from delineate.cli._progress import track
from delineate.cli._published import ready
from delineate.cli._text import Named
from delineate.dataset import Dataset, Record
from delineate.draw import draw
from delineate.errors import FormatError
from delineate.formats import coco
from delineate.image import SUFFIXES, read_image, write_image
from delineate.instances import Instances
from delineate.measure import write_csv
from delineate.predict import Predictor


@dataclass(frozen=True)
class _Done:
    """A picture that was segmented, and the overlay that is being written."""

    record: Record
    overlay: Future[None] | None


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
            "default nuclei; with --text the promptable click. Promptable files: ENCODER.onnx,DECODER.onnx."
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
        bool, Parameter(negative="", help="predictions.json as a bare COCO results list.")
    ] = False,
    overlays: Annotated[bool, Parameter(help="Draw the pictures with their objects.")] = True,
) -> int:
    """Segments pictures; see `delineate predict --help`."""
    paths, failures = _find(images, out / "overlays")
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
    predictor: Predictor | Named
    if text:
        predictor = Named(
            text,
            encoder,
            model or "click",
            accepted=accept_licence,
            offline=offline,
            score=score,
            most=max_detections,
        )
    else:
        ready(model or "nuclei", accept_licence, offline=offline)
        names = None if classes is None else _class_names(classes)
        predictor = Predictor(model or "nuclei", score=score, max_detections=max_detections, classes=names)
    if overlays:
        (out / "overlays").mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    records = []
    with ThreadPoolExecutor(2, thread_name_prefix="pictures") as pool:
        found = _segment(paths, predictor, out if overlays else None, pool, failures)
        pending: list[_Done] = []
        for done in track(found, "Segmenting", len(paths)):
            pending.append(done)
            while len(pending) > 4 or (pending and _is_written(pending[0])):
                records.append(_finish(pending.pop(0)))
        records += [_finish(done) for done in pending]
    dataset = Dataset(tuple(records), predictor.classes)
    if coco_results:
        coco.write_results(dataset, out / "predictions.json")
    else:
        coco.write(dataset, out / "predictions.json")
    pictures = ((str(record.path), record.instances) for record in dataset)
    objects = write_csv(out / "objects.csv", pictures, predictor.classes, pixel_size=sides)
    for failure in failures:
        sys.stderr.write(f"delineate predict: skipped {failure}\n")
    sys.stdout.write(
        f"{len(dataset)} pictures, {objects} objects, {time.monotonic() - started:.1f} s -> {out}"
        + (f" ({len(failures)} skipped)" if failures else "")
        + "\n"
    )
    return 0 if not failures else 1 if len(dataset) else 2


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


def _find(images: Iterable[str], overlays: Path) -> tuple[list[Path], list[str]]:
    """Pictures named by files, folders and patterns, each once, in the order given; and what does not exist.

    The overlays of an earlier run are no pictures to segment, where a folder holds both.
    """
    paths: dict[Path, None] = {}
    missing = []
    for image in images:
        path = Path(image)
        if path.is_dir():
            found = sorted(
                child
                for child in path.rglob("*")
                if child.suffix.lower() in SUFFIXES and child.parent.resolve() != overlays.resolve()
            )
        elif path.exists():
            found = [path]
        else:
            found = sorted(Path(match) for match in glob.glob(image, recursive=True))  # noqa: PTH207 (absolute too)
            if not found:
                missing.append(f"{image}: no such file, folder or pattern.")
        paths |= dict.fromkeys(path for path in found if path.is_file())
    return list(paths), missing


def _segment(
    paths: list[Path],
    predictor: Predictor | Named,
    out: Path | None,
    pool: ThreadPoolExecutor,
    failures: list[str],
) -> Iterator[_Done]:
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
        instances = predictor.predict(image)
        overlay = (
            pool.submit(_write_overlay, image, instances, predictor, out / "overlays" / names[index])
            if out
            else None
        )
        yield _Done(Record(path, instances.size, instances, index + 1), overlay)


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


def _write_overlay(
    image: NDArray[np.uint8], instances: Instances, predictor: Predictor | Named, path: Path
) -> None:
    write_image(path, draw(image, instances, predictor.classes))


def _is_written(done: _Done) -> bool:
    return done.overlay is None or done.overlay.done()


def _finish(done: _Done) -> Record:
    """Waits for the overlay; a disk that is full or a folder that is not writable ends the run."""
    if done.overlay is not None:
        done.overlay.result()
    return done.record
