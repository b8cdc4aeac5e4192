"""Faster R-CNN and Mask R-CNN: published sizes, conventions, and what the parts do."""

# ruff: noqa: E402  (torch is optional)

import dataclasses
import json
import pickle
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

GOLDEN = Path(__file__).parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))

import mask_rcnn_scene as scene

from delineate import models
from delineate.errors import WeightsError
from delineate.masks import Masks
from delineate.models import mask_rcnn
from delineate.models._rcnn_heads import Regions
from delineate.nn import spinenet, swin

PUBLISHED = {
    "r50_fpn": 44_401_393,
    "r50_fpn_v2": 46_359_409,
    "faster_r50_fpn": 41_755_286,
    "faster_r50_fpn_v2": 43_712_278,
    "r50_fpn_d2": 44_343_216,
    "x101_32x8d_fpn": 107_427_760,
    "r50_c4": 35_909_612,
    "cascade_r50_fpn": 71_984_926,
    "cascade_swin_b": 139_311_894,
    "swin_t": 47_794_602,
    "swin_s": 69_112_506,
    "cascade_swin_t_giou": 85_629_804,
    "cascade_swin_s_giou": 106_947_708,
    "cascade_swin_b_giou": 144_977_002,
}
"""Parameters, without the values of frozen normalisations; of Swin's own detectors as mmdetection counts them."""


@pytest.mark.parametrize("variant", PUBLISHED)
def test_parameters_are_the_published_ones(variant):
    with torch.device("meta"):
        model = models.build(f"mask_rcnn-{variant}")
    assert sum(value.numel() for value in model.parameters()) == PUBLISHED[variant]


@pytest.mark.parametrize("variant", mask_rcnn.VARIANTS)
def test_a_configuration_survives_a_file(variant):
    config = mask_rcnn.VARIANTS[variant]
    text = msgspec.json.encode(dataclasses.asdict(config))
    assert mask_rcnn.Config(**msgspec.json.decode(text)) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": 0}, r"classes must be in 1\.\.65536, got 0"),
        ({"backbone": {"stem": "wide"}}, "backbone must be a Backbone"),
        ({"proposals": mask_rcnn.Proposals(sizes=((8.0,),))}, "sizes must be 5, one per level, got 1"),
        ({"training": {"stage_weights": [1.0, 0.5]}}, "stage_weights must be 1, one per stage, got 2"),
    ],
)
def test_configurations_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        mask_rcnn.Config(**changes)


def test_coco_ids_leave_gaps():
    published = mask_rcnn.Config(coco_ids=True)
    assert len(published.class_channels) == 80
    assert published.class_channels[:12] == (*range(1, 12), 13)
    assert published.class_channels[-1] == 90
    assert dataclasses.replace(published, classes=3).class_channels == (1, 2, 3)
    assert mask_rcnn.VARIANTS["r50_fpn_d2"].class_channels == tuple(range(80))


def test_padding_is_no_picture():
    torch.manual_seed(0)
    model = models.build("mask_rcnn-test").eval()
    images = torch.zeros(1, 3, 64, 96)
    images[..., :50, :70] = torch.rand(3, 50, 70)
    with torch.no_grad():
        outputs = model(images, torch.tensor([[50, 70]]))
    assert outputs.boxes[..., 2].max() <= 70
    assert outputs.boxes[..., 3].max() <= 50


def test_sizes_are_checked():
    model = models.build("mask_rcnn-test").eval()
    with pytest.raises(ValueError, match=r"sizes must have shape \(1, 2\), got \(2, 2\)"):
        model(torch.zeros(1, 3, 64, 64), torch.zeros(2, 2))


def test_without_masks_there_are_boxes():
    model = models.build("mask_rcnn-test", masks=False).eval()
    outputs = model(torch.rand(2, 3, 64, 64))
    assert outputs.masks.shape == (2, 20, 0, 0)
    assert not any("mask" in name for name in model.state_dict())


def small(variant, **changes):
    """A variant's conventions on a network of the size of "test"."""
    config, test = mask_rcnn.VARIANTS[variant], mask_rcnn.VARIANTS["test"]
    part, heads = test.backbone, config.heads
    backbone = dataclasses.replace(
        config.backbone, blocks=part.blocks, stem=part.stem, groups=1, group_width=64
    )
    if (size := backbone.swin) is not None:
        tiny = size._replace(width=8, depths=(1, 2, 1, 1), heads=(1, 2, 2, 2), window=3)
        backbone = dataclasses.replace(backbone, swin=tiny)
    if (size := backbone.spinenet) is not None:
        backbone = dataclasses.replace(backbone, spinenet=size._replace(endpoint=16, scale=0.0625))
    proposals = dataclasses.replace(
        config.proposals, limits=config.proposals.limits._replace(before=100, after=50)
    )
    heads = dataclasses.replace(heads, box_hidden=32, mask_hidden=16, choice=heads.choice._replace(score=0.0))
    options = {"classes": 2, "channels": 16, "backbone": backbone, "proposals": proposals, "heads": heads}
    return dataclasses.replace(config, **{**options, **changes})


@pytest.mark.parametrize("variant", mask_rcnn.VARIANTS)
def test_every_variant_runs_in_small(variant):
    torch.manual_seed(0)
    model = mask_rcnn.build(small(variant)).eval()
    side = 2 * max(model.config.strides) if model.config.pyramid else 75
    with torch.no_grad():
        outputs = model(torch.rand(2, 3, side, side))
    assert (outputs.scores > 0).any()
    assert all(part.isfinite().all() for part in outputs)
    assert outputs.masks.shape[2] == (28 if model.config.pyramid else 14) * model.config.masks


ROUNDED = {
    "spinenet_49": 40.8e6,
    "spinenet_96": 55.2e6,
    "spinenet_143": 79.2e6,
}
"""As published; SpineNet's with 91 classes instead of 81."""


@pytest.mark.parametrize("variant", ROUNDED)
def test_parameters_are_about_the_published_ones(variant):
    with torch.device("meta"):
        model = models.build(f"mask_rcnn-{variant}")
    count = sum(value.numel() for value in model.parameters())
    assert count == pytest.approx(ROUNDED[variant], rel=5e-3)


def test_spinenet_brings_its_own_pyramid():
    torch.manual_seed(0)
    model = mask_rcnn.build(small("spinenet_49s")).eval()
    assert "fpn" not in model.backbone
    with torch.no_grad():
        features = model.features(torch.rand(1, 3, 128, 256))
        anchored = model.anchored(features, torch.zeros(1, 3, 128, 256))
    assert [tuple(level.shape[2:]) for level in features] == [(16, 32), (8, 16), (4, 8), (2, 4), (1, 2)]
    assert [float(level[1, 2] - level[1, 0]) for level in anchored.anchors] == pytest.approx(
        [3 * 2**level * 2**0.5 for level in range(3, 8)]
    )
    with pytest.raises(ValueError, match="multiples of 128"):
        model(torch.zeros(1, 3, 128, 192))


@pytest.mark.parametrize(
    "variant", ["swin_t", "swinv2_t", "cascade_swin_b", "cascade_swin_t_giou", "spinenet_49s"]
)
def test_every_kind_of_backbone_learns(variant):
    torch.manual_seed(0)
    model = mask_rcnn.build(small(variant)).train()
    side = 2 * max(model.config.strides)
    bitmaps = np.zeros((2, side, side), bool)
    bitmaps[0, 5:30, 5:40], bitmaps[1, 35:60, 10:50] = True, True
    masks = Masks.from_dense(bitmaps)
    target = models.Target(torch.from_numpy(masks.boxes.copy()), torch.tensor([0, 1]), masks)
    losses = model.losses(torch.rand(2, 3, side, side), [target, target._replace(masks=None)])
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    learning = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    assert [name for name, value in learning if value.grad is None or not value.grad.isfinite().all()] == []


@pytest.mark.parametrize("objects", [0, 1])
@pytest.mark.parametrize(
    "variant", ["r50_fpn", "r50_c4", "cascade_r50_fpn", "swin_t", "cascade_swin_t_giou", "r50_fpn_lsj"]
)
def test_pictures_of_one_pixel_with_and_without_an_object(variant, objects):
    """One pixel in a padded canvas, and a picture that fills it and has no object."""
    torch.manual_seed(0)
    model = mask_rcnn.build(small(variant))
    images = torch.rand(2, 3, 64, 64)
    pixel = Masks.from_boxes(np.array([[0.0, 0.0, 1.0, 1.0]])[:objects].reshape(-1, 4), (64, 64))
    boxes, labels = torch.from_numpy(pixel.boxes.copy()).float(), torch.zeros(objects, dtype=torch.int64)
    nothing = models.Target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), Masks.empty((64, 64)))
    losses = model.train().losses(images, [models.Target(boxes, labels, pixel, (1, 1)), nothing])
    assert all(loss.isfinite() for loss in losses.values())
    if not objects:
        assert all(float(losses[name].detach()) == 0 for name in ("proposal", "box", "mask"))
    sum(losses.values()).backward()
    assert all(v.grad.isfinite().all() for v in model.parameters() if v.grad is not None)
    with torch.no_grad():
        outputs = model.eval()(images, torch.tensor([[1, 1], [64, 64]]))
    assert all(part.isfinite().all() for part in outputs)
    assert outputs.boxes[0].max() <= 1


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"swin": (8, (1, 1), (1, 1))}, "four stages"),
        ({"swin": swin.SIZES["t"], "spinenet": spinenet.SIZES["49"]}, "must not both be given"),
        ({"spinenet": spinenet.SIZES["49s"]}, r"channels must be SpineNet's 128, got 256"),
        ({"drop_path": 1.0}, r"drop_path must be in \[0, 1\), got 1.0"),
    ],
)
def test_backbones_are_checked(part, message):
    if "swin" in part:
        part["swin"] = swin.SwinSize(*part["swin"])
    with pytest.raises(ValueError, match=message):
        mask_rcnn.Config(backbone=mask_rcnn.Backbone(**part))


def test_one_level_of_a_transformer_is_no_pyramid():
    with pytest.raises(ValueError, match="pyramid must be True for swin and spinenet"):
        mask_rcnn.Config(
            pyramid=False,
            backbone=mask_rcnn.Backbone(swin=swin.SIZES["t"]),
            proposals=mask_rcnn.VARIANTS["r50_c4"].proposals,
        )


def swin_names(variant):
    """Names of an official Swin backbone's tensors without a prefix, with its tables of indices."""
    both, found = ("weight", "bias"), []
    for stage, depth in enumerate(mask_rcnn.VARIANTS[variant].backbone.swin.depths):
        for block in range(depth):
            place = f"layers.{stage}.blocks.{block}"
            found += [f"{place}.attn.relative_position_bias_table", f"{place}.attn.relative_position_index"]
            parts = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
            found += [f"{place}.{part}.{end}" for part in parts for end in both]
        if stage < 3:
            found += [
                f"layers.{stage}.downsample.{end}" for end in ("norm.weight", "norm.bias", "reduction.weight")
            ]
        found += [f"norm{stage}.{end}" for end in both]
    return found + [f"patch_embed.{part}.{end}" for part in ("proj", "norm") for end in both]


@pytest.mark.parametrize("variant", ["swin_t", "swin_s"])
def test_names_of_the_official_swin_detectors_are_understood(variant):
    with torch.device("meta"):
        model = models.build(f"mask_rcnn-{variant}")
    own = model.state_dict()
    parts = [f"neck.{kind}_convs.{level}.conv" for kind in ("lateral", "fpn") for level in range(4)]
    parts += [f"rpn_head.rpn_{part}" for part in ("conv", "cls", "reg")]
    parts += [f"roi_head.bbox_head.{part}" for part in ("shared_fcs.0", "shared_fcs.1", "fc_cls", "fc_reg")]
    parts += [f"roi_head.mask_head.convs.{index}.conv" for index in range(4)]
    parts += ["roi_head.mask_head.upsample", "roi_head.mask_head.conv_logits"]
    names = [f"{part}.{end}" for part in parts for end in ("weight", "bias")]
    names += [f"backbone.{name}" for name in swin_names(variant)]
    table = torch.zeros(13**2, 1)
    tensors = {name: table if "bias_table" in name else torch.zeros(4) for name in names}
    assert mask_rcnn.official(model, tensors).keys() == own.keys()


@pytest.mark.parametrize("variant", ["cascade_swin_t_giou", "cascade_swin_s_giou", "cascade_swin_b_giou"])
def test_names_of_the_official_swin_cascades_are_understood(variant):
    """As the official configurations make them, under the names of the backbone's authors."""
    with torch.device("meta"):
        model = models.build(f"mask_rcnn-{variant}")
    statistics = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    parts = [f"neck.{kind}_convs.{level}.conv" for kind in ("lateral", "fpn") for level in range(4)]
    parts += [f"rpn_head.rpn_{part}" for part in ("conv", "cls", "reg")]
    names = [f"backbone.{name}" for name in swin_names(variant)]
    for stage in range(3):
        head, mask = f"roi_head.bbox_head.{stage}", f"roi_head.mask_head.{stage}"
        parts += [f"{head}.{part}" for part in ("fc_cls", "fc_reg", "shared_fcs.0")]
        names += [f"{head}.shared_convs.{index}.conv.weight" for index in range(4)]
        names += [f"{head}.shared_convs.{index}.bn.{end}" for index in range(4) for end in statistics]
        parts += [f"{mask}.convs.{index}.conv" for index in range(4)]
        parts += [f"{mask}.{part}" for part in ("upsample", "conv_logits")]
    names += [f"{part}.{end}" for part in parts for end in ("weight", "bias")]
    assert len(names) == (337 if variant == "cascade_swin_t_giou" else 505)  # mmdetection's count
    tensors = {name: torch.zeros((13**2, 1) if "bias_table" in name else 4) for name in names}
    assert mask_rcnn.official(model, tensors).keys() == model.state_dict().keys()


@pytest.mark.parametrize("variant", ["cascade_swin_b", "cascade_swin_l"])
def test_names_of_detectron2s_swin_cascades_are_understood(variant):
    with torch.device("meta"):
        model = models.build(f"mask_rcnn-{variant}")
    both, norms = ("weight", "bias"), ("weight", "norm.weight", "norm.bias")
    names = [f"backbone.bottom_up.{name}" for name in swin_names(variant)]
    names += [
        f"backbone.fpn_{kind}{n}.{end}"
        for kind in ("lateral", "output")
        for n in range(2, 6)
        for end in norms
    ]
    head = "proposal_generator.rpn_head"
    parts = [f"{head}.{part}" for part in ("conv.conv0", "conv.conv1", "objectness_logits", "anchor_deltas")]
    for stage in range(3):
        names += [f"roi_heads.box_head.{stage}.conv{n}.{end}" for n in range(1, 5) for end in norms]
        parts += [f"roi_heads.box_{part}" for part in (f"head.{stage}.fc1", f"predictor.{stage}.cls_score")]
        parts += [f"roi_heads.box_predictor.{stage}.bbox_pred"]
    names += [f"roi_heads.mask_head.mask_fcn{n}.{end}" for n in range(1, 5) for end in norms]
    parts += ["roi_heads.mask_head.deconv", "roi_heads.mask_head.predictor"]
    names += [f"{part}.{end}" for part in parts for end in both]
    if variant == "cascade_swin_b":
        assert len(names) == 459
    tensors = {name: torch.zeros((13**2, 1) if "bias_table" in name else 4) for name in names}
    assert mask_rcnn.official(model, tensors).keys() == model.state_dict().keys()


def detectron2_names(variant):
    """Names of a checkpoint, from the published key layout."""
    config = mask_rcnn.VARIANTS[variant]
    kinds = ["weight", "bias", "running_mean", "running_var"]
    kinds += ["num_batches_tracked"] if config.backbone.norm == "batch" else []
    norm = [f"norm.{name}" for name in kinds]
    both = ["weight", "bias"]
    bottom = "backbone.bottom_up" if config.pyramid else "backbone"
    names = [f"{bottom}.stem.conv1.{name}" for name in ("weight", *norm)]
    for stage, count in enumerate(config.backbone.blocks, 2):
        place = "roi_heads.res5" if stage == 5 and not config.pyramid else f"{bottom}.res{stage}"
        for block in range(count):
            convs = ["conv1", "conv2", "conv3"] + ["shortcut"] * (block == 0)
            names += [f"{place}.{block}.{conv}.{name}" for conv in convs for name in ("weight", *norm)]
    convs = ["conv.conv0", "conv.conv1"] if config.proposals.convolutions == 2 else ["conv"]
    parts = [f"proposal_generator.rpn_head.{part}" for part in (*convs, "objectness_logits", "anchor_deltas")]
    if config.pyramid:
        pyramid = [f"backbone.fpn_{part}{level}" for part in ("lateral", "output") for level in range(2, 6)]
        convs = [f"roi_heads.mask_head.mask_fcn{index}" for index in range(1, 5)] if config.masks else []
        if config.heads.norm:
            convs += [f"roi_heads.box_head.conv{index}" for index in range(1, 5)]
        if config.pyramid_norm:
            names += [f"{part}.{name}" for part in pyramid + convs for name in ("weight", *norm)]
        else:
            parts += pyramid + convs
    stages = [""] if len(config.heads.box_weights) == 1 else ["0.", "1.", "2."]
    for stage in stages:
        full = ("fc1",) if config.heads.box_convolutions else ("fc1", "fc2")
        parts += [f"roi_heads.box_head.{stage}{part}" for part in full if config.pyramid]
        parts += [f"roi_heads.box_predictor.{stage}{part}" for part in ("cls_score", "bbox_pred")]
    parts += ["roi_heads.mask_head.deconv", "roi_heads.mask_head.predictor"] if config.masks else []
    names += [f"{part}.{name}" for part in parts for name in both]
    return [*names, "pixel_mean", "pixel_std", "proposal_generator.anchor_generator.cell_anchors.0"]


@pytest.mark.parametrize(
    "variant",
    sorted(
        name
        for name, config in mask_rcnn.VARIANTS.items()
        if config.heads.background == "last" and not config.backbone.swin and not config.backbone.spinenet
    ),
)
def test_names_of_detectron2_are_understood(variant):
    with torch.device("meta"):
        model = models.build(f"mask_rcnn-{variant}")
    tensors = dict.fromkeys(detectron2_names(variant), torch.zeros(1))
    assert mask_rcnn.official(model, tensors).keys() == model.state_dict().keys()


def test_names_of_detectron2_mean_the_same_here():
    pairs = {
        "backbone.bottom_up.stem.conv1.norm.running_var": "backbone.body.bn1.running_var",
        "backbone.bottom_up.res2.0.conv1.weight": "backbone.body.layer1.0.conv1.weight",
        "backbone.bottom_up.res5.2.conv3.norm.bias": "backbone.body.layer4.2.bn3.bias",
        "backbone.bottom_up.res4.0.shortcut.norm.weight": "backbone.body.layer3.0.downsample.1.weight",
        "backbone.res4.0.shortcut.weight": "backbone.body.layer3.0.downsample.0.weight",
        "roi_heads.res5.1.conv2.norm.weight": "roi_heads.res5.1.bn2.weight",
        "backbone.fpn_lateral2.weight": "backbone.fpn.inner_blocks.0.0.weight",
        "backbone.fpn_lateral5.norm.weight": "backbone.fpn.inner_blocks.3.1.weight",
        "backbone.fpn_output3.bias": "backbone.fpn.layer_blocks.1.0.bias",
        "proposal_generator.rpn_head.conv.bias": "rpn.head.conv.0.0.bias",
        "proposal_generator.rpn_head.conv.conv1.bias": "rpn.head.conv.1.0.bias",
        "proposal_generator.rpn_head.anchor_deltas.bias": "rpn.head.bbox_pred.bias",
        "roi_heads.box_head.2.fc2.weight": "roi_heads.box_head.2.fc7.weight",
        "roi_heads.box_predictor.1.cls_score.weight": "roi_heads.box_predictor.1.cls_score.weight",
        "roi_heads.mask_head.mask_fcn4.weight": "roi_heads.mask_head.3.0.weight",
        "roi_heads.mask_head.mask_fcn1.norm.bias": "roi_heads.mask_head.0.1.bias",
        "roi_heads.mask_head.deconv.weight": "roi_heads.mask_predictor.conv5_mask.weight",
    }
    convs = {
        "proposal_generator.rpn_head.conv.conv0.weight": "rpn.head.conv.0.0.weight",
        "roi_heads.box_head.conv4.weight": "roi_heads.box_head.3.0.weight",
        "roi_heads.box_head.conv1.norm.running_mean": "roi_heads.box_head.0.1.running_mean",
        "roi_heads.box_head.fc1.weight": "roi_heads.box_head.5.weight",
    }
    model = mask_rcnn.build(small("r50_fpn_d2"))
    for table in (pairs, convs):
        tensors = {name: torch.tensor(float(number)) for number, name in enumerate(table)}
        found = mask_rcnn.official(model, {"proposal_generator.": torch.zeros(1), **tensors})
        assert {name: float(found[new]) for name, new in table.items()} == {
            name: float(value) for name, value in tensors.items()
        }


@pytest.mark.parametrize("variant", ["r50_fpn_d2", "r50_c4", "cascade_r50_fpn", "r50_fpn_lsj"])
def test_pickles_of_detectron2_load_strictly(tmp_path, variant):
    torch.manual_seed(0)
    model = mask_rcnn.build(small(variant))
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    narrow = dataclasses.replace(mask_rcnn.VARIANTS[variant], backbone=model.config.backbone)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(mask_rcnn.VARIANTS, variant, narrow)
        names = detectron2_names(variant)
    ours = mask_rcnn.official(model, {name: name for name in names})
    rng = np.random.default_rng(0)
    arrays = {
        theirs: np.array(np.abs(rng.normal(size=shapes[name])), np.float32 if shapes[name] else np.int64)
        for name, theirs in ours.items()
    }
    extra = {name: np.ones(3, np.float32) for name in names if name not in arrays}
    assert len(extra) == 3
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps({"model": arrays | extra, "__author__": "Detectron2 Model Zoo"}))
    assert models.load_weights(model, path) == []
    for name, theirs in ours.items():
        np.testing.assert_array_equal(model.state_dict()[name].numpy(), arrays[theirs])
    for lost in ("roi_heads.box_predictor.cls_score.bias", "backbone.bottom_up.res3.0.conv2.weight"):
        if lost in arrays:
            part = {name: value for name, value in arrays.items() if name != lost}
            path.write_bytes(pickle.dumps({"model": part}))
            with pytest.raises(WeightsError, match="1 missing"):
                models.load_weights(model, path)
    path.write_bytes(pickle.dumps({"model": arrays | {"roi_heads.more.weight": np.ones(1)}}))
    with pytest.raises(WeightsError, match=r"1 unknown \(such as roi_heads\.more\.weight\)"):
        models.load_weights(model, path)


def test_the_first_files_of_torchvision_load(tmp_path):
    torch.manual_seed(0)
    model = mask_rcnn.build(small("r50_fpn"))
    torch.nn.init.uniform_(model.backbone["body"].bn1.running_mean)
    tensors = {}
    for name, value in model.state_dict().items():
        old = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        for index in range(4):
            old = old.replace(f"_blocks.{index}.0.", f"_blocks.{index}.")
            old = old.replace(f"roi_heads.mask_head.{index}.0.", f"roi_heads.mask_head.mask_fcn{index + 1}.")
        tensors[old] = value
        if name.endswith("running_var"):
            tensors[name.replace("running_var", "num_batches_tracked")] = torch.tensor(7)
    torch.save(tensors, tmp_path / "old.pth")
    other = mask_rcnn.build(small("r50_fpn"))
    assert models.load_weights(other, tmp_path / "old.pth") == []
    for name, value in other.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name], rtol=0, atol=0)


def test_other_classes_start_anew(tmp_path):
    torch.save(mask_rcnn.build(small("r50_fpn")).state_dict(), tmp_path / "a.pth")
    lines = models.load_weights(mask_rcnn.build(small("r50_fpn", classes=5)), tmp_path / "a.pth")
    assert len(lines) == 1
    assert "6 depend on the number of classes and start anew" in lines[0]


def test_conventions_differ_as_published():
    """The same network under the class order and the colour order of either reference says the same."""
    torch.manual_seed(0)
    theirs = mask_rcnn.build(small("r50_fpn_d2")).eval()
    heads = dataclasses.replace(theirs.config.heads, background="first")
    ours = mask_rcnn.build(dataclasses.replace(theirs.config, heads=heads)).eval()
    state = theirs.state_dict()
    for kind in ("weight", "bias"):
        name = f"roi_heads.box_predictor.cls_score.{kind}"  # the background comes last there, first here
        state[name] = state[name].roll(1, 0)
        for name, rows in (("box_predictor.bbox_pred", 4), ("mask_predictor.mask_fcn_logits", 1)):
            value = state[f"roi_heads.{name}.{kind}"]  # without one there, with an unused one here
            state[f"roi_heads.{name}.{kind}"] = torch.cat((torch.zeros_like(value[:rows]), value))
    state["backbone.body.conv1.weight"] = state["backbone.body.conv1.weight"].flip(
        1
    )  # blue comes first there
    ours.load_state_dict(state)
    pictures = torch.rand(2, 3, 96, 64)
    sizes = torch.tensor([[96, 64], [80, 50]])
    with torch.no_grad():
        expected, got = theirs(pictures.flip(1), sizes), ours(pictures, sizes)
    assert (expected.scores > 0).sum() > 20
    for want, have in zip(expected, got, strict=True):
        torch.testing.assert_close(have, want, rtol=1e-4, atol=1e-4)


def test_a_cascade_averages_its_stages():
    """Against a plain loop over the stages, with the parts of the model."""
    torch.manual_seed(0)
    model = mask_rcnn.build(small("cascade_r50_fpn")).eval()
    pictures, sizes = torch.rand(1, 3, 64, 96), torch.tensor([[64, 96]])
    with torch.no_grad():
        outputs = model(pictures, sizes)
        features, boxes = model.features(pictures), outputs.proposals[0]
        boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)]
        scores = []
        for stage, (x, _, w, _) in enumerate(model.config.heads.box_weights):
            regions = Regions(boxes, torch.zeros(len(boxes), dtype=torch.int64))
            hidden = model.roi_heads["box_head"][stage](model.pool(features, regions, 7))
            logits, offsets = model.roi_heads["box_predictor"][stage](hidden)
            assert offsets.shape[1] == 1
            scores.append(logits.softmax(1)[:, :-1])
            offsets, side = offsets[:, 0], boxes[:, 2:] - boxes[:, :2]
            centre = boxes[:, :2] + side / 2 + offsets[:, :2] / x * side
            side = side * (offsets[:, 2:] / w).clamp(max=4.135166556742356).exp()
            boxes = torch.cat((centre - side / 2, centre + side / 2), 1)
            boxes = boxes.clamp(torch.zeros(4), torch.tensor([96.0, 64.0, 96.0, 64.0]))
        mean = sum(scores) / 3
    best = mean.max()
    place = int(mean.max(1).values.argmax())
    torch.testing.assert_close(outputs.scores[0, 0], best, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(outputs.boxes[0, 0], boxes[place], rtol=1e-4, atol=1e-3)
    assert int(outputs.labels[0, 0]) == int(mean[place].argmax())


@torch.no_grad()
@pytest.mark.parametrize("kind", scene.KINDS)
def test_torchvision_found_the_same(kind):
    """Outputs written by tests/golden/make_mask_rcnn.py."""
    config = mask_rcnn.VARIANTS["r50_fpn" if kind == "v1" else "r50_fpn_v2"]
    heads = dataclasses.replace(
        config.heads,
        box_hidden=scene.HIDDEN,
        box_convolutions=0 if kind == "v1" else 2,
        mask_convolutions=2,
        choice=config.heads.choice._replace(score=0.0, detections=scene.DETECTIONS),
    )
    backbone = dataclasses.replace(config.backbone, blocks=(1, 1, 1, 1), norm="batch", eps=1e-5)
    model = mask_rcnn.build(
        dataclasses.replace(config, classes=scene.CLASSES, heads=heads, backbone=backbone)
    )
    state = model.state_dict()
    values = scene.fill({name: tuple(value.shape) for name, value in state.items()})
    model.load_state_dict(state | {name: torch.from_numpy(value) for name, value in values.items()})
    outputs = model.eval()(torch.from_numpy(scene.images()), torch.tensor(scene.SIZES))
    for index, want in enumerate(json.loads((GOLDEN / "mask_rcnn.json").read_text())[kind]):
        assert int((outputs.proposals[index].abs().sum(1) > 0).sum()) == want["count"]
        masks = outputs.masks[index].sigmoid()
        found = {
            "proposals": outputs.proposals[index][:5],
            "boxes": outputs.boxes[index],
            "scores": outputs.scores[index],
            "labels": outputs.labels[index],
            "masks": masks.mean((1, 2)),
            "spread": masks.std((1, 2)),
        }
        for name, value in found.items():
            np.testing.assert_allclose(value.numpy(), want[name], rtol=1e-4, atol=1e-4, err_msg=name)
