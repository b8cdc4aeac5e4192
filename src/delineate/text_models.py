"""Image-text models that one already has in memory, transformers' or open_clip's, as encoders for `delineate.text`.

Neither package is imported here: what is given is only called. So any model with the same methods will do, with
whatever vocabulary it has (SigLIP, multilingual ones), on whatever device it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from delineate.text import ImageTextEncoder


def of_transformers(model: torch.nn.Module, processor: Callable[..., Any]) -> ImageTextEncoder:
    """An encoder of a model of transformers, such as ``CLIPModel`` or ``SiglipModel``.

    Args:
        model: With ``get_text_features``, ``get_image_features`` and ``logit_scale``; put into evaluation mode.
        processor: The one that belongs to it, such as ``CLIPProcessor``.

    ::

        model = CLIPModel.from_pretrained(folder)
        encoder = of_transformers(model, CLIPProcessor.from_pretrained(folder))
    """
    given: Any = model.eval()

    def texts(texts: Sequence[str]) -> NDArray[np.float32]:
        inputs = processor(text=list(texts), padding="max_length", truncation=True, return_tensors="pt")
        with torch.inference_mode():
            return _array(given.get_text_features(**_on(inputs, model)))

    def pictures(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        inputs = processor(images=list(pictures), return_tensors="pt")
        with torch.inference_mode():
            return _array(given.get_image_features(**_on(inputs, model)))

    settings: Any = getattr(processor, "image_processor", processor)
    crop, size = getattr(settings, "crop_size", None), getattr(settings, "size", None)
    side = _side(crop if crop and getattr(settings, "do_center_crop", True) else size)
    return ImageTextEncoder(texts, pictures, side, _scale(given), type(model).__name__)


def of_open_clip(
    model: torch.nn.Module, preprocess: Callable[[Any], Tensor], tokenizer: Callable[[list[str]], Tensor]
) -> ImageTextEncoder:
    """An encoder of a model of open_clip.

    Args:
        model: With ``encode_text``, ``encode_image`` and ``logit_scale``; put into evaluation mode.
        preprocess: A Pillow picture to a tensor (3, H, W); of the two, the one for evaluation.
        tokenizer: Texts to a tensor of tokens.

    ::

        model, _, preprocess = open_clip.create_model_and_transforms("ViT-B-32", pretrained="laion2b_s34b_b79k")
        encoder = of_open_clip(model, preprocess, open_clip.get_tokenizer("ViT-B-32"))
    """
    given: Any = model.eval()

    def texts(texts: Sequence[str]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return _array(given.encode_text(tokenizer(list(texts)).to(_device(model))))

    def pictures(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        tensors = torch.stack([preprocess(Image.fromarray(picture)) for picture in pictures])
        with torch.inference_mode():
            return _array(given.encode_image(tensors.to(_device(model))))

    size = getattr(getattr(model, "visual", None), "image_size", None)
    return ImageTextEncoder(texts, pictures, _side(size), _scale(given), type(model).__name__)


def _array(found: Any) -> NDArray[np.float32]:  # noqa: ANN401 - a tensor, or transformers' output that holds it
    tensor: Tensor = getattr(found, "pooler_output", found)
    return tensor.float().cpu().numpy()


def _on(inputs: Any, model: torch.nn.Module) -> dict[str, Any]:  # noqa: ANN401 - a mapping of transformers
    device = _device(model)
    return {name: value.to(device) for name, value in dict(inputs).items()}


def _device(model: torch.nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def _scale(model: Any) -> float:  # noqa: ANN401 - any model with the methods above
    scale = getattr(model, "logit_scale", None)
    return 100.0 if scale is None else float(scale.detach().exp())


def _side(size: Any) -> int:  # noqa: ANN401 - a number, a pair, or a mapping of sides
    """Pixels per side; of an oblong the longer one. 224 where nothing is said."""
    if size is None:
        return 224
    if isinstance(size, int | float):
        return int(size)
    values = size if isinstance(size, tuple | list) else dict(size).values()
    return max(int(value) for value in values if value is not None)
