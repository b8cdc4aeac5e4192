"""Published models: found, fetched under their licences, read, made ready; from a server on this machine."""

# ruff: noqa: E402  (torch is optional)

import dataclasses
import hashlib
import inspect
import io
import pickle

import numpy as np
import pytest
from file_server import serving
from networks import instant_export

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

from delineate import Predictor, download, models, published
from delineate._coco_names import CLASSES
from delineate.errors import DownloadError, RuntimeFailure, WeightsError
from delineate.export import export
from delineate.export_prompts import export_promptable
from delineate.models import Weights, mask_rcnn, sam, yolo_seg
from delineate.prompt import PromptPredictor


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server, and an empty cache."""
    monkeypatch.setenv("DELINEATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DELINEATE_OFFLINE", raising=False)
    with serving() as server:
        yield server


def offer(server, monkeypatch, family, content, **changes):
    """Publish a content as the weights of "FAMILY-tiny"."""
    server.content = content
    weights = Weights(
        server.address("good", "tiny.pth"),
        f"sha256:{hashlib.sha256(content).hexdigest()[:8]}",
        "BSD-3-Clause",
        80,
        37.9,
        34.6,
        len(content),
    )
    monkeypatch.setitem(family.WEIGHTS, "tiny", weights._replace(**changes))


def saved(state, **options):
    stream = io.BytesIO()
    torch.save(state, stream, **options)
    return stream.getvalue()


@pytest.fixture
def tiny(monkeypatch):
    """A variant of Mask R-CNN with 80 classes, and a model of it."""
    monkeypatch.setitem(
        mask_rcnn.VARIANTS, "tiny", dataclasses.replace(mask_rcnn.VARIANTS["test"], classes=80)
    )
    torch.manual_seed(0)
    return models.build("mask_rcnn-tiny").eval()


def test_every_name_says_what_it_is():
    assert published.names() == sorted(published.names())
    for name in published.names():
        found = published.find(name)
        assert found.model in models.names()
        assert found.weights.licence
        assert found.path.name == found.weights.url.rpartition("/")[2]
        assert str(found.weights.remote)


def test_checksums_are_those_that_file_names_carry():
    for name in published.names():
        weights = published.find(name).weights
        if weights.checksum is not None:
            kind, _, digits = weights.checksum.partition(":")
            assert len(digits) == {"sha256": 8, "md5": 6}[kind]
            assert weights.url.rpartition(".")[0].endswith(digits)
    of = {name: published.find(name).weights for name in published.names()}
    assert of["mask_rcnn-r50_fpn"].checksum == "sha256:bf2d0c1e"
    assert of["mask_rcnn-r50_fpn_d2"].checksum == "md5:f10217"
    assert of["sam-vit_h"].checksum == "md5:4b8939"


def test_two_published_files_never_share_a_name():
    paths = [published.find(name).path for name in published.names()]
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize("variant", ["r50_fpn", "r50_fpn_v2", "r50_fpn_d2", "r101_fpn", "x101_32x8d_fpn"])
def test_stated_sizes_are_those_of_the_networks(variant):
    with torch.device("meta"):
        state = models.build(f"mask_rcnn-{variant}").state_dict()
    size = sum(value.numel() * value.element_size() for value in state.values())
    assert mask_rcnn.WEIGHTS[variant].size == pytest.approx(size, rel=0.01)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("r50_fpn", "MaskRCNN_ResNet50_FPN_Weights"),
        ("r50_fpn_v2", "MaskRCNN_ResNet50_FPN_V2_Weights"),
        ("faster_r50_fpn", "FasterRCNN_ResNet50_FPN_Weights"),
        ("faster_r50_fpn_v2", "FasterRCNN_ResNet50_FPN_V2_Weights"),
    ],
)
def test_torchvision_states_the_same(name, theirs):
    reason = "the oracle is torchvision, which is not installed"
    detection = pytest.importorskip("torchvision.models.detection", reason=reason)
    entry, weights = getattr(detection, theirs).COCO_V1, mask_rcnn.WEIGHTS[name]
    figures = entry.meta["_metrics"]["COCO-val2017"]
    assert entry.url == weights.url
    assert (figures["box_map"], figures.get("mask_map")) == (weights.box_ap, weights.mask_ap)
    assert weights.size == round(entry.meta["_file_size"] * 2**20)
    known = [name for name in entry.meta["categories"] if name not in ("__background__", "N/A")]
    assert tuple(known) == CLASSES


def test_classes_are_those_of_coco():
    assert len(set(CLASSES)) == 80
    assert (CLASSES[0], CLASSES[11], CLASSES[-1]) == ("person", "stop sign", "toothbrush")


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="Did you mean 'mask_rcnn-r50_fpn'"):
        published.find("mask_rcn-r50_fpn")


@pytest.mark.parametrize("old", [False, True], ids=["archive", "before torch 1.6"])
def test_a_checkpoint_becomes_a_model(server, monkeypatch, tiny, old):
    content = saved(tiny.state_dict(), _use_new_zipfile_serialization=not old)
    offer(server, monkeypatch, mask_rcnn, content)
    told = []
    path = published.checkpoint("mask_rcnn-tiny", announce=told.append)
    assert [file.about for file in told] == ["COCO val2017 box AP 37.9, mask AP 34.6"]
    assert path == published.find("mask_rcnn-tiny").path
    loaded = published.load("mask_rcnn-tiny", path)
    assert (loaded.name, loaded.classes) == ("mask_rcnn-tiny", CLASSES)
    assert all(
        torch.equal(value, tiny.state_dict()[name]) for name, value in loaded.model.state_dict().items()
    )
    assert not loaded.model.training


def test_several_checkpoints_of_one_variant(server, monkeypatch, tiny):
    content = pickle.dumps({"model": {name: value.numpy() for name, value in tiny.state_dict().items()}})
    offer(server, monkeypatch, mask_rcnn, content, variant="tiny")
    monkeypatch.setitem(mask_rcnn.WEIGHTS, "tiny_1x", mask_rcnn.WEIGHTS["tiny"])
    assert published.find("mask_rcnn-tiny_1x").model == "mask_rcnn-tiny"
    loaded = published.load("mask_rcnn-tiny_1x", published.checkpoint("mask_rcnn-tiny_1x"))
    assert loaded.name == "mask_rcnn-tiny"


def test_tensors_that_do_not_fit_are_refused(server, monkeypatch, tiny):
    state = tiny.state_dict()
    state["extra"] = state.pop("rpn.head.cls_logits.bias")
    offer(server, monkeypatch, mask_rcnn, saved(state))
    with pytest.raises(WeightsError, match="must fit mask_rcnn-tiny, but names or shapes differ"):
        published.load("mask_rcnn-tiny", published.checkpoint("mask_rcnn-tiny"))


def test_a_licence_that_asks_for_more_must_be_accepted(server, monkeypatch, tiny):
    offer(server, monkeypatch, mask_rcnn, saved(tiny.state_dict()), licence="CC-BY-SA-3.0")
    for accepted in ("", "MIT"):
        with pytest.raises(DownloadError, match=r"licence CC-BY-SA-3\.0.*--accept-licence CC-BY-SA-3\.0"):
            published.checkpoint("mask_rcnn-tiny", accepted=accepted)
    assert server.requests == []
    path = published.checkpoint("mask_rcnn-tiny", accepted="CC-BY-SA-3.0")
    assert published.checkpoint("mask_rcnn-tiny") == path  # once is enough


def test_offline_names_the_place(server, monkeypatch, tiny):
    offer(server, monkeypatch, mask_rcnn, saved(tiny.state_dict()))
    with pytest.raises(DownloadError, match=r"Fetch .*tiny\.pth elsewhere and put it at .*tiny\.pth"):
        published.checkpoint("mask_rcnn-tiny", offline=True)


def test_families_that_take_prompts_are_no_detectors(tmp_path):
    with pytest.raises(ValueError, match=r"sam-vit_b takes prompts.*models\.load_weights"):
        published.load("sam-vit_b", tmp_path / "sam.pth")


def test_a_prepared_model_needs_its_name_only(server, monkeypatch):
    torch.manual_seed(0)
    model = models.build("yolo_seg-test")
    monkeypatch.setitem(yolo_seg.VARIANTS, "tiny", yolo_seg.VARIANTS["test"])
    monkeypatch.setattr(published, "export", instant_export)
    offer(server, monkeypatch, yolo_seg, saved({"model": model.state_dict()}), classes=2)
    path = published.checkpoint("yolo_seg-tiny")
    with pytest.raises(WeightsError, match="must name its classes"):
        published.prepare("yolo_seg-tiny", path)
    contents = models.read_checkpoint(path)._replace(classes=("cat", "dog"))
    monkeypatch.setattr(models, "read_checkpoint", lambda path: contents)
    with pytest.raises(WeightsError, match="download"):
        Predictor("yolo_seg-tiny")
    made = published.prepare("yolo_seg-tiny", path)
    assert made == download.model_location("yolo_seg-tiny")
    predictor = Predictor("yolo_seg-tiny")
    assert (predictor.classes, predictor.licence) == (("cat", "dog"), "BSD-3-Clause")
    assert predictor.card.provenance["source"] == yolo_seg.WEIGHTS["tiny"].url
    assert len(predictor.predict(np.full((64, 64, 3), 255, np.uint8))) == 1
    stamp = made.stat().st_mtime_ns
    assert published.prepare("yolo_seg-tiny", path).stat().st_mtime_ns == stamp


def test_what_is_prepared_is_what_the_checkpoint_saw(server, monkeypatch, tiny):
    seen = {}
    monkeypatch.setattr(published, "export", lambda model, path, **facts: seen.update(facts))
    offer(server, monkeypatch, mask_rcnn, saved(tiny.state_dict()))
    published.prepare("mask_rcnn-tiny", published.checkpoint("mask_rcnn-tiny"))
    assert seen["preprocess"] == tiny.config.preprocess
    assert seen["classes"] == CLASSES
    inspect.signature(export).bind(tiny, "a.onnx", **seen)


def test_a_promptable_model_becomes_a_pair(server, monkeypatch):
    torch.manual_seed(0)
    model = models.build("sam-test")
    monkeypatch.setitem(sam.VARIANTS, "tiny", sam.VARIANTS["test"])
    offer(server, monkeypatch, sam, saved(model.state_dict()), classes=0)
    path = published.checkpoint("sam-tiny")
    with pytest.raises(WeightsError, match="download"):
        PromptPredictor.load("sam-tiny")
    seen = []

    def instant(network, encoder, decoder, *, card, half):
        assert torch.equal(network.state_dict()["image_encoder.pos_embed"], model.image_encoder.pos_embed)
        encoder.write_bytes(b"first")
        decoder.write_bytes(b"second")
        seen.append((card.name, card.licence, card.provenance["model"], half))

    inspect.signature(export_promptable).bind(model, path, path, card=None, half=False)
    monkeypatch.setattr(published, "export_promptable", instant)
    assert published.prepare("sam-tiny", path) == download.model_location("sam-tiny_encoder")
    assert published.prepare("sam-tiny", path).read_bytes() == b"first"
    assert seen == [("sam-tiny", "BSD-3-Clause", "sam-tiny", False)]
    with pytest.raises(RuntimeFailure, match="must be an ONNX model"):  # it was found
        PromptPredictor.load("sam-tiny")
