"""Writes spinenet.json: what SpineNet of tf-models-official (Apache-2.0) computes with the weights of
`spinenet_scene`.

That code pads strided convolutions below and to the right, ours (after the code that trained the published
networks) on both sides. On maps with even sides the two are mirror images of each other: the reference gets
mirrored kernels and a mirrored picture, and its outputs are mirrored back. Only the pools then differ, see
`spinenet_scene.keras_pool`.

Run once where tensorflow, tf-keras, tf-models-official and torch are installed: python make_spinenet.py
"""

import json
import re
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras
import torch
from official.vision.modeling.backbones.spinenet import SpineNet as Reference
from spinenet_scene import SIZES, formula

from delineate.nn.spinenet import Block, SpineNet


def pairs(module):
    """Every convolution with its normalisation."""
    return [
        (part[0], part[1])
        for part in module.modules()
        if isinstance(part, torch.nn.Sequential) and isinstance(part[0], torch.nn.Conv2d)
    ]


def put(conv, norm, theirs_conv, theirs_norm):
    kernel = conv.weight.detach().numpy()[:, :, ::-1, ::-1].transpose(2, 3, 1, 0)
    theirs_conv.set_weights([np.ascontiguousarray(kernel)])
    theirs_norm.set_weights(
        [part.detach().numpy() for part in (norm.weight, norm.bias, norm.running_mean, norm.running_var)]
    )


def created(model, kind):
    """Layers of a kind in the order of their creation, which their names count."""
    found = [layer for layer in model.layers if type(layer).__name__ == kind]
    return sorted(found, key=lambda layer: int((re.findall(r"_(\d+)$", layer.name) or ["0"])[0]))


def reference(ours, size):
    tf_keras.backend.clear_session()
    theirs = Reference(
        tf_keras.layers.InputSpec(shape=[None, 256, 384, 3]),
        endpoints_num_filters=size.endpoint,
        resample_alpha=size.alpha,
        block_repeats=size.repeats,
        filter_size_scale=size.scale,
        activation="swish" if size.swish else "relu",
    )
    blocks = [module for module in ours.modules() if isinstance(module, Block)]
    inside = {id(conv) for block in blocks for conv, _ in pairs(block)}
    single = [pair for pair in pairs(ours) if id(pair[0]) not in inside]
    for (conv, norm), *layers in zip(
        single, created(theirs, "Conv2D"), created(theirs, "BatchNormalization"), strict=True
    ):
        put(conv, norm, *layers)
    for kind, length in (("BottleneckBlock", 3), ("ResidualBlock", 2)):
        own = [block for block in blocks if len(block.branch) == length]
        for block, layer in zip(own, created(theirs, kind), strict=True):
            for place, (conv, norm) in enumerate(pairs(block.branch), 1):
                put(conv, norm, getattr(layer, f"_conv{place}"), getattr(layer, f"_norm{place}"))
            if block.shortcut is not None:
                put(*pairs(block.shortcut)[0], layer._shortcut, layer._norm0)
    return theirs


def main():
    found = {}
    for name, size in SIZES.items():
        ours, picture = formula(SpineNet(size))
        theirs = reference(ours, size)
        count = sum(int(np.prod(value.shape)) for value in theirs.trainable_weights)
        if count != sum(value.numel() for value in ours.parameters()):
            raise SystemExit(f"{name}: {count} parameters in the reference")
        mirrored = tf.constant(picture.numpy().transpose(0, 2, 3, 1)[:, ::-1, ::-1])
        outputs = theirs(mirrored, training=False)
        levels = [outputs[str(level)].numpy()[:, ::-1, ::-1].transpose(0, 3, 1, 2) for level in range(3, 8)]
        found[name] = [
            {
                "shape": level.shape,
                "mean": float(np.abs(level).mean()),
                "first": level.ravel()[:: max(level.size // 8, 1)].astype(float).round(6).tolist(),
            }
            for level in levels
        ]
    (Path(__file__).parent / "spinenet.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
