"""MOTS: tracked masks of KITTI MOTS and MOTSChallenge (https://www.vision.rwth-aachen.de/page/mots).

A text file is one video; a line is one object in one frame: frame, track id, class, height, width, run lengths::

    0 1003 1 375 1242 WSV:2d;1O10000O10000O1O100O100O1O100O1000000000000000O100O102N5K00O1O1N2O110OO2O001O1NTga3
    0 10000 10 375 1242 Pai72i91O1N2N2M4

A track id is class * 1000 + number. Class 10 (id 10000) is a region in which nobody knows what there is: here a
crowd of the class "ignore". KITTI counts frames from 0, MOTSChallenge from 1. Beside the files there may be more::

    instances_txt/0002.txt    or label_02/0002.txt, or 0002/gt/gt.txt, or just 0002.txt
    instances/0002/000000.png instead of text: pictures of ids, 16 bits; or instances/000000.png for one video
    image_02/0002/000000.png  pictures, by frame number; or images/0002, or 0002/img1
    seqmap.txt                "0002 empty 000000 000233": first and last frame of each video
    labels.txt                names of the classes 1, 2, ...; without it they are car and pedestrian
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from delineate import atomic
from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.formats import _mots_files as mots_files
from delineate.formats import _pictures
from delineate.image import read_label_map, read_size
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.tracks import tracks

KEEPS = frozenset(
    {"masks", "holes", "parts", "overlaps", "empty masks", "ids", "instance order"}
    | {"class order", "empty pictures", "videos"}
)
"""What ``read(write(dataset))`` preserves. Crowds become ignore regions of no class; pictures are named by their
number."""
SUFFIX = ""

CLASSES = ("car", "pedestrian")
"""What classes 1 and 2 are where no file says something else."""
IGNORE = "ignore"
"""The class of ignore regions."""

_MAX_FRAMES = 1_000_000


def sniff(path: str | Path) -> bool:
    """Whether it is a MOTS text file, a folder of such, or one with 16-bit pictures in ``instances``, or that folder.

    Args:
        path: Any file or folder.
    """
    try:
        path = mots_files.root(Path(path))
        files = mots_files.files(path)
        heads = []
        for file in files.values():
            with file.open("rb") as content:
                heads.append(content.read(200_000).partition(b"\n")[0].strip())
        said = [head for head in heads if head]
        if not files and mots_files.maps(path):
            first = next(iter(next(iter(mots_files.maps(path).values())).values()))
            return bool(read_label_map(first).dtype == np.uint16)
        if not said:  # nothing anywhere: its folder must say what it is
            return (
                any((path / name).is_dir() for name in mots_files.TEXTS)
                and (path / mots_files.SEQUENCES).is_file()
            )
        return mots_files.LINE.fullmatch(said[0]) is not None
    except (OSError, ValueError, FormatError):
        return False


def read(path: str | Path) -> Dataset:
    """Read one video, or a folder of videos.

    There is a record for every frame from the first to the last that anything is known of; its id is
    ``"VIDEO/NUMBER"``, with the number of the file. Frames are counted from 0 in KITTI's folders and where any
    video has a frame 0, else from 1. Track ids are those of the file. Ignore regions of one frame become one crowd.

    Args:
        path: A text file or a folder.

    Raises:
        FormatError: There is no such file, or a line does not fit; the message names the place.
    """
    path = mots_files.root(Path(path))
    videos = mots_files.videos(path)
    classes = _classes(path, videos)
    first = mots_files.first_number(path, videos)
    records = []
    for name, video in videos.items():
        frames = video.frames(first)
        if len(frames) > _MAX_FRAMES:
            raise FormatError(
                video.path, "", f"frames must be at most {_MAX_FRAMES}, got up to {frames[-1]}."
            )
        size = _size(video) if len(frames) else (1, 1)
        for n in frames:
            part = _instances(video, n, size, classes)
            records.append(Record(video.pictures.get(n), size, part, f"{name}/{n:06}", {}, name, n - first))
    return Dataset(tuple(records), classes)


def read_results(path: str | Path, truth: str | Path) -> Dataset:
    """Read what a tracker found in the videos of a truth.

    Args:
        path: A text file, or a folder with one for each video that anything was found in.
        truth: The true MOTS file or folder.

    Returns:
        One record per frame of the truth, in its order, also where nothing was found.

    Raises:
        FormatError: A file is damaged, or is about another video, frame or size than there is in the truth.
    """
    path = mots_files.root(Path(path))
    known = read(truth)
    videos = mots_files.videos(path)
    if len(videos) == 1 and path.is_file():  # one file: of the one video, whatever its name
        names = list(dict.fromkeys(str(record.video) for record in known))
        if len(names) == 1:
            videos = {names[0]: next(iter(videos.values()))}
    ids = {record.id for record in known}
    for name, video in videos.items():
        for n, rows in video.rows.items():
            if f"{name}/{n:06}" not in ids:
                text = f"frame must be one of the truth, got frame {n} of video {name!r}."
                raise FormatError(video.path, f"line {rows[0][3]}", text)
    classes = _classes(path, videos) if (path / mots_files.LABELS).is_file() else known.classes
    records = []
    for record in known:
        name, _, number = str(record.id).rpartition("/")
        part = Instances.empty(record.size).replace(ids=np.zeros(0, np.int64))
        if name in videos:
            video = videos[name]
            if video.size not in (None, record.size):
                text = f"size must be that of the truth {record.size}, got {video.size}."
                raise FormatError(video.path, "", text)
            part = _instances(video, int(number), record.size, classes)
        records.append(record.replace(instances=part))
    return Dataset(tuple(records), classes)


def write(dataset: Dataset, path: str | Path, *, pictures: _pictures.Placing = "link") -> None:
    """Write instances_txt/, image_02/, seqmap.txt and labels.txt; the folder appears in one step.

    Frames are counted from 0 and classes from 1 (without 10). Track ids are written as they are; objects without
    get class * 1000 + a number that is free in their video. Crowds are written as ignore regions. Frames that the
    dataset lacks between its first and last one come back without objects.

    Args:
        dataset: What to write; every record is a frame of a video.
        path: The folder; it must be new or empty.
        pictures: "link" and "copy" put the pictures under image_02/; "leave" leaves that to you.

    Raises:
        FormatError: A picture is missing, or a video cannot name a file.
        FileExistsError: There is something in the folder.
        ValueError: A record belongs to no video, masks are missing, or ids are not unique in a frame.
    """
    path = Path(path)
    _pictures.need_frames("mots", dataset)
    numbers = _class_numbers(dataset.classes)
    with atomic.writing_folder(path) as root:
        (root / mots_files.TEXTS[0]).mkdir()
        lines = []
        for video, frames in dataset.videos().items():
            name = _pictures.folder_name(path, str(video))
            rows = _lines(frames.records, numbers)
            (root / mots_files.TEXTS[0] / f"{name}.txt").write_bytes(b"".join(rows))
            lines.append(f"{name} empty {frames[0].frame:06} {frames[-1].frame:06}\n")
            for record in frames:
                if record.path is not None and pictures != "leave":
                    target = (
                        root
                        / mots_files.PICTURES[0]
                        / name
                        / f"{record.frame:06}{record.path.suffix.lower()}"
                    )
                    _pictures.place(record.path, target, pictures)
        (root / mots_files.SEQUENCES).write_text("".join(lines), "utf-8")
        named = dataset.classes[:-1] if dataset.classes[-1:] == (IGNORE,) else dataset.classes
        if named != CLASSES:
            if any(
                not name.strip() or "\n" in name or "\r" in name or name != name.strip() for name in named
            ):
                raise ValueError(f"mots.write: classes must be names of one line, got {named}")
            (root / mots_files.LABELS).write_text("".join(f"{name}\n" for name in named), "utf-8")


def _class_numbers(classes: Sequence[str]) -> dict[int, int]:
    """Number of each label: 1, 2, ... but not 10."""
    free = (n for n in range(1, len(classes) + 2) if n != mots_files.IGNORE_CLASS)
    return dict(zip(range(len(classes)), free, strict=False))


def _lines(frames: Sequence[Record], numbers: Mapping[int, int]) -> Iterator[bytes]:
    known = [record.replace(instances=_without_crowds(record.instances)) for record in frames]
    found = tracks([record.replace(instances=record.instances.replace(scores=None)) for record in known])
    given = {int(id_) for record in known if record.instances.ids is not None for id_ in record.instances.ids}
    ids: dict[int, int] = {}
    for n, (id_, label) in enumerate(zip(found.ids.tolist(), found.labels.tolist(), strict=True)):
        frame = known[found.first[n, 0]]
        if frame.instances.ids is None:  # tracks() made this one up
            id_ = next(
                i for i in range(numbers[label] * 1000, 10**9) if i not in given and i != mots_files.IGNORE_ID
            )
            given.add(id_)
        if not 0 <= id_ < 10**9:
            raise ValueError(f"mots.write: ids must be of 0 to 999999999, got {id_}")
        ids[n] = id_
    for record, whole, rows in zip(frames, known, found.rows, strict=True):
        height, width = record.size
        masks = whole.instances.masks
        for n, shape in zip(rows.tolist(), [] if masks is None else masks.to_rle(), strict=True):
            label = int(found.labels[n])
            yield f"{record.frame} {ids[n]} {numbers[label]} {height} {width} {shape['counts']}\n".encode()
        crowd = record.instances.crowd
        if crowd is not None and crowd.any() and record.instances.masks is not None:
            region = record.instances.masks[np.flatnonzero(crowd)].union().to_rle()[0]["counts"]
            row = (
                f"{record.frame} {mots_files.IGNORE_ID} {mots_files.IGNORE_CLASS} {height} {width} {region}\n"
            )
            yield row.encode()


def _without_crowds(item: Instances) -> Instances:
    return item if item.crowd is None else item[np.flatnonzero(~item.crowd)].replace(crowd=None)


def _size(video: mots_files.Video) -> tuple[int, int]:
    if video.size is not None:
        return video.size
    if video.pictures:
        return read_size(next(iter(video.pictures.values())))
    text = (
        "video must have an object or a picture, for its size, got neither. Put its pictures into image_02."
    )
    raise FormatError(video.path, "", text)


def _classes(path: Path, videos: Mapping[str, mots_files.Video]) -> tuple[str, ...]:
    """Names by label: class n is label n - 1, but the classes after 10 move up; the ignore class is the last."""
    file = path / mots_files.LABELS
    if not file.is_file():
        file = path / mots_files.MAPS / mots_files.LABELS
    names: tuple[str, ...] = CLASSES
    if file.is_file():
        names = tuple(line.strip() for line in mots_files.text_of(file).splitlines() if line.strip())
    seen = {row[1]: video for video in videos.values() for rows in video.rows.values() for row in rows}
    numbers = set(_class_numbers(names).values()) | {mots_files.IGNORE_CLASS}
    for kind, video in seen.items():
        if kind not in numbers:
            known = f"one of {len(names)} ({', '.join(names)})"
            text = f"class must be {known}, got {kind}. Name it in {mots_files.LABELS}."
            raise FormatError(video.path, "", text)
    return (*names, IGNORE) if mots_files.IGNORE_CLASS in seen and IGNORE not in names else names


def _instances(
    video: mots_files.Video, frame: int, size: tuple[int, int], classes: Sequence[str]
) -> Instances:
    rows = video.rows.get(frame, [])
    labels = {number: label for label, number in _class_numbers(classes).items()}
    if IGNORE in classes:
        labels[mots_files.IGNORE_CLASS] = classes.index(IGNORE)
    masks = []
    for _, kind, counts, line in rows:
        if kind not in labels:
            raise FormatError(video.path, f"line {line}", f"class must be known to the truth, got {kind}.")
        try:
            masks.append(Masks.from_rle([{"size": list(size), "counts": counts}], size))
        except ValueError as error:
            raise FormatError(video.path, f"line {line}", str(error).removeprefix("masks[0]: ")) from error
    crowd = [n for n, row in enumerate(rows) if row[1] == mots_files.IGNORE_CLASS]
    plain = [n for n in range(len(rows)) if n not in crowd]
    shapes = [masks[n] for n in plain]
    if crowd:
        shapes.append(Masks.concat([masks[n] for n in crowd]).union())
        plain.append(crowd[0])
    return Instances.of(
        Masks.concat(shapes) if shapes else Masks.empty(size),
        np.array([labels[rows[n][1]] for n in plain], np.int64),
        crowd=np.arange(len(plain)) == len(plain) - 1 if crowd else None,
        ids=np.array([rows[n][0] for n in plain], np.int64),
    )
