"""Fuzz the readers of annotation formats: whatever is in a file, reading it ends in a dataset or a DelineateError.

    python ci/fuzz_formats.py                       # all formats, 30 seconds each
    python ci/fuzz_formats.py coco labelme --seconds 300
    python ci/fuzz_formats.py coco --input crash-1234   # one input again, with its traceback

A hard dataset (tests/nasty.py) is written in each format; then one of its files at a time is replaced by mutated
content. With atheris (pip install atheris) coverage of this package's Python code leads the mutations; without it they
are random. Both know JSON: they replace values, repeat and drop entries. What fails otherwise, hangs for 20 seconds or
takes 2 GB is kept as a file in the current folder.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]
try:
    import atheris
except ImportError:
    atheris = None

with atheris.instrument_imports(include=["delineate"]) if atheris else contextlib.nullcontext():
    from nasty import nasty

    from delineate import formats
    from delineate.errors import DelineateError

    MODULES = {name: formats.get(name) for name in formats.names()}

VALUES = [
    0,
    -1,
    1,
    7,
    2**31,
    2**63,
    2**64,
    1e30,
    1e308,
    0.5,
    True,
    None,
    "",
    "ä",
    "../../a",
    "/etc/a",
    "a\0b",
    [],
    {},
]
VALUES += [
    [[]],
    [[0]],
    [[1, 2]],
    [[0, 0, 5, 0, 5, 5]],
    {"size": [24, 31], "counts": [744]},
    "PPYo0",
    "x" * 300,
]
VALUES += [{"size": [0, 0], "counts": []}, {"size": [24, 31], "counts": "zz~~"}, "NaN", "1e999", [1e308] * 6]
BYTES = [
    b"",
    b"9" * 30,
    b"-1",
    b"NaN",
    b"[" * 100,
    b"\x80",
    b"null",
    b"1e999",
    b"/../",
    b"<",
    b'"',
    b"\0",
    b"\xff\xff",
]


class Target:
    """A dataset in one format, of which one file at a time is replaced."""

    def __init__(self, name: str, folder: Path) -> None:
        self.module = MODULES[name]
        pictures = folder / "pictures"
        pictures.mkdir()
        self.path = folder / f"out{self.module.SUFFIX}"
        self.module.write(nasty(pictures, self.module.KEEPS), self.path)
        found = [self.path] if self.path.is_file() else sorted(self.path.rglob("*"))
        self.files = [file for file in found if file.is_file() and not file.is_symlink()][:255]
        self.contents = [file.read_bytes() for file in self.files]

    def seeds(self) -> list[bytes]:
        """Inputs: the number of a file, and its content."""
        return [bytes([n]) + content for n, content in enumerate(self.contents)]

    def __call__(self, data: bytes) -> None:
        """Read the dataset with one file replaced."""
        place = data[0] % len(self.files) if data else 0
        self.files[place].write_bytes(data[1:])
        try:
            self.module.sniff(self.path)
            formats.detect(self.path)
        except DelineateError:
            pass
        try:
            for record in self.module.read(self.path):
                len(record.instances)
        except DelineateError:
            pass
        finally:
            self.files[place].write_bytes(self.contents[place])


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The input with some values of its JSON changed, or else some of its bytes."""
    head, content = data[:1], data[1:]
    if content[:1] in b"{[" and content and rng.random() < 0.7:
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(content)
            for _ in range(rng.randint(1, 3)):
                value = changed(value, rng)
            return head + json.dumps(value).encode()
    changing = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changing) + 1)
        changing[at : at + rng.choice([0, 1, 2, 4, 30])] = rng.choice([*BYTES, rng.randbytes(2)])
    return head + bytes(changing)


def changed(value: object, rng: random.Random) -> object:
    """One place of a JSON value replaced, dropped or repeated."""
    if not isinstance(value, list | dict) or not value or rng.random() < 0.1:
        return rng.choice(VALUES)
    keys = list(range(len(value))) if isinstance(value, list) else list(value)
    key = rng.choice(keys)
    if rng.random() < 0.15:
        if isinstance(value, list) and rng.random() < 0.5:
            value.append(value[key])
        else:
            del value[key]
    else:
        value[key] = changed(value[key], rng)
    return value


def led(target: Target, seconds: int) -> None:
    """Mutations led by coverage."""

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        return mutated(data, rng)[:most] if rng.random() < 0.6 else atheris.Mutate(data, most)

    with tempfile.TemporaryDirectory() as corpus:
        for n, seed in enumerate(target.seeds()):
            Path(corpus, f"seed{n}").write_bytes(seed)
        options = [
            "-timeout=20",
            "-rss_limit_mb=2048",
            f"-max_total_time={seconds}",
            "-max_len=60000",
            "-verbosity=0",
        ]
        atheris.Setup([sys.argv[0], *options, corpus], target, custom_mutator=mutate)
        atheris.Fuzz()


def blind(target: Target, seconds: int) -> None:
    """Random mutations of what was written."""
    seeds, rng, count = target.seeds(), random.Random(0), 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = mutated(rng.choice(seeds), rng)
        started = time.monotonic()
        try:
            target(data)
            if time.monotonic() - started > 20:
                raise TimeoutError("reading took more than 20 seconds")
        except Exception:
            kept = Path(f"crash-{random.randbytes(6).hex()}")
            kept.write_bytes(data)
            print(f"kept {kept}")
            raise
        count += 1
    print(f"{count} inputs")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="formats; all by default")
    parser.add_argument("--seconds", type=int, default=30, help="for each format")
    parser.add_argument("--input", type=Path, help="run this one input")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.names or list(MODULES)
    if options.input is None and not options.child:
        failed = []
        for name in names:
            command = [sys.executable, __file__, name, "--child", "--seconds", str(options.seconds)]
            ended = subprocess.run(command, check=False, capture_output=True, text=True)
            print(f"{name}: {'fine' if ended.returncode == 0 else 'FAILED'}", flush=True)
            if ended.returncode:
                failed.append(name)
                print(f"{ended.stdout[-1000:]}{ended.stderr[-4000:]}", flush=True)
        return 1 if failed else 0
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        target = Target(names[0], Path(folder))
        run: Callable[[Target, int], None] = led if atheris else blind
        if options.input is not None:
            target(options.input.read_bytes())
        else:
            run(target, options.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
