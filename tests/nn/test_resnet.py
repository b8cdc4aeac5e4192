# ruff: noqa: E402  (torch is optional)
import pytest

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

from delineate.nn.resnet import FrozenBatchNorm, ResNet, fold_norms

SHAPES = {
    "resnet50": ((3, 4, 6, 3), {}),
    "resnet101": ((3, 4, 23, 3), {}),
    "resnext101_32x8d": ((3, 4, 23, 3), {"groups": 32, "group_width": 8}),
}
PARAMETERS = {"resnet50": 25_557_032, "resnet101": 44_549_160, "resnext101_32x8d": 88_791_336}
"""The published counts, which include a classifier of 2048 x 1000 weights and 1000 biases."""


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_are_the_published_ones(name):
    blocks, options = SHAPES[name]
    with torch.device("meta"):
        model = ResNet(blocks, torch.nn.BatchNorm2d, **options)
    assert sum(value.numel() for value in model.parameters()) == PARAMETERS[name] - 2_049_000


def shake(model):
    torch.manual_seed(3)
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm | torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
    return model.eval()


def test_frozen_norm_is_batch_norm_in_eval_mode():
    frozen = shake(FrozenBatchNorm(5))
    usual = torch.nn.BatchNorm2d(5).eval()
    usual.load_state_dict(frozen.state_dict(), strict=False)
    x = torch.randn(2, 5, 3, 4)
    torch.testing.assert_close(frozen(x), usual(x))
    assert list(frozen.parameters()) == []


@pytest.mark.parametrize("norm", [FrozenBatchNorm, torch.nn.BatchNorm2d])
def test_folding_changes_nothing_but_the_modules(norm):
    model = shake(ResNet((1, 2, 1, 1), norm, stem=8, groups=4, group_width=32))
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = model(x)
        fold_norms(model.modules())
        after = model(x)
    assert not any(isinstance(module, norm) for module in model.modules())
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("parts", "learning"), [(0, 5), (1, 4), (2, 3), (5, 0)])
def test_freezing_begins_at_the_stem(parts, learning):
    model = ResNet((1, 1, 1, 1), torch.nn.BatchNorm2d, stem=8)
    model.freeze(parts)
    free = [
        name
        for name in ("conv1", "layer1", "layer2", "layer3", "layer4")
        if any(value.requires_grad for value in model.get_submodule(name).parameters())
    ]
    assert free == ["conv1", "layer1", "layer2", "layer3", "layer4"][5 - learning :]


@pytest.mark.parametrize("name", SHAPES)
def test_torchvision_computes_the_same(name):
    models = pytest.importorskip("torchvision.models", reason="the oracle is torchvision")
    blocks, options = SHAPES[name]
    theirs = shake(models.get_model(name, weights=None))
    state = {key: value for key, value in theirs.state_dict().items() if not key.startswith("fc.")}
    ours = ResNet(blocks, torch.nn.BatchNorm2d, **options).eval()
    ours.load_state_dict(state, strict=True)
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        features = ours(x)
        y = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
        for stage, feature in enumerate(features):
            y = theirs.get_submodule(f"layer{stage + 1}")(y)
            assert float((feature - y).abs().max()) <= 1e-4 * float(y.abs().max())


@pytest.mark.parametrize(("dilated", "strides"), [(1, (4, 8, 16, 16)), (2, (4, 8, 8, 8)), (3, (4, 4, 4, 4))])
def test_dilated_stages_keep_the_resolution(dilated, strides):
    model = shake(ResNet((1, 2, 2, 2), torch.nn.BatchNorm2d, stem=8, dilated=dilated))
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        features = model(x)
        fold_norms(model.modules())
        folded = model(x)
    assert [(part.shape[2], part.shape[3]) for part in features] == [(64 // s, 96 // s) for s in strides]
    torch.testing.assert_close(folded, features, rtol=1e-4, atol=1e-4)


def test_torchvision_dilates_the_same():
    models = pytest.importorskip("torchvision.models", reason="the oracle is torchvision")
    theirs = shake(models.resnet50(replace_stride_with_dilation=[False, True, True]))
    ours = ResNet((3, 4, 6, 3), torch.nn.BatchNorm2d, dilated=2).eval()
    ours.load_state_dict({name: v for name, v in theirs.state_dict().items() if not name.startswith("fc.")})
    x = torch.rand(1, 3, 65, 97)
    with torch.no_grad():
        y = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
        for stage, feature in enumerate(ours(x)):
            y = theirs.get_submodule(f"layer{stage + 1}")(y)
            assert float((feature - y).abs().max()) <= 1e-4 * float(y.abs().max())
