# ruff: noqa: E402  (torch is optional)
import math

import pytest

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

from delineate.nn.roi_align import pyramid_roi_align, roi_align

KINDS = [(ratio, aligned) for ratio in (2, 3, 0) for aligned in (False, True)]


def bilinear(plane, y, x):
    """The reference's rule for one sample of one map."""
    height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = max(y, 0.0), max(x, 0.0)
    top, left = min(int(y), height - 1), min(int(x), width - 1)
    down, right = min(top + 1, height - 1), min(left + 1, width - 1)
    v = 0.0 if top == height - 1 else y - top
    u = 0.0 if left == width - 1 else x - left
    upper = plane[top, left] * (1 - u) + plane[top, right] * u
    lower = plane[down, left] * (1 - u) + plane[down, right] * u
    return float(upper * (1 - v) + lower * v)


def reference(features, boxes, images, size, scale, ratio, aligned):
    """Loops as in the paper."""
    result = torch.zeros(len(boxes), features.shape[1], *size)
    for r, (box, image) in enumerate(zip(boxes.tolist(), images.tolist(), strict=True)):
        left, top, right, bottom = (value * scale - (0.5 if aligned else 0) for value in box)
        width, height = right - left, bottom - top
        if not aligned:
            width, height = max(width, 1.0), max(height, 1.0)
        down = ratio or math.ceil(height / size[0])
        across = ratio or math.ceil(width / size[1])
        for i in range(size[0]):
            for j in range(size[1]):
                for c in range(features.shape[1]):
                    total = 0.0
                    for k in range(down):
                        for m in range(across):
                            y = top + (i + (k + 0.5) / down) * height / size[0]
                            x = left + (j + (m + 0.5) / across) * width / size[1]
                            total += bilinear(features[image, c], y, x)
                    result[r, c, i, j] = total / max(down * across, 1)
    return result


def boxes():
    """Inside, over every border, outside, empty, thin, whole."""
    return torch.tensor(
        [
            [3.0, 4.0, 20.0, 30.0],
            [-9.3, -7.1, 12.2, 9.0],
            [30.5, 20.1, 55.0, 47.7],
            [90.0, 90.0, 95.0, 99.0],
            [8.0, 8.0, 8.0, 8.0],
            [5.0, 1.0, 5.6, 33.0],
            [0.0, 0.0, 40.0, 36.0],
            [-2.0, 34.0, 44.0, 36.4],
        ]
    )


@pytest.fixture
def features():
    torch.manual_seed(0)
    return torch.randn(2, 3, 9, 10)


IMAGES = torch.tensor([0, 1, 0, 1, 1, 0, 1, 0])


@pytest.mark.parametrize(("ratio", "aligned"), KINDS)
def test_equals_the_loops(features, ratio, aligned):
    found = roi_align(features, boxes(), IMAGES, (3, 2), scale=0.25, sampling_ratio=ratio, aligned=aligned)
    want = reference(features, boxes(), IMAGES, (3, 2), 0.25, ratio, aligned)
    torch.testing.assert_close(found, want, rtol=1e-5, atol=1e-5)


def test_gradient_of_the_features():
    torch.manual_seed(1)
    features = torch.randn(2, 2, 5, 6, dtype=torch.float64, requires_grad=True)

    def pool(features):
        where = boxes()[:6].double() / 2
        return roi_align(features, where, IMAGES[:6], (2, 2), scale=0.25, sampling_ratio=2, aligned=True)

    assert torch.autograd.gradcheck(pool, (features,))


def test_each_box_from_its_level(features):
    coarse = torch.randn(2, 3, 5, 5)
    levels = torch.tensor([0, 1, 1, 0, 1, 0, 0, 1])
    options = {"sampling_ratio": 0, "aligned": True}
    found = pyramid_roi_align(
        [features, coarse], boxes(), IMAGES, levels, (2, 3), scales=[0.25, 0.125], **options
    )
    fine = roi_align(features, boxes(), IMAGES, (2, 3), scale=0.25, **options)
    rough = roi_align(coarse, boxes(), IMAGES, (2, 3), scale=0.125, **options)
    torch.testing.assert_close(found, torch.where(levels.view(-1, 1, 1, 1) == 0, fine, rough))


def test_no_boxes_have_a_gradient_of_zero(features):
    features.requires_grad_(True)
    none = torch.zeros(0, dtype=torch.int64)
    found = roi_align(features, torch.zeros(0, 4), none, (7, 7), scale=0.25, sampling_ratio=2, aligned=False)
    assert found.shape == (0, 3, 7, 7)
    found.sum().backward()
    assert not features.grad.any()


@pytest.mark.parametrize(("ratio", "aligned"), KINDS)
def test_torchvision_computes_the_same(ratio, aligned):
    ops = pytest.importorskip("torchvision.ops", reason="the oracle is torchvision")
    torch.manual_seed(2)
    features = torch.randn(2, 16, 50, 60, requires_grad=True)
    low = torch.rand(60, 2) * 250 - 40
    given = torch.cat((low, low + torch.rand(60, 2) * 120), 1)
    images = torch.randint(0, 2, (60,))
    ours = roi_align(features, given, images, (7, 7), scale=0.25, sampling_ratio=ratio, aligned=aligned)
    weight = torch.randn_like(ours)
    (gradient,) = torch.autograd.grad((ours * weight).sum(), features)
    rois = torch.cat((images[:, None].float(), given), 1)
    theirs = ops.roi_align(features, rois, (7, 7), 0.25, ratio, aligned)
    (expected,) = torch.autograd.grad((theirs * weight).sum(), features)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-4)
