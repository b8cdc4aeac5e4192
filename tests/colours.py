"""An image-text encoder that knows colours, and pictures in which they can be found: the truth of tests of text."""

import numpy as np

from delineate.instances import Instances
from delineate.masks import Masks
from delineate.text import ImageTextEncoder

COLOURS = {"red": (210, 40, 40), "green": (40, 180, 60), "blue": (50, 60, 210), "gelb ☀": (220, 210, 40)}
GREY = 128
OTHERS = ("object", "things", "stuff", "texture")


def _hue(colour):
    return np.asarray(colour, np.float32) - np.mean(colour)  # grey is nothing


def encode_texts(texts):
    """A colour's direction for texts that name one; for all others one that no picture has."""
    nothing = (*np.zeros(3), 1)
    named = [next((name for name in COLOURS if name in text), None) for text in texts]
    return np.array([nothing if name is None else (*_hue(COLOURS[name]), 0) for name in named], np.float32)


def encode_pictures(pictures):
    """The mean colour without its grey, and a constant: what is grey is nearest to no colour."""
    means = np.array([_hue(picture.reshape(-1, 3).mean(0)) for picture in pictures]).reshape(-1, 3)
    return np.concatenate((means, np.full((len(pictures), 1), 10)), 1).astype(np.float32)


def encoder(side=32):
    return ImageTextEncoder(encode_texts, encode_pictures, side=side, name="colours")


def scene(discs, size=(96, 128), seed=0):
    """A grey picture with discs (colour, y, x, radius), and its truth: labels index into COLOURS."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    picture = np.full((*size, 3), GREY, np.float64)
    masks = []
    for name, y, x, radius in discs:
        masks.append((rows - y) ** 2 + (columns - x) ** 2 <= radius**2)
        picture[masks[-1]] = COLOURS.get(name, (90, 90, 90))
    picture += np.random.default_rng(seed).normal(0, 4, picture.shape)
    dense = np.array(masks, bool).reshape(-1, *size)
    labels = [list(COLOURS).index(name) if name in COLOURS else len(COLOURS) for name, *_ in discs]
    return picture.clip(0, 255).astype(np.uint8), Instances.of(Masks.from_dense(dense), labels=labels)


DISCS = [
    ("red", 20, 24, 12),
    ("green", 24, 64, 14),
    ("blue", 70, 30, 15),
    ("red", 66, 84, 18),
    ("grey", 26, 104, 13),
]
