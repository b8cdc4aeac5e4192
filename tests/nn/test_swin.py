"""Swin: the published sizes, attention by its definition, and two independent implementations as oracles.

transformers (Apache-2.0) and torchvision (BSD-3-Clause) are too heavy for the test extra. `GOLDEN` is what
transformers gives for weights made by a formula; `test_transformers_computes_the_same` checks it wherever that
package is installed.
"""

# ruff: noqa: E402  (torch is optional)

import re

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

from torch.nn import functional as F  # noqa: N812

from delineate.nn.swin import SIZES, Swin, SwinSize, WindowAttention, from_official, separations

TINY = {
    1: SwinSize(8, (2, 2, 1), (1, 2, 4), window=3),
    2: SwinSize(8, (2, 2, 1), (1, 2, 4), window=3, version=2),
}
GOLDEN = {
    1: [0.777873, 1.029664, 0.995824],
    2: [1.270600, 1.124590, 0.756535],
}
"""Mean of |output| of every stage for `TINY` with the weights and the picture of `formula`."""

# Without a classifier, the final norm included. timm and torchvision count the same.
PUBLISHED = {
    "t": 27_519_354,
    "s": 48_837_258,
    "b": 86_743_224,
    "v2_t": 27_578_154,
    "v2_s": 48_959_418,
    "v2_b": 86_893_816,
}


def formula(model):
    """Weights and a picture with odd sides that depend on no random generator."""
    with torch.no_grad():
        for number, (name, value) in enumerate(model.named_parameters()):
            wave = (torch.arange(value.numel(), dtype=torch.float64) * 1.7 + number).sin().view(value.shape)
            if "norm" in name and name.endswith("weight"):
                value.copy_(1 + 0.5 * wave)
            elif "logit_scale" in name:
                value.copy_(2 + 3 * wave)  # some of them above the cap
            elif "table" in name or value.ndim == 1:
                value.copy_(wave)
            else:
                value.copy_(wave * (2 / value[0].numel()) ** 0.5)
    picture = (torch.arange(2 * 3 * 51 * 62, dtype=torch.float64) * 0.37).sin().view(2, 3, 51, 62)
    return model.eval(), picture.float()


@pytest.mark.parametrize("name", SIZES)
def test_parameters_are_the_published_ones(name):
    size = SIZES[name]
    with torch.device("meta"):
        model = Swin(size)
    count = sum(value.numel() for value in model.parameters())
    norms = 2 * sum(model.channels[:-1])  # of the outputs before the last
    if name == "l":  # published with windows of 12
        count += (23**2 - 13**2) * sum(a * b for a, b in zip(size.depths, size.heads, strict=True))
        assert count - norms == 195_198_516
    elif name in PUBLISHED:
        assert count - norms == PUBLISHED[name]
    else:
        assert name == "v2_l"


def test_a_detector_has_the_official_tensors():
    """The official Swin-T detectors' backbones: 27 520 698 parameters, 189 tensors with the 12 index tables."""
    with torch.device("meta"):
        model = Swin(SIZES["t"])
    assert sum(value.numel() for value in model.parameters()) == 27_520_698
    assert len(model.state_dict()) + sum(SIZES["t"].depths) == 189
    kinds = {re.sub(r"\d+", "#", name) for name in model.state_dict()}
    parts = ("norm#", "attn.qkv", "attn.proj", "mlp.fc#")
    want = {f"layers.#.blocks.#.{part}.{end}" for part in parts for end in ("weight", "bias")}
    want |= {
        f"{part}.{end}" for part in ("patch_embed.proj", "patch_embed.norm") for end in ("weight", "bias")
    }
    want |= {"norm#.weight", "norm#.bias", "layers.#.blocks.#.attn.relative_position_bias_table"}
    want |= {f"layers.#.downsample.{end}" for end in ("norm.weight", "norm.bias", "reduction.weight")}
    assert kinds == want


@pytest.mark.parametrize("version", TINY)
@pytest.mark.parametrize("size", [(64, 64), (33, 90), (5, 7), (4, 4)])
def test_any_size(version, size):
    features = Swin(TINY[version]).eval()(torch.rand(1, 3, *size))
    for index, feature in enumerate(features):
        stride = 4 * 2**index
        want = (-(-size[0] // stride), -(-size[1] // stride))
        assert feature.shape == (1, 8 * 2**index, *want)
        assert feature.isfinite().all()


@pytest.mark.parametrize("version", TINY)
def test_output_is_pinned(version):
    model, picture = formula(Swin(TINY[version]))
    with torch.no_grad():
        means = [float(part.abs().mean()) for part in model(picture)]
    np.testing.assert_allclose(means, GOLDEN[version], rtol=1e-4)


@pytest.mark.parametrize("version", TINY)
def test_a_batch_equals_its_pictures(version):
    model, picture = formula(Swin(TINY[version]))
    with torch.no_grad():
        together, alone = model(picture), [model(picture[index : index + 1]) for index in range(2)]
    for stage, feature in enumerate(together):
        torch.testing.assert_close(feature, torch.cat([one[stage] for one in alone]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("version", TINY)
def test_half_precision(version):
    """Under autocast, and with weights of 16 bits."""
    model, picture = formula(Swin(TINY[version]))
    with torch.no_grad():
        exact = model(picture)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model(picture)
        narrow = model.bfloat16()(picture.bfloat16())
    for a, b, c in zip(exact, mixed, narrow, strict=True):
        assert b.dtype == c.dtype == torch.bfloat16
        assert float((a - b).abs().mean()) < 0.1 * float(a.abs().mean())


def test_chosen_outputs():
    model = Swin(TINY[1], outputs=(0, 2))
    assert model.channels == (8, 32)
    assert [part.shape[1] for part in model(torch.zeros(1, 3, 32, 32))] == [8, 32]
    assert not any(name.startswith("norm1.") for name in model.state_dict())


def test_shifted_windows_by_the_definition():
    """Every cell attends to those of its shifted window that are really near it, and to no other."""
    window, shift, height, width = 4, 2, 8, 12
    torch.manual_seed(0)
    attention = WindowAttention(6, 2, window).eval()
    torch.nn.init.normal_(attention.relative_position_bias_table)
    block = Swin(SwinSize(6, (2,), (2,), window=window)).layers[0].blocks[1]
    block.attn = attention
    x = torch.randn(1, height, width, 6)
    with torch.no_grad():
        found = block._attend(x)[0].flatten(0, 1)
        q, k, v = attention.qkv(x.flatten(1, 2)[0]).view(-1, 3, 2, 3).permute(1, 2, 0, 3)
        cells = [(y, x) for y in range(height) for x in range(width)]
        logits = torch.full((2, len(cells), len(cells)), -torch.inf)
        for i, (y, x) in enumerate(cells):
            for j, (v_, u) in enumerate(cells):
                # windows begin at -2, 2, 6, ... : those at the border are smaller, nothing wraps around
                if ((y + shift) // window, (x + shift) // window) == (
                    (v_ + shift) // window,
                    (u + shift) // window,
                ):
                    row = (y - v_ + window - 1) * (2 * window - 1) + x - u + window - 1
                    bias = attention.relative_position_bias_table[row]
                    logits[:, i, j] = (q[:, i] * k[:, j]).sum(-1) * 3**-0.5 + bias
        want = attention.proj((logits.softmax(-1) @ v).transpose(0, 1).flatten(1))
    torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-5)


def test_separations_of_one_window():
    """A map of one window is cut into four by the shift."""
    found = separations((4, 4), 4, 2, torch.device("cpu"))[0]
    quarter = [(y // 2, x // 2) for y in range(4) for x in range(4)]
    assert [[a == b for b in quarter] for a in quarter] == (found == 0).tolist()


def test_drop_path_leaves_whole_pictures_out():
    model = Swin(SwinSize(8, (1, 2), (1, 1), window=3), drop_path=1.0)
    assert [block.drop_path for stage in model.layers for block in stage.blocks] == [0, 0.5, 1]
    torch.manual_seed(0)
    block = model.layers[1].blocks[0].train()
    x = torch.randn(64, 2, 2, 16)
    with torch.no_grad():
        branch = block._sometimes(x)
    kept = (branch != 0).flatten(1)
    assert (kept.all(1) | ~kept.any(1)).all()
    assert 16 < int(kept.all(1).sum()) < 48
    torch.testing.assert_close(branch[kept.all(1)], 2 * x[kept.all(1)])
    assert torch.equal(block.eval()._sometimes(x), x)


def test_freezing_begins_at_the_patches():
    model = Swin(TINY[1])
    model.freeze(2)
    free = {
        name.split(".")[0] + name.split(".")[1]
        for name, value in model.named_parameters()
        if value.requires_grad
    }
    assert {"layers1", "layers2"} <= free
    assert not free & {"layers0", "patch_embedproj"}


def test_official_files_of_the_classifier():
    model = Swin(TINY[1])
    official = dict(model.state_dict()) | {"head.weight": torch.zeros(9, 32), "norm.weight": torch.zeros(32)}
    official["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(9, 9, dtype=torch.int64)
    official["layers.0.blocks.1.attn_mask"] = torch.zeros(4, 9, 9)
    found = from_official(official, TINY[1])
    model.load_state_dict(found, strict=True)
    wide = from_official(official, TINY[1]._replace(window=5))
    Swin(TINY[1]._replace(window=5)).load_state_dict(wide, strict=True)
    table = official["layers.0.blocks.0.attn.relative_position_bias_table"]
    grown = wide["layers.0.blocks.0.attn.relative_position_bias_table"].view(9, 9, 1)
    torch.testing.assert_close(grown[4, 4, 0], table.view(5, 5)[2, 2])  # the centre stays the centre


def test_names_and_channel_order_of_mmdetection():
    """Its patch merging takes `unfold`'s order: channel by channel, each with its four cells row by row."""
    model, _ = formula(Swin(TINY[1]))
    theirs = {}
    for name, value in model.state_dict().items():
        if ".downsample." in name:
            parts = value.view(*value.shape[:-1], 4, -1)[..., [0, 2, 1, 3], :]
            value = parts.transpose(-1, -2).flatten(-2)
        for ours, new in (
            ("patch_embed.proj.", "patch_embed.projection."),
            ("layers.", "stages."),
            (".attn.", ".attn.w_msa."),
            (".mlp.fc1.", ".ffn.layers.0.0."),
            (".mlp.fc2.", ".ffn.layers.1."),
        ):
            name = name.replace(ours, new)
        theirs[name] = value
    found = from_official(theirs, TINY[1])
    assert found.keys() == model.state_dict().keys()
    assert all(torch.equal(found[name], value) for name, value in model.state_dict().items())
    x = torch.randn(1, 8, 6, 4)
    merge = model.layers[0].downsample
    cells = F.unfold(x, 2, stride=2).transpose(1, 2)
    normed = F.layer_norm(
        cells, (32,), theirs["stages.0.downsample.norm.weight"], theirs["stages.0.downsample.norm.bias"]
    )
    want = normed @ theirs["stages.0.downsample.reduction.weight"].T
    torch.testing.assert_close(merge(x.permute(0, 2, 3, 1)).flatten(1, 2), want, rtol=1e-4, atol=1e-5)


def in_transformers(state, version):
    """Our tensors under the names of transformers 5."""
    found = {}
    prefix = "swin." if version == 1 else ""
    for name, value in state.items():
        if match := re.match(r"norm(\d)\.(\w+)", name):
            if version == 1:
                found[f"hidden_states_norms.stage{int(match[1]) + 1}.{match[2]}"] = value
            continue
        if "q_bias" in name or "v_bias" in name:
            continue
        if ".qkv." in name:
            kinds = (
                ("q_proj", "k_proj", "v_proj") if version == 1 else ("self.query", "self.key", "self.value")
            )
            for kind, part in zip(kinds, value.chunk(3), strict=True):
                found[prefix + "encoder." + name.replace("attn.qkv", f"attention.{kind}")] = part
            if version == 2:
                stem = name.replace("qkv.weight", "")
                at = prefix + "encoder." + stem.replace("attn.", "attention.self.")
                found[at + "query.bias"], found[at + "value.bias"] = (
                    state[stem + "q_bias"],
                    state[stem + "v_bias"],
                )
            continue
        name = name.replace("patch_embed.proj", "embeddings.patch_embeddings.projection")
        name = name.replace("patch_embed.norm", "embeddings.norm").replace("layers.", "encoder.layers.")
        name = name.replace(".norm1.", ".layernorm_before.").replace(".norm2.", ".layernorm_after.")
        if version == 1:
            name = name.replace("attn.proj", "attention.o_proj")
            name = name.replace("attn.relative", "attention.relative_position_bias.relative")
        else:
            name = name.replace("attn.proj", "attention.output.dense").replace("attn.", "attention.self.")
            name = name.replace("cpb_mlp", "continuous_position_bias_mlp")
            name = name.replace("mlp.fc1", "intermediate.dense").replace("mlp.fc2", "output.dense")
        found[prefix + name] = value
    return found


def compare(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert float((a - b).abs().max()) <= 1e-4 * float(b.abs().max())


@pytest.mark.parametrize("version", TINY)
@pytest.mark.parametrize("kind", ["tiny", "t"])
def test_transformers_computes_the_same(version, kind):
    transformers = pytest.importorskip("transformers", reason="the oracle is transformers")
    size = TINY[version] if kind == "tiny" else SIZES["t" if version == 1 else "v2_t"]
    model, picture = formula(Swin(size))
    if kind == "t":
        picture = F.interpolate(picture[:1], (301, 270))  # odd maps, none of them smaller than a window
        with torch.no_grad():  # version 2 adds the mask twice there, which shows where cosines weigh much
            for name, value in model.named_parameters():
                value.clamp_(max=2 if "logit_scale" in name else torch.inf)
    config, backbone = (
        (transformers.SwinConfig, transformers.SwinBackbone),
        (transformers.Swinv2Config, transformers.Swinv2Backbone),
    )[version - 1]
    stages = [f"stage{index + 1}" for index in range(len(size.depths))]
    theirs = backbone(
        config(
            image_size=1024,
            embed_dim=size.width,
            depths=list(size.depths),
            num_heads=list(size.heads),
            window_size=size.window,
            out_features=stages,
        )
    ).eval()
    result = theirs.load_state_dict(in_transformers(model.state_dict(), version), strict=False)
    assert not result.unexpected_keys
    assert all(re.search(r"(^|\.)layernorm\.", name) for name in result.missing_keys)
    with torch.no_grad():
        want = theirs(picture).feature_maps
        if version == 2:  # which has no norms after the stages there
            norms = [model.get_submodule(f"norm{stage}") for stage in model.outputs]
            want = [norm(part.movedim(1, 3)).movedim(3, 1) for norm, part in zip(norms, want, strict=True)]
        compare(model(picture), want)
    if kind == "tiny":
        np.testing.assert_allclose([float(part.abs().mean()) for part in want], GOLDEN[version], rtol=1e-5)


def in_torchvision(state):
    found = {}
    for name, value in state.items():
        if re.match(r"norm\d", name) or name.endswith(("q_bias", "v_bias")):
            continue
        if name.endswith("qkv.weight") and name.replace("qkv.weight", "q_bias") in state:
            q, v = (state[name.replace("qkv.weight", end)] for end in ("q_bias", "v_bias"))
            found[name.replace("qkv.weight", "qkv.bias")] = torch.cat((q, torch.zeros_like(q), v))
        found[name] = value
    renamed = {}
    for name, value in found.items():
        name = name.replace("patch_embed.proj", "features.0.0").replace("patch_embed.norm", "features.0.2")
        name = re.sub(r"layers\.(\d)\.blocks", lambda m: f"features.{2 * int(m[1]) + 1}", name)
        name = re.sub(r"layers\.(\d)\.downsample", lambda m: f"features.{2 * int(m[1]) + 2}", name)
        renamed[re.sub(r"(?<!_)mlp\.fc(\d)", lambda m: f"mlp.{3 * int(m[1]) - 3}", name)] = value
    return renamed


@pytest.mark.parametrize(("ours", "theirs"), [("t", "swin_t"), ("b", "swin_b"), ("v2_t", "swin_v2_t")])
def test_torchvision_computes_the_same(ours, theirs):
    module = pytest.importorskip("torchvision.models", reason="the oracle is torchvision")
    model, picture = formula(Swin(SIZES[ours]))
    picture = F.interpolate(
        picture[:1], (304, 272)
    )  # it cuts pictures to whole patches instead of padding them
    oracle = module.get_model(theirs, weights=None).eval()
    result = oracle.load_state_dict(in_torchvision(model.state_dict()), strict=False)
    assert not result.unexpected_keys
    assert all(re.match(r"norm\.|head\.|.*(index|coords_table)$", name) for name in result.missing_keys)
    features = []
    with torch.no_grad():
        x = picture
        for index, layer in enumerate(oracle.features):
            x = layer(x)
            if index % 2:
                stage = index // 2
                features.append(model.get_submodule(f"norm{stage}")(x).permute(0, 3, 1, 2))
        compare(model(picture), features)
