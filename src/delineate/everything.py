"""Everything mode: a grid of points asks for all objects of a picture; the good answers stay.

The procedure is that of "Segment Anything" (Kirillov et al. 2023, arXiv:2304.02643, appendix B) and gives what the
package segment-anything gives on the same weights. Candidates are run-length masks from the start: they are
filtered by predicted IoU before a mask is made, and no bitmap ever exists.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from delineate import algebra, warp
from delineate.image import to_rgb8
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.postprocess.nms import nms
from delineate.prompt import PromptPredictor

_EDGE = 20  # a box ends at a crop's edge when it is no further away than so many pixels


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many points ask, and which answers stay.

    >>> Options(points=16, iou=0.8).overlap
    0.7
    """

    points: int = 32  # per side of the grid
    iou: float | None = (
        None  # the predicted IoU of a mask must be above this; None = as the model's family has it
    )
    stability: float | None = None  # and its stability at least this; None likewise
    overlap: float = 0.7  # IoU of boxes from which on the worse mask goes
    layers: int = 0  # of crops; layer i has 2**i crops per side
    crop_points: int = 1  # the grid of layer i has 1 / crop_points**i as many points per side
    crop_overlap: float = (
        512 / 1500
    )  # of neighbouring crops of layer 1, as a share of the picture's shorter side
    crop_nms: float = 0.7  # as `overlap`, between crops; masks of smaller crops go first
    least_area: int = 0  # holes and islands of fewer pixels are filled and removed; 0 = none are

    def __post_init__(self) -> None:
        for name, least in (("points", 1), ("crop_points", 1), ("layers", 0)):
            if not least <= getattr(self, name) <= 1024:
                raise ValueError(f"Options: {name} must be within {least}..1024, got {getattr(self, name)}")
        if self.layers > 4:
            raise ValueError(f"Options: layers must be within 0..4, got {self.layers}")
        for name in ("stability", "overlap", "crop_overlap", "crop_nms"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"Options: {name} must be within [0, 1], got {value}")
        if self.least_area < 0:
            raise ValueError(f"Options: least_area must be at least 0, got {self.least_area}")
        if self.iou is not None and not math.isfinite(self.iou):
            raise ValueError(f"Options: iou must be finite, got {self.iou}")


class Crop(NamedTuple):
    """Part of a picture: pixels, half-open."""

    x0: int
    y0: int
    x1: int
    y1: int
    layer: int


def crops(size: tuple[int, int], layers: int, overlap: float) -> list[Crop]:
    """The whole picture, then the crops of each layer, column after column.

    Args:
        size: (height, width) of the picture.
        layers: Layer i, from 1, has 2**i crops per side.
        overlap: Of neighbouring crops of layer 1, as a share of the shorter side; half of it in each layer after.

    >>> crops((60, 100), 1, 0.25)[1:3]
    [Crop(x0=0, y0=0, x1=58, y1=38, layer=1), Crop(x0=0, y0=23, x1=58, y1=60, layer=1)]
    """
    height, width = size
    found = [Crop(0, 0, width, height, 0)]
    for layer in range(1, layers + 1):
        count = 2**layer
        shared = int(overlap * min(size) * (2 / count))
        across, down = (math.ceil((shared * (count - 1) + length) / count) for length in (width, height))
        for column, row in product(range(count), repeat=2):
            x0, y0 = column * (across - shared), row * (down - shared)
            if x0 < width and y0 < height:
                found.append(Crop(x0, y0, min(x0 + across, width), min(y0 + down, height), layer))
    return found


def segment_everything(
    predictor: PromptPredictor, image: NDArray[Any], options: Options | None = None
) -> Instances:
    """All objects of a picture that a grid of points finds.

    Args:
        predictor: The promptable model; the whole picture is the one that it speaks of afterwards.
        image: (H, W, 3) uint8 RGB, or what `delineate.image.to_rgb8` takes.
        options: How many points ask, and which answers stay; None for the defaults.

    Returns:
        Best first (with crops: those of the smallest crops first). Scores are the predicted IoU; ``extras`` has
        ``stability``, ``point`` (N, 2) x, y in pixels of the picture, and ``crop`` (N, 4) xyxy.
    """
    options = options or Options()
    picture = to_rgb8(image)
    size = picture.shape[0], picture.shape[1]
    whole = predictor.set_image(picture)
    parts = []
    for crop in crops(size, options.layers, options.crop_overlap):
        if crop.layer:
            predictor.use(predictor.encode(picture[crop.y0 : crop.y1, crop.x0 : crop.x1]))
        parts.append(_in_crop(predictor, crop, size, options))
    predictor.use(whole)
    found = Instances.concat(parts)
    if len(parts) > 1 and len(found):
        rectangles = found.extras["crop"]
        areas = (rectangles[:, 2] - rectangles[:, 0]) * (rectangles[:, 3] - rectangles[:, 1])
        found = found[nms(_inclusive(found.boxes), 1 / areas, options.crop_nms)]
    if not options.least_area or not len(found):
        return found
    cleaned, changed = clean(_masks(found), options.least_area)
    found = found.replace(masks=cleaned, boxes=cleaned.boxes)
    scores = np.where(changed, 0, 1)  # of masks that are now alike, one that was so from the start stays
    return found[nms(_inclusive(found.boxes), scores, max(options.overlap, options.crop_nms))]


def clean(masks: Masks, least_area: int) -> tuple[Masks, NDArray[np.bool_]]:
    """Masks without small holes and islands: what segment-anything does for ``min_mask_region_area``.

    Holes are the 8-connected parts of a mask's complement, also at the border of the picture. They are filled first.
    Where all parts of a mask are small, the largest stays (of equal ones the first, column by column).

    Args:
        masks: N masks.
        least_area: Parts of fewer pixels go.

    Returns:
        The masks, and which of them changed (N,).

    >>> ring = Masks.from_dense(np.array([[[1, 1, 1, 0, 0], [1, 0, 1, 0, 1], [1, 1, 1, 0, 0]]], bool))
    >>> cleaned, changed = clean(ring, 2)
    >>> cleaned.to_dense().astype(int)[0], changed
    (array([[1, 1, 1, 0, 0],
           [1, 1, 1, 0, 0],
           [1, 1, 1, 0, 0]]), array([ True]))
    """
    changed = np.zeros(len(masks), bool)
    parts, owners = algebra.components(algebra.complement(masks))
    small = parts.areas < least_area
    changed[owners[small]] = True
    masks = algebra.union(masks, algebra.merge(parts[small], owners[small], len(masks)))
    parts, owners = algebra.components(masks)
    small = parts.areas < least_area
    changed[owners[small]] = True
    cleaned = algebra.merge(parts[~small], owners[~small], len(masks))
    lost = np.flatnonzero((cleaned.areas == 0) & (masks.areas > 0))
    if len(lost):
        order = np.arange(len(masks))
        order[lost] = len(masks) + np.arange(len(lost))
        cleaned = Masks.concat((cleaned, algebra.largest_component(masks[lost])))[order]
    return cleaned, changed


def _in_crop(predictor: PromptPredictor, crop: Crop, size: tuple[int, int], options: Options) -> Instances:
    """What one grid finds in the picture that the predictor speaks of, on the canvas of the whole picture."""
    side = max(int(options.points / options.crop_points**crop.layer), 1)
    line = (np.arange(side) + 0.5) / side
    grid = np.stack(np.meshgrid(line, line), 2).reshape(-1, 2) * (crop.x1 - crop.x0, crop.y1 - crop.y0)
    corner = np.array([crop.x0, crop.y0])
    family = predictor.conventions
    least_iou = family.iou if options.iou is None else options.iou
    stability = family.stability if options.stability is None else options.stability
    several = predictor.card is None or predictor.card.candidates
    parts = []
    for start in range(0, len(grid), predictor.batch):
        points = grid[start : start + predictor.batch]
        labels = np.ones((len(points), 1))
        found = predictor.predict(points[:, None], labels, multimask=several, least_iou=least_iou)
        found = found[found.extras["stability"] >= stability]
        found = found[~_cut(_inclusive(found.boxes) + np.tile(corner, 2), crop, size)]
        extras = {
            "stability": found.extras["stability"],
            "point": points[found.extras["prompt"]] + corner,
            "crop": np.tile(np.array(crop[:4]), (len(found), 1)),
        }
        parts.append(found.replace(extras=extras))
    found = Instances.concat(parts)
    found = found[nms(_inclusive(found.boxes), _scores(found), options.overlap)]
    if crop.layer == 0:
        return found
    placed = warp.paste(_masks(found), size, np.full(len(found), crop.y0), np.full(len(found), crop.x0))
    return Instances.of(placed, scores=found.scores, extras=dict(found.extras))


def _scores(found: Instances) -> NDArray[np.float32]:
    return found.scores if found.scores is not None else np.zeros(len(found), np.float32)


def _masks(found: Instances) -> Masks:
    return found.masks if found.masks is not None else Masks.empty(found.size)


def _inclusive(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Boxes as the procedure knows them: from the first pixel to the last one, 0 0 0 0 for no pixel."""
    ends = np.maximum(boxes[:, 2:] - 1, boxes[:, :2])
    return np.concatenate((boxes[:, :2], ends), 1)


def _cut(boxes: NDArray[Any], crop: Crop, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which boxes end near an edge of the crop that is not one of the picture: the object may go on there."""
    near = np.abs(boxes - np.array(crop[:4])) <= _EDGE
    outermost = np.abs(boxes - np.array([0, 0, size[1], size[0]])) <= _EDGE
    return np.asarray((near & ~outermost).any(1))
