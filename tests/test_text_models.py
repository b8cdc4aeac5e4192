"""Models in memory as encoders: stand-ins with the methods of transformers and open_clip, and a real one."""

# ruff: noqa: E402  (torch is optional)

import json
import math
from pathlib import Path
from types import SimpleNamespace

import colours
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models in memory need the extra [torch]")

from delineate import clip
from delineate.text import rank
from delineate.text_models import of_open_clip, of_transformers

GOLDEN = Path(__file__).parent / "golden" / "clip"
PICTURE, TRUTH = colours.scene(colours.DISCS)
WORDS = sorted({*colours.COLOURS, "other"})


class Colours(torch.nn.Module):
    """Knows colours under the names that both packages have for the same thing."""

    def __init__(self, wrapped=False):
        super().__init__()
        self.logit_scale = torch.nn.Parameter(torch.tensor(math.log(50.0)))
        self.visual = SimpleNamespace(image_size=(24, 24))
        self.wrapped = wrapped

    def encode_text(self, tokens):
        assert not torch.is_grad_enabled()
        found = torch.from_numpy(colours.encode_texts([WORDS[int(row[0])] for row in tokens]))
        return found * self.logit_scale

    def encode_image(self, tensors):
        assert tensors.shape[1:] == (3, 24, 24)
        views = (tensors * 255).round().byte().permute(0, 2, 3, 1).numpy()
        return torch.from_numpy(colours.encode_pictures(list(views))).half()

    def get_text_features(self, input_ids, attention_mask):
        assert attention_mask.shape == input_ids.shape
        found = self.encode_text(input_ids)
        return SimpleNamespace(pooler_output=found) if self.wrapped else found

    def get_image_features(self, pixel_values):
        found = self.encode_image(pixel_values)
        return SimpleNamespace(pooler_output=found) if self.wrapped else found


def tokens(texts):
    names = [next((name for name in WORDS if name in text), "other") for text in texts]
    return torch.tensor([[WORDS.index(name)] for name in names])


def to_tensor(picture):
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255


class Processor:
    image_processor = SimpleNamespace(crop_size={"height": 24, "width": 24}, size={"shortest_edge": 30})

    def __call__(self, text=None, images=None, padding=None, truncation=None, return_tensors="pt"):
        if text is None:
            return {"pixel_values": torch.stack([to_tensor(image) for image in images])}
        assert (padding, truncation) == ("max_length", True)
        return {"input_ids": tokens(text), "attention_mask": torch.ones_like(tokens(text))}


ENCODERS = {
    "open_clip": lambda: of_open_clip(Colours(), to_tensor, tokens),
    "transformers": lambda: of_transformers(Colours(), Processor()),
    "transformers 5": lambda: of_transformers(Colours(wrapped=True), Processor()),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_a_model_in_memory_finds_what_is_named(name):
    encoder = ENCODERS[name]()
    assert (encoder.side, round(encoder.scale, 3), encoder.name) == (24, 50, "Colours")
    found = rank(TRUTH, encoder, PICTURE, ["red", "blue"])
    own = rank(TRUTH, colours.encoder(24)._replace(scale=encoder.scale), PICTURE, ["red", "blue"])
    assert found.labels.tolist() == own.labels.tolist()
    assert found.masks == own.masks
    np.testing.assert_allclose(found.scores, own.scores, atol=1e-3)


def test_a_model_is_put_into_evaluation_mode_and_remembers_no_gradients():
    model = Colours().train()
    encoder = of_open_clip(model, to_tensor, tokens)
    encoder.texts(["red"])
    assert not model.training
    assert model.logit_scale.grad is None


@pytest.mark.parametrize(
    ("size", "side"),
    [
        (None, 224),
        (336, 336),
        ((224, 224), 224),
        ({"height": 224, "width": 256}, 256),
        ({"shortest_edge": 30}, 30),
    ],
)
def test_the_side_is_what_the_model_says(size, side):
    model = Colours()
    model.visual = SimpleNamespace(image_size=size)
    assert of_open_clip(model, to_tensor, tokens).side == side


def test_transformers_own_model_equals_its_onnx_files():
    """Runs where transformers is installed; CI has the pinned numbers of golden/make_clip.py instead."""
    transformers = pytest.importorskip("transformers", reason="an oracle that CI does not install")
    import sys

    sys.path.insert(0, str(GOLDEN.parent))
    import make_clip

    model, words = make_clip.tiny()
    processor = transformers.CLIPProcessor(make_clip.processor(), words)
    expected = json.loads((GOLDEN / "expected.json").read_text("utf-8"))
    ours, files = of_transformers(model, processor), clip.load(GOLDEN)
    assert ours.side == files.side == 32
    np.testing.assert_allclose(ours.texts(expected["texts"]), files.texts(expected["texts"]), atol=1e-4)
    views = [make_clip.picture(32, 32), make_clip.picture(64, 64)]
    np.testing.assert_allclose(ours.pictures(views), files.pictures(views), atol=1e-4)
