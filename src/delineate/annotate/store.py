"""The annotations of a folder while they are edited: revisions, a journal, and a file that follows within a second."""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from delineate import atomic
from delineate.annotate import folder, saving, sheet
from delineate.annotate._store_files import (
    Busy,
    back_up,
    following_id,
    is_scored,
    locked,
    read_list,
    signature,
)
from delineate.annotate.journal import Journal
from delineate.annotate.sheet import Edit, Item, Sheet
from delineate.dataset import Dataset, Record
from delineate.errors import DelineateError, FormatError
from delineate.image import read_size
from delineate.instances import Instances

__all__ = ["Busy", "Conflict", "Entry", "Store"]

DELAY = 0.3
"""Seconds that edits may gather before the annotation file is written; the journal has them at once."""

RETRY = 5.0
"""Seconds after which a file that could not be written is tried again."""

MAX_CLASSES = 1000
_COMPACT = 64 << 20  # bytes of the journal from which only the last line of each picture is kept

_log = logging.getLogger("delineate")


class Conflict(DelineateError):  # noqa: N818 - what it is
    """Somebody else changed the picture since the page read it."""


class Entry(NamedTuple):
    """A picture in the list.

    Attributes:
        name: Path relative to the folder.
        objects: How many there are.
        reviewed: Whether somebody said that it is done.
    """

    name: str
    objects: int
    reviewed: bool


class _Line(msgspec.Struct, omit_defaults=True):
    """A line of the journal: the whole new content of one picture, or the classes."""

    picture: str = ""
    size: tuple[int, int] = (0, 0)
    items: list[Item] | None = None
    reviewed: bool = False
    classes: list[str] | None = None


class Store:
    """Pictures and annotations of a folder. Safe to use from several threads.

    An edit is in the journal, on the disk, when `edit` returns; a thread brings the annotation file up to date. What
    a kill left in the journal is applied at the next start.

    Args:
        root: The folder.
        annotations: Its annotation file; None finds it, see `delineate.annotate.folder.source`.

    Raises:
        FormatError: Something cannot be read, or there are several annotation files.
        Busy: Another server has the folder.
    """

    def __init__(self, root: Path, annotations: Path | None = None) -> None:
        self.root = root
        self.private = root / folder.PRIVATE
        self._lock_file = locked(self.private / "lock", root)
        try:
            self.source = folder.source(root, annotations)
            self._load()
        except BaseException:
            self._lock_file.close()
            raise
        self._wake, self._end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._follow, name="annotations", daemon=True)
        self._thread.start()

    def _load(self) -> None:
        dataset = self.source.dataset
        self.boot = secrets.token_hex(4)
        self.problem = ""
        self.classes = list(dataset.classes)
        self.files = folder.pictures(self.root, dataset)
        self.names = list(self.files)
        self._numbers = {name: n for n, name in enumerate(self.names)}
        self._lock, self._saving = threading.RLock(), threading.Lock()
        self._sheets: dict[str, Sheet] = {}
        self._records: dict[object, Record] = {}
        for record in dataset:
            name = folder.relative(self.root, record.path)
            self._records[name if name in self._numbers and name not in self._records else (record.id,)] = (
                record
            )
        ids = [record.id for record in dataset if isinstance(record.id, int)]
        self._next_record, self._next_item = max(ids, default=0) + 1, following_id(dataset)
        self._scored = any(is_scored(record) for record in dataset)
        self._attributes = dict(dataset.attributes)
        self._classes_changed = False
        self._reviewed = set(read_list(self.private / "reviewed.json"))
        self._owners: dict[Path | None, str] = {}  # of label files
        for name in sorted(self.names, key=lambda name: name not in self._records):
            self._owners.setdefault(saving.place(self.files[name], self.source.format), name)
        self._owners.pop(None, None)
        every = [record.id for record in dataset]
        paths = saving.files(dataset, self.source.path, self.source.format, every)
        self._signatures = {path: signature(path) for path in [self.source.path, *paths] if not path.is_dir()}
        self._pending: dict[str, tuple[int, bytes]] = {}
        self._absent: list[bytes] = []
        self._sequence = 0
        self._journal = Journal(self.private / "journal.jsonl")
        self._replay()

    def _replay(self) -> None:
        """Apply what a former process wrote down and did not bring into the annotation file."""
        for text in self._journal.lines():
            try:
                line = msgspec.json.decode(text, type=_Line)
                if line.items:
                    sheet.masks([item.counts for item in line.items], line.size)
            except ValueError:
                _log.warning("%s: a line is damaged and left out", self._journal.path)
                continue
            if line.classes is not None:
                self.classes, self._classes_changed = line.classes, True
                self._remember("", text)
                continue
            self._next_item = max([self._next_item, *(item.id + 1 for item in line.items or ())])
            if line.items is not None and line.picture in self._numbers:
                one = Sheet(line.size, line.items)
                one.revision = 1
                self._sheets[line.picture] = one
                self._set_reviewed(line.picture, line.reviewed)
                self._remember(line.picture, text)
            elif line.items is not None:
                self._absent.append(text)  # of a picture that is not there now: it may come back

    def reading(self) -> contextlib.AbstractContextManager[object]:
        """Nothing changes while the ``with`` block runs."""
        return self._lock

    def entries(self) -> list[Entry]:
        """The pictures, in their order."""
        with self._lock:
            return [Entry(name, self._count(name), name in self._reviewed) for name in self.names]

    def _count(self, name: str) -> int:
        if name in self._sheets:
            return len(self._sheets[name].items)
        return self._records[name].count if name in self._records else 0

    def path(self, number: int) -> Path:
        """The file of a picture.

        Raises:
            KeyError: There is no such picture.
        """
        if not 0 <= number < len(self.names):
            raise KeyError(number)
        return self.files[self.names[number]]

    def sheet(self, number: int) -> Sheet:
        """The objects of a picture. Changes go through `edit`.

        Raises:
            KeyError: There is no such picture.
            FormatError: The picture cannot be read, or its annotations are for another size.
        """
        path = self.path(number)
        name = self.names[number]
        if name not in self._sheets:
            size = read_size(path)
            with self._lock:
                if name not in self._sheets:
                    self._sheets[name] = self._made(name, size)
        return self._sheets[name]

    def _made(self, name: str, size: tuple[int, int]) -> Sheet:
        record = self._records.get(name)
        other = self._owners.get(saving.place(self.files[name], self.source.format), name)
        if other != name:
            text = f"picture must have a label file of its own, but {other} has the same. Rename one of them."
            raise FormatError(self.files[name], "", text)
        if record is None:
            return Sheet(size)
        if record.size != size:
            text = f"annotations must be for its size {size[1]} x {size[0]}, got {record.size[1]} x {record.size[0]}."
            raise FormatError(self.files[name], "", text)
        found, self._next_item = sheet.items(record.instances, self._next_item)
        return Sheet(size, found)

    def revision(self, number: int) -> str:
        """What an edit must name to show that it knows the picture's present state."""
        return f"{self.boot}.{self.sheet(number).revision}"

    def edit(self, number: int, revision: str, key: str, edits: Sequence[Edit]) -> str:
        """Change a picture. The edits are on the disk when this returns.

        Args:
            number: The picture.
            revision: The state that the edits are meant for.
            key: A name for this call: sent twice, it counts once.
            edits: What to do, all or nothing.

        Returns:
            The revision of the new state.

        Raises:
            Conflict: The picture has another state.
            EditError: An edit does not fit.
            DelineateError: The annotation file was changed by another program.
            OSError: The disk is full.
        """
        with self._lock:
            one, name = self.sheet(number), self.names[number]
            if key and key == one.last_key:
                return self.revision(number)
            if revision != self.revision(number):
                raise Conflict(f"{name}: picture was changed elsewhere since it was shown here.")
            if self.problem:
                raise DelineateError(self.problem)
            former = one.items
            following = one.apply(edits, len(self.classes), self._next_item)
            try:
                self._write_down(name, one, name in self._reviewed)
            except OSError:
                one.items = former
                raise
            self._next_item = following
            one.revision, one.last_key = one.revision + 1, key
            return self.revision(number)

    def review(self, number: int, done: bool) -> None:
        """Say whether a picture is done."""
        with self._lock:
            one, name = self.sheet(number), self.names[number]
            self._write_down(name, one, done)
            self._set_reviewed(name, done)

    def _set_reviewed(self, name: str, done: bool) -> None:
        (self._reviewed.add if done else self._reviewed.discard)(name)

    def add_class(self, name: str) -> int:
        """The number of the class of that name, which is added if it is new.

        Raises:
            ValueError: The name is empty or too long, has a line break, or there are too many classes.
        """
        self._check_class(name)
        with self._lock:
            if name not in self.classes:
                if len(self.classes) >= MAX_CLASSES:
                    raise ValueError(f"classes must be at most {MAX_CLASSES}.")
                self._set_classes([*self.classes, name])
            return self.classes.index(name)

    def rename_class(self, label: int, name: str) -> None:
        """Give a class another name.

        Raises:
            ValueError: There is no such class, or another one has the name.
        """
        self._check_class(name)
        with self._lock:
            if not 0 <= label < len(self.classes) or name in self.classes[:label] + self.classes[label + 1 :]:
                raise ValueError(f"class must have a name of its own, got {name!r}.")
            self._set_classes([*self.classes[:label], name, *self.classes[label + 1 :]])

    @staticmethod
    def _check_class(name: str) -> None:
        if not name.strip() or len(name) > 100 or len(name.splitlines()) != 1:
            raise ValueError(f"class must have a name of one line, up to 100 characters, got {name[:120]!r}.")

    def _set_classes(self, names: list[str]) -> None:
        self._append("", msgspec.json.encode(_Line(classes=names)))
        self.classes, self._classes_changed = names, True

    def _write_down(self, name: str, one: Sheet, reviewed: bool) -> None:
        self._append(name, msgspec.json.encode(_Line(name, one.size, list(one.items.values()), reviewed)))

    def _append(self, key: str, text: bytes) -> None:
        self._journal.append(text)
        self._remember(key, text)
        if self._journal.path.stat().st_size > _COMPACT + 2 * sum(
            len(line) for _, line in self._pending.values()
        ):
            self._journal.replace([*self._absent, *(line for _, line in self._pending.values())])
        self._wake.set()

    def _remember(self, key: str, text: bytes) -> None:
        self._sequence += 1
        self._pending[key] = self._sequence, text

    def dataset(self) -> Dataset:
        """All annotations as they are now."""
        with self._lock:
            for name in self._pending.keys() - {""}:
                if name in self._sheets:
                    self._records[name] = self._record(name, self._sheets[name])
            kept: Any = self._attributes.get("categories")
            if kept:
                kept = [*kept, *({} for _ in self.classes[len(kept) :])]
                self._attributes["categories"] = kept
            return Dataset(tuple(self._records.values()), tuple(self.classes), self._attributes)

    def _record(self, name: str, one: Sheet) -> Record:
        found: Instances = sheet.instances(list(one.items.values()), one.size, scored=self._scored)
        known = self._records.get(name)
        if known is not None:
            return known.replace(instances=found)
        self._next_record += 1
        return Record(self.files[name], one.size, found, self._next_record - 1)

    def save(self) -> None:
        """Bring the annotation file up to date.

        Raises:
            DelineateError: It was changed by another program, or cannot be written.
        """
        with self._saving:
            with self._lock:
                if not self._pending:
                    return
                dataset, upto, classes = self.dataset(), self._sequence, self._classes_changed
                names = self._pending.keys() - {""}
                changed = {self._records[name].id for name in names if name in self._records}
                reviewed = sorted(self._reviewed)
            format_, path = self.source.format, self.source.path
            paths = saving.files(dataset, path, format_, changed)
            for one in paths:
                if self._signatures.get(one) != signature(one):
                    raise DelineateError(
                        f"{one.name} was changed by another program. Your edits are kept: stop this server and start "
                        "it again to apply them to the changed file."
                    )
            for one in paths:
                back_up(one, self.private / "before" / Path(folder.relative(self.root, one) or one.name))
            saving.save(dataset, path, format_, changed, classes=classes)
            atomic.write_bytes(self.private / "reviewed.json", json.dumps(reviewed).encode())
            with self._lock:
                self._signatures |= {one: signature(one) for one in paths}
                self._pending = {key: value for key, value in self._pending.items() if value[0] > upto}
                self._classes_changed = "" in self._pending
                self._journal.replace([*self._absent, *(line for _, line in self._pending.values())])

    def _follow(self) -> None:
        """The thread that saves."""
        while True:
            self._wake.wait(RETRY if self.problem else None)
            self._wake.clear()
            if self._end.wait(DELAY):
                return
            self._try_save()

    def _try_save(self) -> None:
        try:
            self.save()
        except (DelineateError, OSError, ValueError) as error:
            if str(error) != self.problem:
                _log.warning("annotations are not saved: %s", error)
            self.problem = str(error)
        else:
            self.problem = ""

    def close(self) -> None:
        """Save, and give the folder free."""
        self._end.set()
        self._wake.set()
        self._thread.join(30)
        self._try_save()
        self._journal.close()
        self._lock_file.close()
