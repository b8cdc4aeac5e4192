"""A batch of pictures and weights for small Mask R-CNNs, from formulas alone."""

import numpy as np

SIZES = [(64, 96), (50, 70)]  # pictures in a batch of 64 x 96
CLASSES = 3
DETECTIONS = 8
HIDDEN = 64  # of the box head
KINDS = ("v1", "v2")  # torchvision's first and second recipe


def wave(count, seed):
    """Numbers in [-1, 1] without a generator; far from periodic, so that channels differ."""
    at = np.arange(count, dtype=np.float64)
    return np.sin(at * at * 0.37 + at * 1.7 + seed * 2.3)


def images():
    """(2, 3, 64, 96) float32, zero beyond the pictures."""
    result = np.zeros((2, 3, 64, 96), np.float32)
    for number, (height, width) in enumerate(SIZES):
        rows, columns = np.mgrid[:height, :width]
        for channel in range(3):
            plane = np.sin(rows / (5 + channel) + number) * np.cos(columns / (7 - channel)) * 2
            result[number, channel, :height, :width] = plane
    return result


def tensor(name, shape, seed):
    """The value of one tensor of the state dict."""
    values = wave(int(np.prod(shape)), seed).reshape(shape)
    if name.endswith("running_var"):
        return 1 + 0.2 * values
    if len(shape) == 0:
        return np.zeros(())
    if len(shape) == 1:
        return (1.0 if "weight" in name else 0.0) + 0.1 * values
    gain = {"cls_score": 0.12, "cls_logits": 1.0, "bbox_pred": 0.5, "mask_fcn_logits": 4.0}
    values = values * (3.4 / np.prod(shape[1:])) ** 0.5
    if "cls_score" in name:
        values = values - values.mean(1, keepdims=True)  # what all regions have in common decides nothing
    return values * next((factor for part, factor in gain.items() if part in name), 1.0)


def fill(state):
    """Values for the tensors of a state dict {name: shape}, by name."""
    names = sorted(name for name in state if not name.endswith("num_batches_tracked"))
    return {name: tensor(name, state[name], seed).astype(np.float32) for seed, name in enumerate(names)}
