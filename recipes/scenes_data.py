"""Makes the data that `recipes/panoptic_fpn_scenes.toml` and `recipes/fcn_scenes.toml` learn from: drawn landscapes.

    python recipes/scenes_data.py OUT

OUT gets ``train.json`` and ``val.json``, COCO panoptic files with their folders of maps, and the pictures. Houses,
trees and balls are things; sky, meadow, water and road are stuff. Borders of the road are void (nobody knows), and
heaps of balls that nobody counted are crowds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from delineate.formats import coco_panoptic
from delineate.panoptic import Panoptic, PanopticDataset, PanopticRecord

CLASSES = ("house", "meadow", "tree", "sky", "ball", "water", "road")
THINGS = (True, False, True, False, True, False, False)
HOUSE, MEADOW, TREE, SKY, BALL, WATER, ROAD = range(7)
COLOURS = {
    HOUSE: ((205, 190, 165), (190, 110, 90), (230, 225, 215), (150, 150, 160)),
    MEADOW: ((110, 150, 70), (140, 160, 85), (90, 130, 80)),
    TREE: ((40, 90, 45), (70, 105, 40), (150, 110, 40), (30, 75, 60)),
    SKY: ((130, 180, 230), (190, 210, 230), (235, 190, 150), (110, 130, 160)),
    BALL: ((220, 50, 50), (240, 200, 40), (50, 80, 210), (245, 245, 245), (160, 60, 170)),
    WATER: ((60, 110, 150), (80, 140, 150), (40, 80, 110)),
    ROAD: ((120, 115, 110), (90, 90, 95), (165, 150, 125)),
}


class _Painter:
    """A picture and its map, painted together."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]) -> None:
        self.rng, self.size = rng, size
        self.image = Image.new("RGB", size[::-1])
        self.map = Image.new("I", size[::-1])
        self.labels: list[int] = []
        self.crowds: list[bool] = []

    def segment(self, label: int, *, crowd: bool = False) -> int:
        self.labels.append(label)
        self.crowds.append(crowd)
        return len(self.labels)

    def colour(self, label: int) -> tuple[int, int, int]:
        choices = COLOURS[label]
        shade = np.array(choices[self.rng.integers(len(choices))]) * self.rng.uniform(0.85, 1.15)
        return tuple(np.clip(shade, 0, 255).astype(int).tolist())

    def paint(self, shape: str, points, number: int, colour) -> None:
        """A shape of PIL's on both; 0 is void."""
        points = [tuple(point) for point in np.asarray(points, float).tolist()]
        for canvas, value in ((self.image, colour), (self.map, number)):
            getattr(ImageDraw.Draw(canvas), shape)(points, fill=value)


def scene(seed, size: tuple[int, int] = (128, 160)):
    """A landscape.

    Args:
        seed: Of everything random.
        size: (height, width) in pixels.

    Returns:
        (H, W, 3) uint8, and its `Panoptic` with labels of CLASSES.
    """
    rng = np.random.default_rng(seed)
    height, width = size
    made = _Painter(rng, size)
    horizon = int(height * rng.uniform(0.25, 0.5))
    made.paint("rectangle", [(0, 0), (width, height)], made.segment(MEADOW), made.colour(MEADOW))
    made.paint("rectangle", [(0, 0), (width, horizon)], made.segment(SKY), made.colour(SKY))
    if rng.random() < 0.6:
        _water(made, horizon)
    if rng.random() < 0.7:
        _road(made, horizon)
    feet = np.sort(rng.uniform(horizon + 0.05 * height, height, rng.integers(2, 8)))
    for foot in feet.tolist():  # what is nearer lies over what is farther
        (_house, _tree, _ball)[rng.integers(3)](made, foot, horizon)
    if rng.random() < 0.3:
        _heap(made)
    return _photographed(made), _panoptic(made)


def _water(made: _Painter, horizon: int) -> None:
    rng, (height, width) = made.rng, made.size
    y, x = rng.uniform(horizon, height), rng.uniform(0, width)
    reach, deep = rng.uniform(0.3, 0.6) * width, rng.uniform(0.08, 0.2) * height
    top = max(y - deep, horizon + 1)
    made.paint("ellipse", [(x - reach, top), (x + reach, y + deep)], made.segment(WATER), made.colour(WATER))


def _road(made: _Painter, horizon: int) -> None:
    rng, (height, width) = made.rng, made.size
    far, near = rng.uniform(0, width, 2)
    wide = rng.uniform(0.1, 0.3) * width
    border = 0.05 * wide
    edges = [(far - 2, horizon), (far + 2, horizon), (near + wide / 2, height), (near - wide / 2, height)]
    grown = [(far - 3, horizon), (far + 3, horizon)]
    grown += [(near + wide / 2 + border, height), (near - wide / 2 - border, height)]
    colour = made.colour(ROAD)
    made.paint("polygon", grown, 0, colour)
    made.paint("polygon", edges, made.segment(ROAD), colour)


def _reach(made: _Painter, foot: float, horizon: int) -> float:
    """Nearer things are larger."""
    height = made.size[0]
    near = (foot - horizon) / max(height - horizon, 1)
    return height * (0.06 + 0.16 * near) * made.rng.uniform(0.8, 1.3)


def _house(made: _Painter, foot: float, horizon: int) -> None:
    rng, reach = made.rng, _reach(made, foot, horizon) * 1.3
    x, number = rng.uniform(0, made.size[1]), made.segment(HOUSE)
    roof = [(x - reach * 0.8, foot - reach), (x, foot - reach * 1.7), (x + reach * 0.8, foot - reach)]
    wall = made.colour(HOUSE)
    made.paint("rectangle", [(x - reach * 0.7, foot - reach), (x + reach * 0.7, foot)], number, wall)
    made.paint("polygon", roof, number, tuple(int(level * 0.55) for level in wall))
    for side in (-0.35, 0.35):
        pane = [
            (x + (side - 0.12) * reach, foot - reach * 0.7),
            (x + (side + 0.12) * reach, foot - reach * 0.4),
        ]
        made.paint("rectangle", pane, number, (60, 70, 90))


def _tree(made: _Painter, foot: float, horizon: int) -> None:
    rng, reach = made.rng, _reach(made, foot, horizon)
    x, number = rng.uniform(0, made.size[1]), made.segment(TREE)
    trunk = [(x - reach * 0.12, foot - reach), (x + reach * 0.12, foot)]
    made.paint("rectangle", trunk, number, (90, 65, 45))
    crown = made.colour(TREE)
    if rng.random() < 0.5:
        made.paint(
            "ellipse",
            [(x - reach * 0.7, foot - reach * 2.1), (x + reach * 0.7, foot - reach * 0.6)],
            number,
            crown,
        )
    else:
        tip = [
            (x - reach * 0.6, foot - reach * 0.5),
            (x, foot - reach * 2.3),
            (x + reach * 0.6, foot - reach * 0.5),
        ]
        made.paint("polygon", tip, number, crown)


def _ball(made: _Painter, foot: float, horizon: int) -> None:
    reach = _reach(made, foot, horizon) * 0.6
    x, number, colour = made.rng.uniform(0, made.size[1]), made.segment(BALL), made.colour(BALL)
    made.paint("ellipse", [(x - reach, foot - 2 * reach), (x + reach, foot)], number, colour)
    bright = tuple(min(255, level + 60) for level in colour)
    made.paint("ellipse", [(x - reach * 0.5, foot - reach * 1.6), (x, foot - reach * 1.1)], number, bright)


def _heap(made: _Painter) -> None:
    """Balls that nobody counted."""
    rng, (height, width) = made.rng, made.size
    x, y, number = rng.uniform(0, width), height * rng.uniform(0.8, 1), made.segment(BALL, crowd=True)
    for _ in range(6):
        u, v = x + rng.normal(0, 0.06) * width, y + rng.normal(0, 0.03) * height
        reach = 0.03 * height
        made.paint("ellipse", [(u - reach, v - reach), (u + reach, v + reach)], number, made.colour(BALL))


def _photographed(made: _Painter) -> np.ndarray:
    rng, (height, width) = made.rng, made.size
    soft = np.asarray(made.image.filter(ImageFilter.GaussianBlur(0.6)), np.float32)
    coarse = Image.fromarray(rng.normal(0, 1, (height // 8 + 1, width // 8 + 1)).astype(np.float32))
    cloudy = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))[..., None]
    grain = rng.normal(0, 4, (height, width, 1))
    return np.clip(soft + 9 * cloudy + grain, 0, 255).round().astype(np.uint8)


def _panoptic(made: _Painter) -> Panoptic:
    """Segments that still show, numbered from 1; stuff is one segment a class by itself."""
    painted = np.asarray(made.map).astype(np.int32)
    shown = np.flatnonzero(np.bincount(painted.ravel(), minlength=len(made.labels) + 1)[1:]) + 1
    numbers = np.zeros(len(made.labels) + 1, np.int32)
    numbers[shown] = np.arange(1, len(shown) + 1)
    labels = np.array(made.labels)[shown - 1]
    crowds = np.array(made.crowds)[shown - 1]
    return Panoptic(numbers[painted], np.arange(1, len(shown) + 1), labels, np.array(THINGS)[labels], crowds)


def write(folder: Path, name: str, count: int, *, size: tuple[int, int] = (128, 160), first: int = 0) -> None:
    """Write `count` landscapes and NAME.json into a folder.

    Args:
        folder: Made if missing.
        name: Of the file, without its ending.
        count: How many pictures.
        size: (height, width) of each.
        first: Seed of the first picture; the others follow.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    records = []
    for number in range(count):
        image, truth = scene(first + number, size)
        path = folder / "images" / f"{name}{number:04}.png"
        Image.fromarray(image).save(path)
        records.append(PanopticRecord(path, size, truth, number + 1))
    coco_panoptic.write(PanopticDataset(tuple(records), CLASSES, THINGS), folder / f"{name}.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    write(given.out, "train", 320, first=1000)
    write(given.out, "val", 60, first=0)


if __name__ == "__main__":
    main()
