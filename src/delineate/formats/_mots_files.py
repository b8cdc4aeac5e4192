"""The files of MOTS videos, found and read. Serves `mots`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from delineate import algebra
from delineate.errors import FormatError
from delineate.formats import _sizes as sizes
from delineate.image import SUFFIXES, read_label_map

IGNORE_CLASS, IGNORE_ID = 10, 10000
TEXTS, MAPS, PICTURES = ("instances_txt", "label_02"), "instances", ("image_02", "images")
LABELS, SEQUENCES = "labels.txt", "seqmap.txt"

LINE = re.compile(rb"(\d{1,9}) (\d{1,9}) (\d{1,9}) (\d{1,9}) (\d{1,9}) (\S+)")


@dataclass
class Video:
    """What the files say of one video; frames by their numbers in the files."""

    path: Path
    size: tuple[int, int] | None = None
    rows: dict[int, list[tuple[int, int, str, int]]] = field(default_factory=dict)  # id, class, counts, line
    pictures: dict[int, Path] = field(default_factory=dict)
    span: tuple[int, int] | None = None  # first and last frame, where they are said

    def frames(self, first: int) -> range:
        """All frames of the video."""
        seen = [*self.rows, *self.pictures, *(self.span or ())]
        if not seen:
            return range(0)
        start = self.span[0] if self.span else min(first, *seen)
        return range(start, max(seen) + 1)


def root(path: Path) -> Path:
    """The folder of the data set, also where its folder of pictures of ids was named."""
    folder = path.absolute()
    return path.parent if folder.name == MAPS and maps(folder.parent) and not (path / MAPS).is_dir() else path


def files(path: Path) -> dict[str, Path]:
    """The text file of each video."""
    if path.is_file():
        return {path.stem if path.name != "gt.txt" else path.absolute().parent.parent.name: path}
    for folder in (path / name for name in TEXTS):
        if folder.is_dir():
            return {file.stem: file for file in sorted(folder.glob("*.txt")) if file.name[0] != "."}
    if not path.is_dir():
        return {}
    inside = {file.parent.parent.name: file for file in sorted(path.glob("*/gt/gt.txt"))}
    if not inside and (path / "gt" / "gt.txt").is_file():
        inside = {path.absolute().name: path / "gt" / "gt.txt"}
    beside = (file for file in sorted(path.glob("*.txt")) if file.name not in (LABELS, SEQUENCES))
    return inside or {file.stem: file for file in beside if file.name[0] != "."}


def maps(path: Path) -> dict[str, dict[int, Path]]:
    """The pictures of ids of each video by frame number, where there are any."""
    folder = path / MAPS
    if not folder.is_dir():
        return {}
    inside = {item.name: numbered(item) for item in sorted(folder.iterdir()) if item.is_dir()}
    return {
        name: found for name, found in (inside or {path.absolute().name: numbered(folder)}).items() if found
    }


def videos(path: Path) -> dict[str, Video]:
    """What the files say of each video; text goes before pictures of ids."""
    texts = files(path)
    found = {name: _parsed(file) for name, file in texts.items()} if texts else {}
    if not texts and not any((path / name).is_dir() for name in TEXTS):
        found = {name: _decoded(path / MAPS, files) for name, files in maps(path).items()}
        if not found:
            text = "must be a text file of tracked masks, or a folder with one for each video, got none."
            raise FormatError(path, "", text)
    for name, (start, end) in _spans(path).items():
        if name in found:
            found[name].span = start, end
    for name, video in found.items():
        video.pictures = _pictures_of(path, name, video.path)
    return found


def numbered(folder: Path) -> dict[int, Path]:
    """The pictures of a folder whose names are numbers."""
    return {
        int(item.stem): item
        for item in sorted(folder.iterdir())
        if re.fullmatch(r"[0-9]{1,9}", item.stem) and item.suffix.lower() in SUFFIXES
    }


def _decoded(path: Path, files: Mapping[int, Path]) -> Video:
    """Pictures of ids as the rows of a text file."""
    video = Video(path)
    for frame, file in files.items():
        masks, values = algebra.from_label_map(read_label_map(file, video.size))
        video.size = masks.size
        for value, shape in zip(values.tolist(), masks.to_rle(), strict=True):
            if value < 1000:
                raise FormatError(file, "", f"ids must be class * 1000 + number, got {value}.")
            video.rows.setdefault(frame, []).append((value, value // 1000, shape["counts"], 0))
        video.rows.setdefault(frame, [])
    return video


def first_number(path: Path, videos: Mapping[str, Video]) -> int:
    """The number that frames are counted from."""
    if any((path / name).is_dir() for name in TEXTS):
        return 0
    seen = (n for video in videos.values() for n in (*video.rows, *video.pictures, *(video.span or ())))
    return 0 if 0 in seen else 1


def _parsed(path: Path) -> Video:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FormatError(path, "", f"file must be readable, got: {error.strerror}.") from error
    video = Video(path)
    seen: set[tuple[int, int]] = set()
    for position, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"line {position}"
        match = LINE.fullmatch(line.strip())
        if match is None or not match[6].isascii():
            text = "line must be: frame id class height width runs, got another. Is this another format?"
            raise FormatError(path, where, text)
        frame, id_, kind, height, width = (int(number) for number in match.groups()[:5])
        sizes.checked(path, where, height, width)
        if video.size not in (None, (height, width)):
            text = f"height and width must be {video.size} as before, got {(height, width)}."
            raise FormatError(path, where, text)
        if not kind:
            raise FormatError(path, where, "class must be at least 1, got 0.")
        video.size = height, width
        if kind != IGNORE_CLASS and (frame, id_) in seen:
            raise FormatError(path, where, f"id must be unique in its frame, got {id_} twice.")
        seen.add((frame, id_))
        video.rows.setdefault(frame, []).append((id_, kind, match[6].decode("ascii"), position))
    return video


def _spans(path: Path) -> dict[str, tuple[int, int]]:
    """First and last frame of each video, as the sequence map says."""
    file = path / SEQUENCES
    if not file.is_file():
        return {}
    spans = {}
    for position, line in enumerate(text_of(file).splitlines(), 1):
        match = re.fullmatch(r"(.+) empty (\d{1,9}) (\d{1,9})", line)
        if match is None or int(match[2]) > int(match[3]):
            raise FormatError(
                file, f"line {position}", f"line must be: video empty first last, got {line!r}."
            )
        spans[match[1]] = int(match[2]), int(match[3])
    return spans


def text_of(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(file, "", f"file must be readable text, got: {error}.") from error


def _pictures_of(path: Path, name: str, file: Path) -> dict[int, Path]:
    """The pictures of a video by frame number; the first folder that exists has them."""
    roots = (path, file.parent.parent) if path.is_dir() else (file.parent.parent,)
    places = [root / folder / name for root in roots for folder in PICTURES]
    # Datumaro puts the pictures of its one video straight into images/.
    for folder in (
        *places,
        file.parent.parent / "img1",
        *(root / "images" for root in roots if file.name == MAPS),
    ):
        if folder.is_dir():
            return numbered(folder)
    return {}
