"""What the page asks and what it is told: requests to responses, without sockets."""

from __future__ import annotations

import io
import logging
import re
import tempfile
import threading
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np

from delineate import formats, outline
from delineate.annotate import sheet
from delineate.annotate.naming import MAX_TEXT, Namer
from delineate.annotate.pictures import TILE, VIEW_SIDE, Gallery
from delineate.annotate.prompts import MAX_POINTS, Chooser, Engine, Prompt, Sessions
from delineate.annotate.sheet import Drop, EditError, Order, Put
from delineate.annotate.store import Conflict, Store
from delineate.curate import convert
from delineate.curate.losses import losses
from delineate.errors import DelineateError, FormatError

MAX_EDITS = 20_000
MAX_PROMPTS = 8
"""Prompts that may wait for a model at once; further ones are told to come again."""

EXPORTS = (
    "coco",
    "yolo",
    "labelme",
    "voc",
    "cvat",
    "label_studio",
    "via",
    "geojson",
    "label_maps",
    "png_per_object",
)
"""Formats that the page offers; the ones that hold masks and that people ask for."""

_log = logging.getLogger("delineate")


class Request(NamedTuple):
    """A request that may be answered: it came from our page.

    Attributes:
        method: "GET" or "POST".
        path: Without the query.
        query: Its parameters.
        body: Of a POST.
    """

    method: str
    path: str
    query: dict[str, str]
    body: bytes = b""


class Response(NamedTuple):
    """An answer.

    Attributes:
        status: HTTP status.
        body: Content.
        type: Media type.
        headers: Further ones.
    """

    status: int
    body: bytes
    type: str = "application/json"
    headers: Mapping[str, str] = MappingProxyType({})


class _Edits(msgspec.Struct, forbid_unknown_fields=True):
    revision: str
    edits: Annotated[list[Put | Drop | Order], msgspec.Meta(min_length=1, max_length=MAX_EDITS)]
    key: Annotated[str, msgspec.Meta(max_length=64)] = ""


class _Prompt(msgspec.Struct, forbid_unknown_fields=True):
    points: Annotated[list[tuple[float, float]], msgspec.Meta(max_length=MAX_POINTS)] = []
    labels: Annotated[list[Literal[0, 1]], msgspec.Meta(max_length=MAX_POINTS)] = []
    box: tuple[float, float, float, float] | None = None
    mask: str | None = None
    engine: str = ""


class _Outline(msgspec.Struct, forbid_unknown_fields=True):
    counts: str
    overlap: Annotated[float, msgspec.Meta(ge=0.5, le=1)] = 0.98


class _Name(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class _Done(msgspec.Struct, forbid_unknown_fields=True):
    done: bool


class _Find(msgspec.Struct, forbid_unknown_fields=True):
    text: Annotated[str, msgspec.Meta(max_length=MAX_TEXT)] = ""


class Service:
    """Everything behind the page of one folder. Safe to use from several threads.

    Args:
        store: The annotations.
        gallery: The pictures.
        engines: What answers prompts, at least one; the first one is used unless the page asks for another. A
            `Chooser` among them also finds objects by itself.
        namer: What finds objects by texts; None = nothing does.
    """

    def __init__(
        self, store: Store, gallery: Gallery, engines: Sequence[Engine], namer: Namer | None = None
    ) -> None:
        self.store, self.gallery, self.namer = store, gallery, namer
        known = (*engines, *([] if namer is None else [namer]))
        self._sessions = {engine.name: Sessions(engine, gallery.pixels) for engine in known}
        self.engines = tuple(engines)
        self._room = threading.BoundedSemaphore(MAX_PROMPTS)
        self.chooser = next((engine for engine in engines if isinstance(engine, Chooser)), None)

    def answer(self, request: Request) -> Response:
        """The response; what goes wrong becomes a status and {"error": what}."""
        try:
            for method, pattern, answer in _ROUTES:
                found = pattern.fullmatch(request.path)
                if found and method == request.method:
                    return answer(self, request, *(int(text) for text in found.groups()))
            return failure(404, "there is nothing here.")
        except KeyError:
            return failure(404, "there is no such picture.")
        except Conflict as error:
            return failure(409, str(error))
        except msgspec.MsgspecError as error:
            return failure(400, f"body must be what this route takes: {error}.")
        except (EditError, ValueError) as error:
            return failure(422, str(error))
        except FormatError as error:
            return failure(422, f"{error.path.name}: {error.message}")
        except DelineateError as error:
            return failure(503, str(error))
        except OSError as error:
            return failure(507, f"not saved: {error.strerror or error}.")
        except Exception as error:  # noqa: BLE001 - whatever a model raises, the page must hear of it
            _log.exception("%s: a request failed", request.path)
            return failure(500, f"the server failed: {type(error).__name__}: {error}")

    def _folder(self, _: Request) -> Response:
        store = self.store
        return _json(
            {
                "boot": store.boot,
                "name": store.root.resolve().name,
                "format": store.source.format,
                "file": store.source.path.name,
                "origin": None if store.source.origin is None else store.source.origin.name,
                "classes": store.classes,
                "pictures": store.entries(),
                "engines": [{"name": engine.name, "kind": engine.kind} for engine in self.engines],
                "model": None if self.chooser is None else self.chooser.name,
                "texts": self.namer is not None,
                "problem": store.problem,
                "exports": EXPORTS,
            }
        )

    def _engine(self, name: str) -> Sessions:
        if name not in self._sessions:
            raise ValueError(f"engine must be one of {', '.join(self._sessions)}.")
        return self._sessions[name]

    def _picture(self, request: Request, number: int) -> Response:
        with self.store.reading():
            one, revision = self.store.sheet(number), self.store.revision(number)
            items = list(one.items.items())
        version = self.gallery.version(number)
        self._engine(request.query.get("engine", self.engines[0].name)).prepare(number, version)
        return _json(
            {
                "number": number,
                "height": one.size[0],
                "width": one.size[1],
                "revision": revision,
                "version": version,
                "view": VIEW_SIDE,
                "tile": TILE,
                "items": [_shown(uid, item) for uid, item in items],
            }
        )

    def _status(self, request: Request, number: int) -> Response:
        """How far the engine is with the picture; asking for it starts it."""
        sessions, version = (
            self._engine(request.query.get("engine", self.engines[0].name)),
            self.gallery.version(number),
        )
        if sessions.state(number, version) == "none":  # one that failed is not tried again by looking
            sessions.prepare(number, version)
        state = sessions.state(number, version)
        return _json({"state": state, "revision": self.store.revision(number), "problem": self.store.problem})

    def _edits(self, request: Request, number: int) -> Response:
        edits = msgspec.json.decode(request.body, type=_Edits)
        revision = self.store.edit(number, edits.revision, edits.key, edits.edits)
        return _json({"revision": revision})

    def _review(self, request: Request, number: int) -> Response:
        self.store.review(number, msgspec.json.decode(request.body, type=_Done).done)
        return _json({})

    def _prompt(self, request: Request, number: int) -> Response:
        given = msgspec.json.decode(request.body, type=_Prompt)
        size = self.store.sheet(number).size
        points = np.array(given.points, np.float64).reshape(-1, 2)
        labels = np.array(given.labels, np.int64)
        if len(labels) != len(points):
            raise ValueError("prompt: labels must be 0 or 1, one for each point.")
        corners = np.array([*given.points, *([given.box[:2], given.box[2:]] if given.box else [])]).reshape(
            -1, 2
        )
        if not (np.isfinite(corners).all() and (corners >= 0).all() and (corners <= size[::-1]).all()):
            raise ValueError(f"prompt: points and box must lie in the picture {size[1]} x {size[0]}.")
        points = np.minimum(points, np.array(size[::-1]) - 0.5)  # the outer edge belongs to the last pixel
        box = None if given.box is None else np.array(given.box, np.float64)
        mask = None if given.mask is None else sheet.masks([given.mask], size)
        sessions = self._engine(given.engine or self.engines[0].name)
        if not self._room.acquire(blocking=False):
            return failure(503, "too many prompts wait for the model; try again.")
        try:
            found = sessions.ask(number, self.gallery.version(number), Prompt(points, labels, box, mask))
        finally:
            self._room.release()
        assert found.masks is not None  # noqa: S101 - for the type checker
        found = found[found.masks.areas > 0]
        assert found.masks is not None  # noqa: S101
        scores = [1.0] * len(found) if found.scores is None else found.scores.tolist()
        texts = sheet.counts(found.masks)
        return _json({"candidates": [{"counts": c, "score": s} for c, s in zip(texts, scores, strict=True)]})

    def _outline(self, request: Request, number: int) -> Response:
        given = msgspec.json.decode(request.body, type=_Outline)
        shape = sheet.masks([given.counts], self.store.sheet(number).size)
        parts = outline.simplify(shape, min_iou=given.overlap)[0]
        return _json({"rings": [ring.tolist() for part in parts for ring in part.rings]})

    def _find(self, request: Request, number: int) -> Response:
        """What a text names, or the instance model finds, and nobody has drawn so far; nothing is saved yet."""
        text = msgspec.json.decode(request.body, type=_Find).text
        engine = self.namer if text else self.chooser
        if engine is None:
            return failure(422, "there is no such model: start with --model, or --encoder for texts.")
        if not self._room.acquire(blocking=False):
            return failure(503, "too many prompts wait for the model; try again.")
        try:
            encoded = self._engine(engine.name).encoded(number, self.gallery.version(number))
            found = engine.find(encoded, text)
        finally:
            self._room.release()
        with self.store.reading():
            items = list(self.store.sheet(number).items.values())
        found = sheet.undrawn(found, items)
        assert found.masks is not None  # noqa: S101 - for the type checker
        labels = found.labels.tolist()
        if isinstance(engine, Chooser):  # a text is put into the class that is chosen on the page
            numbers = {n: self.store.add_class(engine.predictor.classes[n]) for n in set(labels)}
            labels = [numbers[n] for n in labels]
        pairs = zip(labels, sheet.counts(found.masks), strict=True)
        made = [{"label": label, "counts": text} for label, text in pairs]
        return _json({"items": made, "classes": self.store.classes})

    def _add_class(self, request: Request) -> Response:
        label = self.store.add_class(msgspec.json.decode(request.body, type=_Name).name.strip())
        return _json({"label": label, "classes": self.store.classes})

    def _rename_class(self, request: Request, label: int) -> Response:
        self.store.rename_class(label, msgspec.json.decode(request.body, type=_Name).name.strip())
        return _json({"classes": self.store.classes})

    def _thumbnail(self, _: Request, number: int) -> Response:
        return Response(200, self.gallery.thumbnail(number), "image/jpeg", _CACHED)

    def _view(self, _: Request, number: int) -> Response:
        body, kind = self.gallery.view(number)
        return Response(200, body, kind, _CACHED)

    def _tile(self, _: Request, number: int, level: int, column: int, row: int) -> Response:
        return Response(200, self.gallery.tile(number, level, column, row), "image/jpeg", _CACHED)

    def _losses(self, request: Request) -> Response:
        """What an export would lose."""
        module = formats.get(_exported(request))
        kept: frozenset[str] = getattr(module, "KEEPS_ALONE", module.KEEPS)
        found = [str(loss) for loss in losses(self.store.dataset(), kept) if loss.grave]
        return _json({"losses": found})

    def _export(self, request: Request) -> Response:
        name = _exported(request)
        module, dataset = formats.get(name), self.store.dataset()
        stem = re.sub(r"[^\w.-]", "_", self.store.root.resolve().name, flags=re.ASCII) or "annotations"
        with tempfile.TemporaryDirectory(prefix="delineate-") as place:
            target = Path(place, stem + module.SUFFIX)
            convert.write(dataset, target, name, "leave")
            if target.is_file():
                content, filename = target.read_bytes(), target.name
            else:
                content, filename = _zipped(target), f"{stem}-{name}.zip"
        header = {"Content-Disposition": f'attachment; filename="{filename}"'}
        return Response(200, content, "application/octet-stream", header)

    @property
    def busy(self) -> bool:
        """Whether a model is at work."""
        return any(sessions.busy for sessions in self._sessions.values())

    def close(self, patience: float = 600) -> None:
        """Save everything and end the background threads.

        Args:
            patience: Seconds to wait for each model that is at work.
        """
        self.store.close()
        for sessions in self._sessions.values():
            sessions.close(patience)


def failure(status: int, text: str) -> Response:
    """The response that says what went wrong."""
    return Response(status, msgspec.json.encode({"error": text}))


def _json(content: object) -> Response:
    return Response(200, msgspec.json.encode(content))


def _shown(uid: str, item: sheet.Item) -> dict[str, Any]:
    shown: dict[str, Any] = {"uid": uid, "label": item.label, "counts": item.counts}
    if item.score is not None:
        shown["score"] = round(item.score, 4)
    if "bbox" in item.extras:
        shown["box"] = item.extras["bbox"]
    return shown


def _exported(request: Request) -> str:
    name = request.query.get("format", "")
    if name not in EXPORTS:
        raise ValueError(f"export: format must be one of {', '.join(EXPORTS)}.")
    return name


def _zipped(folder: Path) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder).as_posix())
    return file.getvalue()


_CACHED = {"Cache-Control": "private, max-age=86400, immutable"}  # the page asks by the file's version

_Answer = Callable[..., Response]


def _routes() -> list[tuple[str, re.Pattern[str], _Answer]]:
    number = "([0-9]{1,9})"
    table: list[tuple[str, str, _Answer]] = [
        ("GET", "/api/folder", Service._folder),
        ("GET", "/api/pictures/N", Service._picture),
        ("GET", "/api/pictures/N/status", Service._status),
        ("GET", "/api/pictures/N/thumbnail", Service._thumbnail),
        ("GET", "/api/pictures/N/view", Service._view),
        ("GET", "/api/pictures/N/tiles/N/N/N", Service._tile),
        ("POST", "/api/pictures/N/edits", Service._edits),
        ("POST", "/api/pictures/N/review", Service._review),
        ("POST", "/api/pictures/N/prompt", Service._prompt),
        ("POST", "/api/pictures/N/outline", Service._outline),
        ("POST", "/api/pictures/N/find", Service._find),
        ("POST", "/api/classes", Service._add_class),
        ("POST", "/api/classes/N", Service._rename_class),
        ("GET", "/api/losses", Service._losses),
        ("GET", "/api/export", Service._export),
    ]
    return [(method, re.compile(path.replace("N", number)), answer) for method, path, answer in table]


_ROUTES = _routes()
