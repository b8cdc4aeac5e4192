"""An image-text encoder that knows colours, and pictures in which they can be found: the truth of tests of text."""

import json

import numpy as np
import pytest

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


def write_clip(folder):
    """The same encoder as CLIP's files: folder/text_model.onnx, vision_model.onnx, tokenizer.json and a recipe."""
    onnx = pytest.importorskip("onnx")
    make, number = onnx.helper, onnx.TensorProto
    names = ["green", "blue", "red"]  # in this order no merge of one gets in the way of another
    letters = sorted(set("abcdefghijklmnopqrstuvwxyz.-"))
    merges = [(*pair,) for name in names for pair in _merges(name)]
    ends = ["<|startoftext|>", "<|endoftext|>"]
    tokens = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges), *ends]
    tokens = list(dict.fromkeys(tokens))
    table = np.zeros((len(tokens), 4), np.float32)
    for name in names:
        table[tokens.index(name + "</w>"), :3] = _hue(COLOURS[name]) / 255
    table[tokens.index(ends[1]), 3] = 0.01
    model = {"type": "BPE", "end_of_word_suffix": "</w>", "merges": [" ".join(pair) for pair in merges]}
    model["vocab"] = {token: index for index, token in enumerate(tokens)}
    recipe = {"size": 32, "crop_size": 32, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]}
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text(json.dumps({"model": model}), encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps(recipe))
    constants = {"table": table, "one": np.array([1], np.int64), "ten": np.array([[10 / 255]], np.float32)}
    text = [
        make.make_node("Gather", ["table", "input_ids"], ["found"]),
        make.make_node("ReduceSum", ["found", "one"], ["text_embeds"], keepdims=0),
    ]
    view = [
        make.make_node("ReduceMean", ["pixel_values"], ["mean"], axes=[2, 3], keepdims=0),
        make.make_node("ReduceMean", ["mean"], ["grey"], axes=[1], keepdims=1),
        make.make_node("Sub", ["mean", "grey"], ["hue"]),
        make.make_node("Sub", ["grey", "grey"], ["zero"]),
        make.make_node("Add", ["zero", "ten"], ["more"]),
        make.make_node("Concat", ["hue", "more"], ["image_embeds"], axis=1),
    ]
    halves = {
        "text": (text, ("input_ids", number.INT64, ["n", 77]), "text_embeds", ("table", "one")),
        "vision": (view, ("pixel_values", number.FLOAT, ["n", 3, 32, 32]), "image_embeds", ("ten",)),
    }
    for name, (nodes, taken, given, needed) in halves.items():
        values = [onnx.numpy_helper.from_array(constants[key], key) for key in needed]
        ports = (
            make.make_tensor_value_info(*taken),
            make.make_tensor_value_info(given, number.FLOAT, ["n", 4]),
        )
        graph = make.make_graph(nodes, name, [ports[0]], [ports[1]], values)
        opset = [make.make_opsetid("", 17)]
        onnx.save(make.make_model(graph, ir_version=8, opset_imports=opset), folder / f"{name}_model.onnx")
    return folder


def _merges(word):
    """What makes one token of a word, from the left."""
    parts = [*word[:-1], word[-1] + "</w>"]
    while len(parts) > 1:
        yield parts[0], parts[1]
        parts[:2] = [parts[0] + parts[1]]
