"""The weights, pictures and prompts behind sam.json: the same numbers wherever they are made."""

import numpy as np

SIZES = ((96, 128), (128, 128), (200, 90), (61, 300), (300, 400))
"""Heights and widths of pictures: beside, equal to and beyond the 128 pixels of the variant "test"."""


def weights(shapes):
    """Random numbers for tensors by name, such that float32 keeps four digits, and masks have edges of all kinds."""
    drawn = {}
    for name in sorted(shapes):
        random = np.random.RandomState(sum(name.encode()))
        shape = tuple(shapes[name])
        value = random.standard_normal(shape)
        if len(shape) >= 2 and "positional" not in name and "embed" not in name and "token" not in name:
            value /= np.prod(shape[1:]) ** 0.5
        elif len(shape) < 2:
            value = value * 0.5 + name.endswith("weight")
        if "rel_pos" in name or "attention_biases" in name:
            value *= 5
        if name.endswith("running_var"):
            value = np.abs(value) + 0.5
        if (
            "hypernetworks" in name and "layers.2" in name
        ):  # small masks with clear edges: features are mostly
            value = value * 50 + 60 * name.endswith("bias")  # a little below zero, and count as outside
        if "output_upscaling.3.bias" in name:
            value -= 1.8
        drawn[name] = np.asarray(value, np.float32)
    return drawn


def picture(size):
    """(H, W, 3) uint8: blobs and stripes."""
    y, x = np.mgrid[: size[0], : size[1]]
    planes = [
        np.sin(x / (5 + 3 * c)) * np.cos(y / (9 - 2 * c)) + ((x - 40) ** 2 + (y - 30) ** 2 < 500)
        for c in range(3)
    ]
    return np.clip(np.stack(planes, 2) * 70 + 110, 0, 255).astype(np.uint8)


def prompts(size):
    """Arguments of a predictor by name: points, boxes, masks and combinations, in pixels of the picture."""
    height, width = size
    inside, outside = [width * 0.3, height * 0.4], [width * 0.8, height * 0.7]
    box = [width * 0.1, height * 0.2, width * 0.62, height * 0.9]
    y, x = np.mgrid[:32, :32]
    mask = (6 - ((x - 10) ** 2 + (y - 12) ** 2) ** 0.5).astype(np.float32)
    return {
        "point": {"points": [inside], "labels": [1]},
        "points": {"points": [inside, outside, [3.5, 2.0]], "labels": [1, 0, 1]},
        "box": {"box": box},
        "point and box": {"points": [inside, outside], "labels": [1, 0], "box": box},
        "mask": {"mask": mask},
        "point and mask": {"points": [outside], "labels": [1], "mask": mask},
        "all": {"points": [inside], "labels": [0], "box": box, "mask": mask},
    }


def positive_prompts(size):
    """Arguments of a predictor by name: points inside of objects and boxes, also beyond the picture."""
    height, width = size
    inside, other = [width * 0.3, height * 0.4], [width * 0.8, height * 0.7]
    box = [width * 0.1, height * 0.2, width * 0.62, height * 0.9]
    row = [[width * (0.1 + 0.12 * index), height * 0.5] for index in range(6)]
    return {
        "point": {"points": [inside], "labels": [1]},
        "points": {"points": [inside, other], "labels": [1, 1]},
        "six points": {"points": row, "labels": [1] * 6},
        "box": {"box": box},
        "box beyond": {"box": [-4.0, 3.0, width + 5.0, height * 0.5]},
        "point and box": {"points": [inside, other], "labels": [1, 1], "box": box},
    }


def calm(drawn):
    """Weights whose attention does not magnify the rounding of its inputs."""
    return {name: value / 4 if "q_proj.weight" in name else value for name, value in drawn.items()}
