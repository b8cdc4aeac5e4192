"""The data.yaml of YOLO data sets: which classes, and where the pictures of each split are. Serves `yolo`.

Every scalar stays the text that it is: a class called "no" or "1e3" is neither a bool nor a number.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from delineate.errors import FormatError
from delineate.formats import _pictures

SPLITS = ("train", "val", "valid", "test")
RESERVED = ("path", "names", "nc", "download", "images", "labels")
"""Keys of data.yaml and folders that cannot name a split."""

_MAX_BYTES = 1_000_000
_MAX_CLASSES = 100_000
_MAX_DEPTH = 20  # of the YAML; the time to parse it grows with the square

_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # ten times as fast, where PyYAML has it
_log = logging.getLogger("delineate")


@dataclass(frozen=True, slots=True)
class Layout:
    """What a data set says of itself.

    Args:
        path: The file that says it.
        classes: Names of the classes.
        splits: Split (None where there are none) -> files and folders, which exist.
    """

    path: Path
    classes: tuple[str, ...]
    splits: Mapping[str | None, Sequence[Path]]


def find(path: Path) -> Path | None:
    """The file that describes the data set at a path: the path itself, or the data.yaml or classes.txt in it."""
    if path.is_file():
        return path if path.suffix.lower() in (".yaml", ".yml") else None
    if not path.is_dir():
        return None
    for name in ("data.yaml", "data.yml", "dataset.yaml"):
        if (path / name).is_file():
            return path / name
    others = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
    if len(others) == 1:
        return others[0]
    classes = path / "classes.txt"
    return classes if classes.is_file() and (path / "labels").is_dir() else None


def load(path: Path) -> Layout:
    """Read a data.yaml, or a classes.txt beside images/ and labels/."""
    text = _text(path)
    if path.name == "classes.txt":
        names = [line.strip() for line in text.splitlines()]
        while names and not names[-1]:
            names.pop()
        return Layout(path, tuple(names), _split_folders(path.parent / "images"))
    content = _parsed(path, text)
    if not isinstance(content, dict) or not ("names" in content or "nc" in content):
        raise FormatError(path, "", 'file must have the keys "train", "val" and "names", got something else.')
    return Layout(path, _classes(path, content), _places(path, content))


def dump(classes: Sequence[str], splits: Sequence[str]) -> bytes:
    """The data.yaml of the layout that `yolo.write` makes."""
    content: dict[str, object] = {split: f"images/{split}" for split in splits}
    content |= {"nc": len(classes), "names": dict(enumerate(classes))}
    text: str = yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
    return text.encode()


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise FormatError(path, "", f"file must have at most {_MAX_BYTES} bytes. Is it a data.yaml?")
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise FormatError(path, "", f"file must be readable, got: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise FormatError(
            path, f"byte {error.start}", "file must be UTF-8 text. Save it as UTF-8."
        ) from error


def _parsed(path: Path, text: str) -> object:
    try:
        depth = 0
        for event in yaml.parse(text, _LOADER):
            where = f"line {event.start_mark.line + 1}"
            if isinstance(event, yaml.AliasEvent):  # a few lines of these may mean gigabytes
                raise FormatError(path, where, "file must have no aliases (*name). Write the value out.")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH:
                raise FormatError(
                    path, where, f"YAML must be nested at most {_MAX_DEPTH} deep. Is it a data.yaml?"
                )
        node = yaml.compose(text, _LOADER)
        return None if node is None else _plain(path, node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        words = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise FormatError(path, f"line {mark.line + 1}" if mark else "", f"must be YAML: {words}.") from error


def _plain(path: Path, node: yaml.Node) -> object:
    """Text, lists and dicts; a key that comes twice is refused."""
    if isinstance(node, yaml.SequenceNode):
        return [_plain(path, item) for item in node.value]
    if not isinstance(node, yaml.MappingNode):
        return str(node.value)
    found: dict[str, object] = {}
    for key, value in node.value:
        where = f"line {key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode):
            raise FormatError(path, where, "key must be text or a number, got a list or a mapping.")
        if key.value in found:
            raise FormatError(path, where, f"key must come once, got {key.value!r} again.")
        found[key.value] = _plain(path, value)
    return found


def _number(path: Path, where: str, text: object, limit: int) -> int:
    if not isinstance(text, str) or not text.isascii() or not text.isdigit() or len(text) > 9:
        got = repr(text[:40]) if isinstance(text, str) else type(text).__name__
        raise FormatError(path, where, f"must be a whole number from 0 to {limit}, got {got}.")
    if int(text) > limit:
        raise FormatError(path, where, f"must be a whole number from 0 to {limit}, got {text}.")
    return int(text)


def _classes(path: Path, content: Mapping[str, object]) -> tuple[str, ...]:
    count = _number(path, "nc", content["nc"], _MAX_CLASSES) if "nc" in content else None
    names = content.get("names")
    if names is None:
        return tuple(f"class_{n}" for n in range(count or 0))
    if isinstance(names, dict):
        numbers = {_number(path, "names", key, _MAX_CLASSES): name for key, name in names.items()}
        missing = set(range(len(numbers))) - set(numbers)
        if missing:
            text = f"keys must be 0, 1, 2, ... without a gap, got no {min(missing)}."
            raise FormatError(path, "names", text)
        names = [numbers[n] for n in range(len(numbers))]
    if names == "":  # "names:" with nothing after it
        names = []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise FormatError(path, "names", "must be a list of names, or a mapping of numbers to names.")
    if count is not None and count != len(names):
        raise FormatError(path, "nc", f"must be the number of names {len(names)}, got {count}.")
    return tuple(names)


def _places(path: Path, content: Mapping[str, object]) -> dict[str | None, list[Path]]:
    """The files and folders of each split that exist; at least one must."""
    splits: dict[str | None, list[str]] = {}
    for key, value in content.items():
        if key not in SPLITS and value != f"images/{key}":
            continue
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str) and "\0" not in one for one in values):
            raise FormatError(path, key, "must be a folder or a list file, or a list of them.")
        splits["val" if key == "valid" else key] = [str(one) for one in values if one]
    roots = _roots(path, content.get("path"))
    best: dict[str | None, list[Path]] = {}
    for root in roots:
        found = {split: _existing(root, values) for split, values in splits.items()}
        if any(found.values()):
            best = found
            break
    if any(splits.values()) and not any(best.values()):
        first = next(f"{split}: {values[0]}" for split, values in splits.items() if values)
        text = f"pictures must lie under {roots[0]} or {path.parent}, got none. Mend the key path"
        raise FormatError(path, first, text)
    for split, values in splits.items():
        if len(best.get(split, ())) < len(values):
            _log.warning("%s: %s: not all of %s exists; what is missing is left out", path, split, values)
    return {split: places for split, places in best.items() if places}


def _roots(path: Path, given: object) -> list[Path]:
    """What the places may be relative to: the key path, which often holds on another machine only."""
    here = path.parent
    if not isinstance(given, str) or given in ("", ".") or "\0" in given:
        return [here]
    return list(dict.fromkeys([here / given, here, here.parent / given]))


def _existing(root: Path, values: Sequence[str]) -> list[Path]:
    found = []
    for value in values:
        candidates = [root / value]
        if value.startswith("../"):  # as Roboflow writes them, and means: beside this file
            candidates.append(root / value[3:])
        found += [place for place in candidates if _exists(place)][:1]
    return found


def _exists(place: Path) -> bool:
    try:
        return place.exists()
    except OSError:  # a name too long for the system
        return False


def _split_folders(images: Path) -> dict[str | None, list[Path]]:
    """The folders of images/ as splits, or all of it without any."""
    if not images.is_dir():
        return {}
    folders = {name: images / name for name in SPLITS if (images / name).is_dir()}
    if not folders:
        return {None: [images]}
    return {"val" if name == "valid" else name: [folder] for name, folder in folders.items()}


def pictures(layout: Layout) -> Iterator[tuple[str | None, Path, Path]]:
    """(split, picture, its label file) of every picture; one that is in two splits comes once."""
    seen: set[Path] = set()
    doubles = 0
    for split, places in layout.splits.items():
        for place in places:
            for picture in _pictures.listed(place) if place.is_dir() else _from_list(place, layout.path):
                if picture in seen:
                    doubles += 1
                    continue
                seen.add(picture)
                yield split, picture, label_file(picture)
    if doubles:
        text = "%s: %d pictures are listed again in another split; they count to the first one only"
        _log.warning(text, layout.path, doubles)


def _from_list(path: Path, above: Path) -> Iterator[Path]:
    """The pictures that a list file names, relative to it or to the data.yaml."""
    if path.suffix.lower() != ".txt":
        raise FormatError(path, "", "must be a folder of pictures, or a .txt file with a path on each line.")
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(path, "", f"list must be a readable UTF-8 text, got: {error}.") from error
    for number, line in enumerate(lines, 1):
        name = line.strip().replace("\\", "/").removeprefix("./")
        if not name:
            continue
        candidates = [path.parent / name, above.parent / name]
        found = next((one for one in candidates if "\0" not in name and _exists(one)), None)
        if found is None:
            text = f"picture must exist, got {name!r}. Put it there, or take the line out."
            raise FormatError(path, f"line {number}", text)
        yield found


def label_file(picture: Path) -> Path:
    """Where the labels of a picture are: the last folder "images" of its path becomes "labels"."""
    parts = list(picture.parts)
    for at in range(len(parts) - 2, -1, -1):
        if parts[at] == "images":
            parts[at] = "labels"
            break
    return Path(*parts).with_suffix(".txt")
