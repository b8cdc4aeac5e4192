"""CLIP and its kin from ONNX files, as an encoder for `delineate.text`; without torch.

A folder holds both halves and the vocabulary, in one of the layouts that are about:

==================== ============================== ==================================
                     transformers.js, optimum       clip-as-service, immich
==================== ============================== ==================================
texts                text_model.onnx                textual.onnx or textual/model.onnx
pictures             vision_model.onnx              visual.onnx or visual/model.onnx
both in one file     model.onnx
vocabulary           tokenizer.json, or vocab.json  tokenizer.json, or CLIP's own
                     with merges.txt                bpe_simple_vocab_16e6.txt.gz
pictures' recipe     preprocessor_config.json       preprocess_cfg.json
==================== ============================== ==================================

The network's files may lie in ``onnx/``, vocabulary and recipe beside them. Models with another vocabulary than
CLIP's (SigLIP, multilingual ones) are refused; `text.ImageTextEncoder` takes functions of one's own.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from delineate import download
from delineate._clip_pictures import Recipe, prepare, read_recipe
from delineate._clip_tokens import GZIPPED, Tokenizer
from delineate.download import Remote
from delineate.errors import WeightsError
from delineate.runtimes import Port, Runtime
from delineate.runtimes import load as load_runtime
from delineate.text import ImageTextEncoder

__all__ = ["PUBLISHED", "Recipe", "fetch", "folder_of", "is_ready", "load", "prepare"]

_S3 = "https://clip-as-service.s3.us-east-2.amazonaws.com/models-436c69702d61732d53657276696365/onnx"
_LAION = f"{_S3}/ViT-B-32-laion2b-s34b-b79k"
_VOCABULARY = (
    "https://raw.githubusercontent.com/openai/CLIP/d05afc436d78f1c48dc0dbf8e5980a9d471f35f6/clip/" + GZIPPED
)
PUBLISHED: dict[str, tuple[Remote, ...]] = {
    "clip-vit_b32": (
        Remote(
            f"{_LAION}/textual.onnx",
            "md5:84af5ae53da56464c76e67fe50fddbe9",
            254_000_000,
            "MIT",
            "OpenCLIP ViT-B/32 trained on LAION-2B, texts",
            "clip-vit_b32",
        ),
        Remote(
            f"{_LAION}/visual.onnx",
            "md5:a2d4cbd1cf2632cd09ffce9b40bfd8bd",
            351_000_000,
            "MIT",
            "OpenCLIP ViT-B/32 trained on LAION-2B, pictures",
            "clip-vit_b32",
        ),
        Remote(
            _VOCABULARY,
            "sha256:924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a",
            1_356_917,
            "MIT",
            "CLIP's vocabulary",
            "clip-vit_b32",
        ),
    )
}
"""Encoders that others publish under permissive licences, by name.

The weights are OpenCLIP's (MIT, as its authors say in issue 177 of mlfoundations/open_clip), exported by Jina's
clip-as-service, whose code states the checksums. OpenAI's own weights are not here: no licence is stated for them.
"""

_TEXTS = "text_model.onnx", "onnx/text_model.onnx", "textual.onnx", "textual/model.onnx"
_PICTURES = "vision_model.onnx", "onnx/vision_model.onnx", "visual.onnx", "visual/model.onnx"
_BOTH = "model.onnx", "onnx/model.onnx"
_LENGTH = 77  # tokens of a text


def load(source: str | Path, *, threads: int | None = None) -> ImageTextEncoder:
    """The encoder in a folder, or a published one that is ready.

    Args:
        source: A folder (see the module), or a name of `PUBLISHED` whose files `fetch` brought.
        threads: Threads of one call; None = as many CPUs as the process may use.

    Raises:
        WeightsError: There is no such folder or published encoder, or its networks are not CLIP's.
        FormatError: The vocabulary or the recipe cannot be read.
        RuntimeFailure: ONNX Runtime refuses a file.
    """
    folder = Path(source)
    if not folder.is_dir():
        folder = _ready(str(source))
    texts, pictures = _first(folder, _TEXTS), _first(folder, _PICTURES)
    if texts is None or pictures is None:
        texts = pictures = _first(folder, _BOTH)
    if texts is None or pictures is None:
        raise WeightsError(
            f"{folder}: must hold text_model.onnx and vision_model.onnx, textual.onnx and visual.onnx, or model.onnx, "
            "got none of these pairs"
        )
    places = [folder, texts.parent, pictures.parent]
    named = ("tokenizer.json", "vocab.json", GZIPPED)
    tokenizer = Tokenizer.read(next((place for place in places if _first(place, named)), folder))
    recipe = read_recipe(places)
    text_half = load_runtime("onnx", texts, threads=threads)
    picture_half = text_half if texts == pictures else load_runtime("onnx", pictures, threads=threads)
    words, views = _Texts(text_half, recipe, tokenizer), _Views(picture_half, recipe)
    return ImageTextEncoder(words, views, side=recipe.side, name=folder.name)


def folder_of(name: str) -> Path:
    """Where the files of a published encoder lie, or may be put by hand.

    Args:
        name: One of `PUBLISHED`.

    Raises:
        ValueError: If there is no such encoder.

    >>> folder_of("clip-vit_b32").name
    'clip-vit_b32'
    """
    if name not in PUBLISHED:
        close = difflib.get_close_matches(name, PUBLISHED, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"clip: name must be one of {', '.join(PUBLISHED)}, got {name!r:.80}.{hint}")
    return download.location(PUBLISHED[name][0]).parent


def is_ready(name: str) -> bool:
    """Whether all files of a published encoder are in the cache.

    Args:
        name: One of `PUBLISHED`.
    """
    return folder_of(name).is_dir() and all(download.location(file).is_file() for file in PUBLISHED[name])


def fetch(
    name: str,
    *,
    announce: Callable[[Remote], None] | None = None,
    progress: download.Progress | None = None,
    offline: bool | None = None,
) -> Path:
    """The folder of a published encoder; its files are fetched if they are not in the cache, and verified.

    Args:
        name: One of `PUBLISHED`.
        announce: Called with what will come, before it comes.
        progress: Called as bytes arrive.
        offline: Never fetch; None = what ``DELINEATE_OFFLINE`` says.

    Raises:
        DownloadError: If a file cannot be had (see `download.fetch`).
        ValueError: If there is no such encoder.
    """
    folder = folder_of(name)
    for file in PUBLISHED[name]:
        download.fetch(file, announce=announce, progress=progress, offline=offline)
    return folder


class _Half:
    """One half of the model: named arrays in, the embeddings out, in batches that the file can take."""

    def __init__(self, runtime: Runtime, recipe: Recipe, names: tuple[str, ...]) -> None:
        self.runtime, self.recipe = runtime, recipe
        self.output = _embedding(runtime, names)

    def run(self, arrays: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        """(N, D) of arrays (N, ...); a combined file gets one empty example of the other half."""
        count = len(next(iter(arrays.values())))
        inputs = {port.name: port for port in self.runtime.inputs}
        batch = next((inputs[name].shape[0] for name in arrays if inputs[name].shape[0]), None) or count
        others = {
            name: _nothing(port, self.recipe.side) for name, port in inputs.items() if name not in arrays
        }
        parts = []
        for start in range(0, count, max(batch, 1)):
            rows = np.minimum(np.arange(start, start + batch), count - 1)  # a fixed batch is filled up
            chosen = {name: array[rows].astype(inputs[name].dtype) for name, array in arrays.items()}
            part = self.runtime({**chosen, **others})[self.output][: count - start]
            parts.append(np.asarray(part, np.float32))
        return np.concatenate(parts)


class _Texts(_Half):
    """Texts to (T, D)."""

    def __init__(self, runtime: Runtime, recipe: Recipe, tokenizer: Tokenizer) -> None:
        super().__init__(runtime, recipe, ("text_embeds", "text_features"))
        self.tokenizer = tokenizer
        ports = [port for port in runtime.inputs if len(port.shape) == 2 and port.dtype.startswith("int")]
        numbers = [port for port in ports if port.name != "attention_mask"]
        if len(numbers) != 1:
            raise WeightsError(f"clip: the text half must take one array of tokens, got {_listed(runtime)}")
        self.numbers, self.length = numbers[0].name, numbers[0].shape[1] or _LENGTH
        self.meant = "attention_mask" if len(ports) > 1 else None

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        numbers, meant = self.tokenizer(texts, self.length)
        arrays: dict[str, NDArray[Any]] = {self.numbers: numbers}
        return self.run(arrays if self.meant is None else {**arrays, self.meant: meant})


class _Views(_Half):
    """Pictures to (N, D)."""

    def __init__(self, runtime: Runtime, recipe: Recipe) -> None:
        super().__init__(runtime, recipe, ("image_embeds", "image_features"))
        ports = [port for port in runtime.inputs if len(port.shape) == 4 and port.dtype.startswith("float")]
        if len(ports) != 1 or ports[0].shape[2] not in (None, recipe.side):
            raise WeightsError(
                f"clip: the picture half must take one array (N, 3, {recipe.side}, {recipe.side}), "
                f"got {_listed(runtime)}"
            )
        self.pixels = ports[0].name

    def __call__(self, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        return self.run({self.pixels: prepare(pictures, self.recipe)})


def _embedding(runtime: Runtime, names: tuple[str, ...]) -> str:
    """The output with the projected embedding: by name, or the only one with one vector for each example."""
    flat = [port.name for port in runtime.outputs if len(port.shape) == 2]
    for name in names:
        if name in flat:
            return name
    if len(flat) == 1 and flat[0] != "pooler_output":
        return flat[0]
    shown = "; ".join(str(port) for port in runtime.outputs)
    raise WeightsError(
        f"clip: outputs must have {names[0]} (N, D), got {shown}. Export CLIPTextModelWithProjection and "
        "CLIPVisionModelWithProjection, or the whole model"
    )


def _nothing(port: Port, side: int) -> NDArray[Any]:
    """An example without content, for the half that is not asked."""
    defaults = (1, 3, side, side) if len(port.shape) == 4 else (1, _LENGTH)
    shape = tuple(length or default for length, default in zip(port.shape, defaults, strict=True))
    return np.ones(shape, port.dtype)


def _listed(runtime: Runtime) -> str:
    return "; ".join(str(port) for port in runtime.inputs)


def _first(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _ready(name: str) -> Path:
    if name in PUBLISHED and is_ready(name):
        return folder_of(name)
    remedy = f"Run: delineate models download {name if name in PUBLISHED else next(iter(PUBLISHED))}"
    raise WeightsError(
        f"clip: encoder must be a folder with CLIP's ONNX files, or one of {', '.join(PUBLISHED)} that is ready, "
        f"got {name!r:.80}. {remedy}"
    )
