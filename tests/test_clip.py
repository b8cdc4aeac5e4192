"""CLIP's files against transformers on the same tiny model (golden/make_clip.py), in every layout."""

# ruff: noqa: E402  (onnx is optional)

import gzip
import hashlib
import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from file_server import serving

from delineate import clip
from delineate._clip_tokens import Tokenizer
from delineate.clip import Recipe, prepare
from delineate.download import Remote
from delineate.errors import FormatError, RuntimeFailure, WeightsError
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.text import rank

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, compose, helper

GOLDEN = Path(__file__).parent / "golden" / "clip"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text("utf-8"))
NAMES = ("text_model.onnx", "vision_model.onnx", "tokenizer.json", "preprocessor_config.json")


def picture(height, width):
    """As in golden/make_clip.py."""
    rows, columns, channels = np.mgrid[:height, :width, :3]
    return (127.5 + 127.5 * np.sin(rows * 0.21 + columns * 0.13 * (channels + 1))).astype(np.uint8)


PICTURES = [picture(*size) for size in EXPECTED["sizes"]]


def laid_out(folder, **places):
    """The golden files under other names."""
    for name in NAMES:
        target = folder / places.get(name.partition(".")[0], name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(GOLDEN / name, target)
    return folder


def combined(folder):
    """Both halves in one file, as exports of the whole model have them."""
    halves = [compose.add_prefix(onnx.load(GOLDEN / name), name[0] + ".", rename_inputs=False, rename_outputs=False)
              for name in NAMES[:2]]  # fmt: skip
    graph = helper.make_graph(
        [node for half in halves for node in half.graph.node],
        "both",
        [port for half in halves for port in half.graph.input],
        [port for half in halves for port in half.graph.output],
        [value for half in halves for value in half.graph.initializer],
    )
    folder.mkdir()
    onnx.save(
        helper.make_model(graph, opset_imports=halves[0].opset_import, ir_version=8), folder / "model.onnx"
    )
    for name in NAMES[2:]:
        shutil.copyfile(GOLDEN / name, folder / name)
    return folder


def fixed(folder):
    """Files that take just two examples at a time."""
    laid_out(folder)
    for name in NAMES[:2]:
        model = onnx.load(GOLDEN / name)
        for port in (*model.graph.input, *model.graph.output):
            port.type.tensor_type.shape.dim[0].dim_value = 2
        onnx.save(model, folder / name)
    return folder


LAYOUTS = {
    "plain": laid_out,
    "onnx folder": lambda folder: laid_out(
        folder, text_model="onnx/text_model.onnx", vision_model="onnx/vision_model.onnx"
    ),
    "textual and visual": lambda folder: laid_out(
        folder, text_model="textual.onnx", vision_model="visual.onnx"
    ),
    "two folders": lambda folder: laid_out(
        folder,
        text_model="textual/model.onnx",
        vision_model="visual/model.onnx",
        tokenizer="textual/tokenizer.json",
        preprocessor_config="visual/preprocess_cfg.json",
    ),
    "combined": combined,
    "batches of two": fixed,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_embeddings_equal_those_of_transformers(layout, tmp_path):
    encoder = clip.load(LAYOUTS[layout](tmp_path / "tiny"), threads=1)
    assert (encoder.side, encoder.name) == (32, "tiny")
    np.testing.assert_allclose(encoder.texts(EXPECTED["texts"]), EXPECTED["text_embeds"], atol=1e-4)
    np.testing.assert_allclose(encoder.pictures(PICTURES), EXPECTED["image_embeds"], atol=1e-4)
    np.testing.assert_allclose(encoder.texts(EXPECTED["texts"][:1]), EXPECTED["text_embeds"][:1], atol=1e-4)


def test_the_expected_embeddings_can_tell_mistakes():
    for name in ("text_embeds", "image_embeds"):
        vectors = np.array(EXPECTED[name])
        apart = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
        assert apart[~np.eye(len(vectors), dtype=bool)].min() > 1e-3


def test_pictures_are_prepared_as_by_transformers():
    for tensor, pixels in zip(prepare(PICTURES, Recipe(side=32)), EXPECTED["pixels"], strict=True):
        picked = tensor[:, [0, 0, -1], [0, -1, 13]]
        np.testing.assert_allclose(picked.flatten(), pixels, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (7, 5), (224, 224)])
def test_any_picture_fits(size):
    assert prepare([np.full((*size, 3), 255, np.uint8)], Recipe()).max() == pytest.approx(
        (1 - 0.40821073) / 0.27577711
    )


def test_squares_are_squeezed_where_the_recipe_says_so():
    stripes = np.zeros((8, 32, 3), np.uint8)
    stripes[:, 16:] = 255
    plain = {"mean": (0, 0, 0), "std": (1, 1, 1), "side": 8, "bicubic": False}
    assert prepare([stripes], Recipe(**plain, square=True))[0, 0, 4].round(1).tolist()[:3] == [0, 0, 0]
    assert prepare([stripes], Recipe(**plain, square=True))[0, 0, 4].round(1).tolist()[-3:] == [1, 1, 1]


def test_tokens_equal_those_of_transformers(caplog):
    tokens = Tokenizer.read(GOLDEN)
    with caplog.at_level(logging.WARNING, "delineate"):
        numbers, meant = tokens(EXPECTED["texts"], 77)
    for row, mask, expected in zip(numbers, meant, EXPECTED["tokens"], strict=True):
        assert row[mask == 1].tolist() == expected
        assert not row[mask == 0].any()
    assert [record.getMessage()[:40] for record in caplog.records] == [
        "a text must have at most 75 tokens, the "
    ]
    assert "'a a a" in caplog.text


def test_a_very_long_word_is_cut_in_time():
    numbers, meant = Tokenizer.read(GOLDEN)(["photo" * 300_000], 77)
    assert meant.sum() == 77
    assert numbers[0, -1] == EXPECTED["tokens"][0][-1]


def test_vocabulary_in_two_files_gives_the_same(tmp_path):
    model = json.loads((GOLDEN / "tokenizer.json").read_text("utf-8"))["model"]
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in model["merges"]]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]))
    with pytest.raises(FormatError, match=r"merges.txt: must be there beside vocab.json"):
        Tokenizer.read(tmp_path)
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    ours = Tokenizer.read(tmp_path)(EXPECTED["texts"], 77)[0]
    np.testing.assert_array_equal(ours, Tokenizer.read(GOLDEN)(EXPECTED["texts"], 77)[0])


def test_the_numbers_of_clips_own_file_follow_from_its_order(tmp_path):
    with gzip.open(tmp_path / "bpe_simple_vocab_16e6.txt.gz", "wt", encoding="utf-8") as file:
        file.write('"version: 0.2\nc a\nca t</w>')
    numbers = Tokenizer.read(tmp_path)(["Cat ca! é"], 12)[0][0].tolist()
    # "!" is byte token 0; words end 256 later; c a = 512, cat</w> = 513; start and end follow
    c, a, e = ord("c") - 33, ord("a") - 33 + 256, (0xC3 - 0xAE + 94 + 12, 0xA9 - 0xA1 + 94 + 256)
    assert numbers == [514, 513, c, a, 256, *e, 515, 0, 0, 0, 0]


def test_masks_are_ranked_by_it():
    encoder = clip.load(GOLDEN, threads=1)
    found = Instances.of(Masks.from_boxes([[3, 4, 20, 30], [30, 8, 60, 40]], (48, 64)))
    first = rank(found, encoder, picture(48, 64), ["cats", "window"])
    assert first == rank(found, clip.load(GOLDEN), picture(48, 64), ["cats", "window"])


def damaged_tokenizer(folder):
    (folder / "tokenizer.json").write_text('{"model": {"type": "Unigram", "vocab": []}}')


def damaged_json(folder):
    (folder / "tokenizer.json").write_bytes((GOLDEN / "tokenizer.json").read_bytes()[:200])


def no_ends(folder):
    text = (GOLDEN / "tokenizer.json").read_text("utf-8").replace("<|endoftext|>", "<end>")
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")


def odd_merges(folder):
    file = json.loads((GOLDEN / "tokenizer.json").read_text("utf-8"))
    file["model"]["merges"][3] = "a b c"
    (folder / "tokenizer.json").write_text(json.dumps(file))


def broken_gzip(folder):
    (folder / "tokenizer.json").unlink()
    (folder / "bpe_simple_vocab_16e6.txt.gz").write_bytes(gzip.compress(b"a b\n" * 99)[:-9])


def no_vocabulary(folder):
    (folder / "tokenizer.json").unlink()


def oblong(folder):
    (folder / "preprocessor_config.json").write_text(
        '{"size": {"height": 32, "width": 64}, "do_center_crop": false}'
    )


def nearest(folder):
    (folder / "preprocessor_config.json").write_text('{"size": 32, "crop_size": 32, "resample": 0}')


def another_side(folder):
    (folder / "preprocessor_config.json").write_text('{"size": 24, "crop_size": 24}')
    model = onnx.load(GOLDEN / "vision_model.onnx")
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 32
    onnx.save(model, folder / "vision_model.onnx")


def one_half(folder):
    (folder / "vision_model.onnx").unlink()


def swapped(folder):
    shutil.copyfile(GOLDEN / "vision_model.onnx", folder / "text_model.onnx")


def no_projection(folder):
    graph = helper.make_graph(
        [helper.make_node("Cast", ["input_ids"], ["pooler_output"], to=TensorProto.FLOAT)],
        "g",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["n", 77])],
        [helper.make_tensor_value_info("pooler_output", TensorProto.FLOAT, ["n", 77])],
    )
    onnx.save(
        helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]),
        folder / "text_model.onnx",
    )


def no_network(folder):
    (folder / "text_model.onnx").write_bytes(b"nothing")


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (damaged_tokenizer, FormatError, "tokenizer.json: must hold CLIP's byte pairs .* got Unigram"),
        (damaged_json, FormatError, "tokenizer.json: must be a tokenizer's JSON"),
        (no_ends, FormatError, "must hold <|startoftext|> and <|endoftext|>"),
        (odd_merges, FormatError, "merge 3: must be two tokens, got 'a b c'"),
        (broken_gzip, FormatError, "must be a whole gzip file"),
        (no_vocabulary, FormatError, "must hold tokenizer.json, vocab.json with merges.txt, or"),
        (oblong, FormatError, "size must be square"),
        (nearest, FormatError, "resample must be 2"),
        (another_side, WeightsError, r"must take one array \(N, 3, 24, 24\)"),
        (one_half, WeightsError, "must hold text_model.onnx and vision_model.onnx"),
        (swapped, WeightsError, "the text half must take one array of tokens"),
        (no_projection, WeightsError, "Export CLIPTextModelWithProjection"),
        (no_network, RuntimeFailure, "must be an ONNX model"),
    ],
)
def test_what_is_wrong_in_a_folder_is_named(damage, error, message, tmp_path):
    damage(laid_out(tmp_path / "tiny"))
    with pytest.raises(error, match=message):
        clip.load(tmp_path / "tiny")


def test_what_is_not_there_is_said_with_the_command_that_brings_it(monkeypatch, tmp_path):
    monkeypatch.setenv("DELINEATE_CACHE", str(tmp_path))
    assert not clip.is_ready("clip-vit_b32")
    for source in ("clip-vit_b32", "nowhere"):
        with pytest.raises(WeightsError, match="Run: delineate models download clip-vit_b32"):
            clip.load(source)
    with pytest.raises(ValueError, match="Did you mean 'clip-vit_b32'"):
        clip.folder_of("clip-vitb32")


def test_a_published_encoder_is_fetched_verified_and_loaded_by_name(monkeypatch, tmp_path):
    monkeypatch.setenv("DELINEATE_CACHE", str(tmp_path))
    monkeypatch.delenv("DELINEATE_OFFLINE", raising=False)
    pages = {name: (GOLDEN / name).read_bytes() for name in NAMES}
    told = []
    with serving() as server:

        def announce(file):
            told.append(file.name)
            server.content = pages[file.name]

        files = tuple(
            Remote(
                server.address("good", name),
                f"md5:{hashlib.md5(content).hexdigest()}",
                len(content),
                "MIT",
                "tiny",
                "clip-tiny",
            )
            for name, content in pages.items()
        )
        monkeypatch.setitem(clip.PUBLISHED, "clip-tiny", files)
        folder = clip.fetch("clip-tiny", announce=announce)
    assert told == list(NAMES)
    assert folder == tmp_path / "weights" / "clip-tiny" == clip.folder_of("clip-tiny")
    assert clip.is_ready("clip-tiny")
    assert clip.fetch("clip-tiny", offline=True) == folder
    found = clip.load("clip-tiny", threads=1).pictures(PICTURES)
    np.testing.assert_allclose(found, EXPECTED["image_embeds"], atol=1e-4)


def test_every_published_file_has_a_checksum_a_licence_and_a_place_of_its_own():
    for name, files in clip.PUBLISHED.items():
        assert {file.licence for file in files} == {"MIT"}
        assert all(file.checksum and file.size for file in files)
        assert {file.folder for file in files} == {name}
        assert len({file.name for file in files}) == len(files)
