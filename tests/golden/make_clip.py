"""Makes tests/golden/clip: a tiny CLIP of transformers with random weights as ONNX files, and what transformers says.

Run once, with torch, transformers (both named in expected.json), onnx and onnxscript: python make_clip.py
"""

import json
from pathlib import Path

import numpy as np
import onnx
import torch
import transformers
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

HERE = Path(__file__).parent / "clip"
START, END = "<|startoftext|>", "<|endoftext|>"
TEXTS = ["a photo of a red car.", "Window", "It's  2\tCATS, isn't it?", "a " * 100, "déjà vu", ""]
MERGES = "p h|o t|ph ot|phot o</w>|o f</w>|r e|re d</w>|c a|ca r</w>|w i|n d|wi nd|o w</w>|i t</w>"
MERGES += "|' s</w>|n '|t s</w>|ca ts</w>"


def tokenizer():
    """Bytes that the texts need, and a few merges: as CLIP's own, only smaller."""
    letters = sorted({*"abcdefghijklmnopqrstuvwxyz0123456789.,?'", *"Ãł©"})
    merges = [tuple(pair.split()) for pair in MERGES.split("|")]
    tokens = [
        *letters,
        *(letter + "</w>" for letter in letters),
        *("".join(pair) for pair in merges),
        START,
        END,
    ]
    numbers = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=numbers, merges=merges, model_max_length=77), len(tokens)


def picture(height, width):
    """Waves: no random generator, no file."""
    rows, columns, channels = np.mgrid[:height, :width, :3]
    return (127.5 + 127.5 * np.sin(rows * 0.21 + columns * 0.13 * (channels + 1))).astype(np.uint8)


SIZES = [(32, 32), (48, 40), (37, 90), (20, 24)]


class Half(torch.nn.Module):
    def __init__(self, model, name):
        super().__init__()
        self.model, self.name = model, name

    def forward(self, first, mask=None):
        if self.name == "text":
            found = self.model.get_text_features(input_ids=first, attention_mask=mask)
        else:
            found = self.model.get_image_features(pixel_values=first)
        return getattr(found, "pooler_output", found)


def export(model, name, arguments, inputs, output):
    path = HERE / f"{name}_model.onnx"
    axes = {key: {0: "batch"} for key in (*inputs, output)}
    half = Half(model, "text" if name == "text" else "image").eval()
    torch.onnx.export(
        half, arguments, path, input_names=inputs, output_names=[output], dynamic_axes=axes, dynamo=False
    )
    proto = onnx.load(path)
    for node in proto.graph.node:
        node.doc_string = ""
        node.ClearField("metadata_props")
    onnx.save(proto, path)


def processor():
    return CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


def tiny():
    """The model and its tokenizer."""
    words, count = tokenizer()
    small = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={
            **small,
            "vocab_size": count,
            "max_position_embeddings": 77,
            "eos_token_id": count - 1,
            "bos_token_id": count - 2,
            "pad_token_id": count - 1,
        },
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    torch.manual_seed(0)
    model = CLIPModel._from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)  # no plain ones and zeros
    return model, words


def main():
    HERE.mkdir(exist_ok=True)
    model, words = tiny()
    prepare = processor()
    encoded = words(TEXTS, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
    pixels = [prepare(picture(*size), return_tensors="pt")["pixel_values"] for size in SIZES]
    with torch.no_grad():
        texts = Half(model, "text")(encoded["input_ids"], encoded["attention_mask"])
        pictures = Half(model, "image")(torch.cat(pixels))
    mask = encoded["attention_mask"]
    export(
        model, "text", (encoded["input_ids"][:2], mask[:2]), ["input_ids", "attention_mask"], "text_embeds"
    )
    export(model, "vision", (pixels[0],), ["pixel_values"], "image_embeds")
    words.backend_tokenizer.save(str(HERE / "tokenizer.json"))
    kept = ("size", "crop_size", "do_center_crop", "resample", "image_mean", "image_std", "rescale_factor")
    recipe = {name: value for name, value in prepare.to_dict().items() if name in kept}
    (HERE / "preprocessor_config.json").write_text(json.dumps(recipe, default=int))
    corners = [[float(x) for x in one[0, :, [0, 0, -1], [0, -1, 13]].flatten()] for one in pixels]
    expected = {
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "texts": TEXTS,
        "tokens": [row[: int(m.sum())].tolist() for row, m in zip(encoded["input_ids"], mask, strict=True)],
        "text_embeds": texts.tolist(),
        "sizes": SIZES,
        "pixels": corners,
        "image_embeds": pictures.tolist(),
    }
    (HERE / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main()
