"""What every promptable family must do: one suite over the folder, on the tiny variant "test"."""

# ruff: noqa: E402  (torch is optional)

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

from delineate import models
from delineate.errors import WeightsError

GOLDEN = {
    "efficient_sam": [4.73362, 1.371221],
    "mobile_sam": [6.937138, 2.122362],
    "sam": [3.198989, 1.388367],
    "sam2": [92.764816, 0.584999, 4.473304],
}
"""Mean of |output| of the "test" variant with the weights, the picture and the prompts of `fixed`."""


@pytest.fixture(params=[name for name in models.families() if models.takes_prompts(name)])
def family(request):
    return request.param


@pytest.fixture
def model(family):
    torch.manual_seed(0)
    return models.build(f"{family}-test").eval()


def pictures(model, count=1):
    return torch.rand(count, 3, model.config.side, model.config.side)


def prompts(model, count=4, points=2, masks=False):
    side = model.config.side
    generator = torch.Generator().manual_seed(1)
    module = models.family(model)
    labels = (torch.arange(count * points) % 2).view(count, points)
    labels = labels if module.CONVENTIONS.negative else labels * 2 - 1
    drawn = torch.randn(count, 1, side // 4, side // 4, generator=generator) if masks else None
    if masks and not module.CONVENTIONS.masks:
        pytest.skip("the family knows no masks as prompts")
    return module.Prompts(torch.rand(count, points, 2, generator=generator) * side, labels, drawn)


def one(asked, index):
    return type(asked)(*(None if value is None else value[index : index + 1] for value in asked))


@pytest.mark.parametrize("masks", [False, True])
def test_outputs_have_fixed_shapes(model, masks):
    outputs = model(pictures(model), prompts(model, masks=masks))
    side, count = model.config.side // 4, model.config.candidates + 1
    assert outputs.logits.shape == (4, count, side, side)
    assert outputs.ious.shape == (4, count)
    assert all(output.isfinite().all() for output in outputs)


def test_outputs_are_the_same_type_in_both_modes(model):
    images, asked = pictures(model), prompts(model)
    assert type(model.train()(images, asked)) is type(model.eval()(images, asked))


@pytest.mark.parametrize("masks", [False, True])
def test_a_batch_of_prompts_equals_its_prompts(model, masks):
    images, asked = pictures(model), prompts(model, masks=masks)
    with torch.no_grad():
        embedding = model.encode(images)
        together = model.decode(embedding, asked)
        alone = [model.decode(embedding, one(asked, index)) for index in range(4)]
    for number, output in enumerate(together):
        singles = torch.cat([single[number] for single in alone])
        torch.testing.assert_close(output, singles, rtol=1e-4, atol=1e-5)


def test_a_batch_of_pictures_equals_its_pictures(model):
    images, asked = pictures(model, 3), prompts(model, 3)
    with torch.no_grad():
        together = model(images, asked)
        alone = [model(images[index : index + 1], one(asked, index)) for index in range(3)]
    for number, output in enumerate(together):
        singles = torch.cat([single[number] for single in alone])
        torch.testing.assert_close(output, singles, rtol=1e-4, atol=1e-5)


def test_no_prompts_give_no_masks(model):
    outputs = model(pictures(model), prompts(model, 0))
    assert len(outputs.logits) == len(outputs.ious) == 0


def test_gradients_reach_every_parameter(model):
    asked = prompts(model, masks=models.family(model).CONVENTIONS.masks)
    asked.labels[0, 0] = -1
    asked.labels[1] = torch.tensor([2, 3])
    images = pictures(model)
    total = sum(output.square().sum() for output in model(images, asked))
    total += sum(output.square().sum() for output in model(images, asked._replace(masks=None)))
    total.backward()
    assert [
        name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()
    ] == []


def test_a_size_that_does_not_fit_is_refused(model):
    with pytest.raises(ValueError, match="images must have shape"):
        model(torch.rand(1, 3, model.config.side, model.config.side + 1), prompts(model))


def test_prompts_that_do_not_fit_are_refused(model):
    images, asked = pictures(model), prompts(model)
    with pytest.raises(ValueError, match="must have points with labels, masks, or both"):
        model(images, type(asked)())
    with pytest.raises(ValueError, match="must have points with labels, masks, or both"):
        model(images, type(asked)(points=asked.points))
    with pytest.raises(ValueError, match=r"points must have shape \(P, N, 2\)"):
        model(images, type(asked)(asked.points, asked.labels[:, :1]))


def test_checkpoint_round_trip(model, family, tmp_path):
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    other = models.build(f"{family}-test").eval()
    assert models.load_weights(other, tmp_path / "weights.pth") == []
    images, asked = pictures(model), prompts(model, masks=models.family(model).CONVENTIONS.masks)
    with torch.no_grad():
        pairs = zip(model(images, asked), other(images, asked), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_a_checkpoint_that_lacks_a_tensor_is_refused(model, tmp_path):
    state = copy.deepcopy(model.state_dict())
    state.pop(next(iter(state)))
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match="1 missing"):
        models.load_weights(model, tmp_path / "weights.pth")


def test_output_is_pinned(model, family):
    with torch.no_grad():
        for number, (name, value) in enumerate(model.state_dict().items()):
            if value.ndim == 0:  # how many batches a norm has seen
                continue
            wave = torch.arange(value.numel(), dtype=torch.float64) * 1.7 + number
            value.copy_((wave.sin() * (2 / value[0].numel()) ** 0.5).view(value.shape))
            if name.endswith("running_var"):
                value.abs_().add_(0.5)
        side = model.config.side
        picture = (torch.arange(3 * side * side, dtype=torch.float64) * 0.37).sin().view(1, 3, side, side)
        points = torch.tensor([[[0.2, 0.3], [0.7, 0.6]], [[0.5, 0.5], [0.0, 0.0]]]) * side
        labels = torch.tensor([[1, 0 if models.family(model).CONVENTIONS.negative else 1], [1, -1]])
        asked = type(prompts(model))(points, labels, None)
        means = [float(output.abs().mean()) for output in model(picture.float(), asked)]
    np.testing.assert_allclose(means, GOLDEN[family], rtol=1e-4)
