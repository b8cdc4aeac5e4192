"""Makes the data that `recipes/click.toml` learns from: nuclei, facades and generated pictures in one COCO folder.

    python recipes/click_data.py PATH/TO/dsb2018 PATH/TO/facade640 OUT

OUT gets ``train.json``; ``val.json``, a few held-out pictures of each kind for the run's own validation;
``generated_val.json``, held-out generated pictures for benchmarks/clicks.py; generated pictures, and links to the
real ones; ``start.pt``, a fresh `sam-tiny` whose encoder begins as the embedded nuclei model's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from delineate.dataset import Dataset, Record
from delineate.formats import coco
from delineate.instances import Instances
from delineate.masks import Masks

SIDE = 512


def noise(rng, side, cells, channels=1):
    """Smooth noise of about `cells` bumps per side, 0 to 1."""
    coarse = rng.random((max(int(cells), 2), max(int(cells), 2), channels))
    planes = [
        Image.fromarray(coarse[..., i].astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
        for i in range(channels)
    ]
    return np.stack([np.asarray(plane) for plane in planes], 2)


def texture(rng, side):
    """A surface of one object or of the background, float RGB, 0 to 255."""
    colour = rng.uniform(0, 255, 3)
    if rng.random() < 0.3:
        colour = np.full(3, rng.uniform(0, 255))
    out = np.broadcast_to(colour, (side, side, 3)).astype(np.float32)
    kind = rng.random()
    strength = rng.uniform(5, 90)
    rows, columns = np.mgrid[:side, :side] / side
    if kind < 0.35:
        grain = noise(rng, side, np.exp(rng.uniform(np.log(3), np.log(200))), 3 if rng.random() < 0.3 else 1)
        out = out + (grain - 0.5) * strength
    elif kind < 0.6:
        angle, period = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(4), np.log(60)))
        phase = (rows * np.sin(angle) + columns * np.cos(angle)) * side / period
        wave = np.sin(2 * np.pi * phase) if rng.random() < 0.5 else np.sign(np.sin(2 * np.pi * phase))
        if rng.random() < 0.4:
            wave = wave * np.sin(2 * np.pi * (rows * np.cos(angle) - columns * np.sin(angle)) * side / period)
        out = out + wave[..., None] * strength / 2 * rng.uniform(0.3, 1, 3)
    if rng.random() < 0.7:
        angle = rng.uniform(0, 2 * np.pi)
        slope = (rows - 0.5) * np.sin(angle) + (columns - 0.5) * np.cos(angle)
        out = out + slope[..., None] * rng.uniform(0, 120) * rng.uniform(0.5, 1, 3)
    return out


def outline(rng, radius):
    """Corners (N, 2) of one shape around the origin."""
    kind = rng.random()
    if kind < 0.45:  # blob: a radius that wobbles
        angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
        wobble = sum(
            rng.normal(0, 0.35 / order) * np.cos(order * angles + rng.uniform(0, 6.3))
            for order in range(2, 8)
        )
        radii = radius * np.clip(1 + wobble * rng.uniform(0, 1), 0.25, 2)
        xy = np.stack((np.cos(angles), np.sin(angles)), 1) * radii[:, None]
    elif kind < 0.75:  # rectangle, upright more often than not
        xy = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * radius
    else:
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 10)))
        radii = rng.uniform(0.4, 1.2, len(angles)) * radius
        xy = np.stack((np.cos(angles), np.sin(angles)), 1) * radii[:, None]
    xy = xy * np.array([1, np.exp(rng.uniform(-0.9, 0.9))]) ** rng.choice([-0.5, 0.5, 1])
    turn = 0.0 if 0.45 <= kind < 0.6 else rng.uniform(0, 2 * np.pi)
    return xy @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])


def stamp(corners):
    """Covered pixels, with soft edges, 0 to 1."""
    canvas = Image.new("L", (2 * SIDE, 2 * SIDE))
    ImageDraw.Draw(canvas).polygon([tuple(point) for point in (corners * 2).tolist()], fill=255)
    return np.asarray(canvas.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32) / 255


def blurred(cover, sigma):
    """The same, softer."""
    grey = Image.fromarray((cover * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(float(sigma)))
    return np.asarray(grey, np.float32) / 255


def places(rng):
    """Centre and radius of each object: scattered, in rows, or crowded."""
    kind, count = rng.random(), int(np.exp(rng.uniform(np.log(3), np.log(40))))
    if kind < 0.25:
        columns, rows = rng.integers(2, 7, 2)
        pitch = SIDE / max(columns, rows)
        radius = pitch * rng.uniform(0.2, 0.42)
        return [((i + 0.5) * pitch, (j + 0.5) * pitch, radius) for i in range(columns) for j in range(rows)]
    largest = rng.uniform(30, 170) if kind < 0.7 else rng.uniform(12, 50)
    radii = np.sort(np.exp(rng.uniform(np.log(8), np.log(largest), count)))[::-1]
    return [(*rng.uniform(0, SIDE, 2), radius) for radius in radii]


def generated(seed):
    """A picture (512, 512, 3) and the visible parts of its objects."""
    rng = np.random.default_rng((2026, seed))
    picture = texture(rng, SIDE)
    masks = []
    same = texture(rng, SIDE) if rng.random() < 0.35 else None  # alike objects, told apart by their edges
    shape = outline(rng, 1.0) if rng.random() < 0.3 else None
    shading, rim = rng.random() < 0.4, rng.random() < 0.35
    for x, y, radius in places(rng):
        corners = (outline(rng, radius) if shape is None else shape * radius) + (x, y)
        cover = stamp(corners)
        if (cover > 0.5).sum() < 40:
            continue
        surface = texture(rng, SIDE) if same is None else same + rng.normal(0, 12, 3)
        if shading:
            distance = blurred(cover, radius / 3)
            surface = surface * (0.55 + 0.55 * distance[..., None])
        if rim or same is not None:
            soft = blurred(cover, rng.uniform(1, 3))
            picture = picture * (1 - 0.5 * soft[..., None])
        picture = picture + cover[..., None] * (surface - picture)
        hidden = cover > 0.5
        masks = [mask & ~hidden for mask in masks]
        masks.append(hidden)
    light = 0.5 + noise(rng, SIDE, rng.integers(2, 5)) * rng.uniform(0, 1)
    picture = picture * light / light.mean()
    picture = np.asarray(
        Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).filter(
            ImageFilter.GaussianBlur(rng.uniform(0, 1.2))
        )
    )
    kept = [mask for mask in masks if mask.sum() >= 40]
    return picture, Instances.of(Masks.from_dense(np.array(kept, bool).reshape(-1, SIDE, SIDE)))


def drawn(out, name, seeds):
    """Write generated pictures; yields their records."""
    for seed in seeds:
        picture, instances = generated(seed)
        path = out / "images" / f"generated_{seed:05d}.png"
        Image.fromarray(picture).save(path, compress_level=1)
        yield Record(path, picture.shape[:2], instances, f"{name}{seed}", {"source": name})


def linked(out, annotations, name, step=1):
    """Records of another dataset with one class, their pictures linked."""
    for record in list(coco.read(annotations))[::step]:
        path = out / "images" / record.path.name
        if not path.exists():
            path.symlink_to(record.path.resolve())
        source = str(record.attributes.get("modality", name))
        labels = np.zeros(len(record.instances), np.int64)
        instances = Instances.of(record.instances.masks, labels=labels)
        yield Record(path, record.size, instances, f"{name}{record.id}", {"source": source})


def start(path):
    """A fresh sam-tiny with the body of the embedded nuclei model."""
    import onnx
    import torch
    from onnx import numpy_helper

    from delineate import models
    from delineate.models._sam_pyramid import start_from

    weights = Path(models.__file__).parents[1] / "weights" / "nuclei.onnx"
    tensors = {
        entry.name.removeprefix("model.").removesuffix(".half"): torch.from_numpy(
            numpy_helper.to_array(entry).astype(np.float32)
        )
        for entry in onnx.load(weights).graph.initializer
        if entry.name.startswith("model.")
    }
    torch.manual_seed(0)
    model = models.build("sam-tiny")
    start_from(model.image_encoder, tensors)
    torch.save(model.state_dict(), path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nuclei", type=Path)
    parser.add_argument("facades", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=600, help="generated pictures to learn from")
    given = parser.parse_args()
    out = given.out
    (out / "images").mkdir(parents=True, exist_ok=True)
    start(out / "start.pt")
    held_out = list(drawn(out, "generated", range(100_000, 100_040)))
    parts = {
        "generated_val": held_out,
        "val": [
            *linked(out, given.nuclei / "val.json", "nuclei", 5),
            *linked(out, given.facades / "val.json", "facade", 4),
            *held_out[:10],
        ],
        "train": [
            *linked(out, given.nuclei / "train.json", "nuclei"),
            *linked(out, given.facades / "train.json", "facade"),
            *drawn(out, "generated", range(given.count)),
        ],
    }
    for name, records in parts.items():
        coco.write(Dataset(tuple(records), ("object",)), out / f"{name}.json")


if __name__ == "__main__":
    main()
