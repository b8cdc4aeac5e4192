"""The weights and the picture behind spinenet.json: the same numbers wherever they are made."""

import torch
from torch.nn import functional as F  # noqa: N812

from delineate.nn.spinenet import SpineNetSize

SIZES = {"relu": SpineNetSize(12, 0.15, 0.5, 1), "swish": SpineNetSize(16, 0.11, 1.0, 2, swish=True)}


def formula(model):
    """Weights, statistics and a picture that depend on no random generator."""
    with torch.no_grad():
        for number, (name, value) in enumerate(model.state_dict().items()):
            if not value.is_floating_point():
                continue
            wave = (torch.arange(value.numel(), dtype=torch.float64) * 1.7 + number).sin().view(value.shape)
            if value.ndim > 1:
                value.copy_(wave * (3 / value[0].numel()) ** 0.5)
            elif name.endswith(("weight", "running_var")):
                value.copy_(1 + 0.4 * wave)
            else:
                value.copy_(0.3 * wave)
    picture = (torch.arange(3 * 256 * 384, dtype=torch.float64) * 0.0137).sin().view(1, 3, 256, 384)
    return model.eval(), picture.float()


def keras_pool(x, factor):
    """The pooling of Keras' SpineNet, seen in a mirror: 3 x 3 cells at every second one, again and again."""
    while factor > 1:
        x, factor = F.max_pool2d(x, 3, 2, 1), factor // 2
    return x
