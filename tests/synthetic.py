"""Synthetic pictures of nuclei with their true masks, for tests that need something to find."""

from __future__ import annotations

import numpy as np
from PIL import Image

from delineate.dataset import Dataset, Record
from delineate.instances import Instances
from delineate.masks import Masks

STYLES = ("fluorescence", "histology", "brightfield")


def nuclei(seed=0, size=(128, 160), count=12, *, style="fluorescence", radius=(6.0, 13.0), touching=0.3):
    """Draw one picture.

    Args:
        seed: Of everything random; the same seed gives the same picture.
        size: (height, width) in pixels.
        count: How many nuclei to try; those that find no place are left out.
        style: One of STYLES: bright on dark, purple on pink, or dark on bright grey.
        radius: Range of the half axes in pixels.
        touching: Share of the nuclei that are put against an earlier one.

    Returns:
        image (H, W, 3) uint8 and its Instances: masks that share no pixel, label 0, no scores.
    """
    rng = np.random.default_rng(seed)
    height, width = size
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    taken = np.zeros(size, bool)
    density = np.zeros(size)
    masks, centres = [], []
    for number in range(count):
        half = rng.uniform(*radius, 2)
        angle = rng.uniform(0, np.pi)
        y, x = rng.uniform(0, height), rng.uniform(0, width)
        if centres and number < count * touching:
            y0, x0, reach = centres[rng.integers(len(centres))]
            direction = rng.uniform(0, 2 * np.pi)
            y, x = (
                y0 + (reach + half.min()) * np.sin(direction),
                x0 + (reach + half.min()) * np.cos(direction),
            )
        along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
        across = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
        whole = (along / half[0]) ** 2 + (across / half[1]) ** 2 <= 1
        mask = whole & ~taken
        # Overlap is cut away; a nucleus of which too little remains is none.
        if mask.sum() < max(12, 0.7 * whole.sum()):
            continue
        taken |= mask
        masks.append(mask)
        centres.append((y, x, half.min()))
        density[mask] = rng.uniform(0.5, 1.0)
    image = _coloured(_blurred(density, 0.8), style, rng)
    return image, Instances.of(Masks.from_dense(np.array(masks, bool).reshape(-1, height, width)))


def nuclei_dataset(folder, count=4, size=(96, 128)):
    """Write `count` pictures of all styles into a folder; returns their Dataset of one class."""
    records = []
    for index in range(count):
        image, instances = nuclei(seed=index, size=size, style=STYLES[index % len(STYLES)])
        path = folder / f"picture{index}.png"
        Image.fromarray(image).save(path)
        records.append(Record(path, size, instances, index + 1))
    return Dataset(tuple(records), ("nucleus",))


def _blurred(picture, sigma):
    """Gaussian blur, mirrored at the border."""
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        padded = np.pad(picture, [(reach, reach) if a == axis else (0, 0) for a in (0, 1)], mode="symmetric")
        length = picture.shape[axis]
        picture = sum(k * np.take(padded, range(n, n + length), axis) for n, k in enumerate(kernel))
    return picture


def _coloured(density, style, rng):
    """Density 0..1 as 8-bit RGB with the noise of a camera."""
    background, foreground = {
        "fluorescence": ((8, 8, 8), (170, 170, 170)),
        "histology": ((232, 190, 214), (92, 48, 128)),
        "brightfield": ((225, 225, 225), (105, 105, 105)),
    }[style]
    image = np.add(background, density[..., None] * np.subtract(foreground, background))
    noise = rng.normal(0, 4, density.shape)[..., None]  # the same in all colours: grey stays grey
    return np.clip(image + noise, 0, 255).round().astype(np.uint8)
