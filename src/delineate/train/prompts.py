"""Learning from simulated clicks: what a promptable model is trained with, and how well it answers.

The procedure is that of "Segment Anything" (Kirillov et al. 2023, arXiv:2304.02643, appendix A): a first click
inside the object or a noisy box around it, then rounds in which a click corrects the last answer and that answer
comes back as a mask prompt; focal and dice loss, the least over the candidates, and the squared error of the
predicted IoU. Truth comes from runs, at the resolution of the decoder.

Departures: the single mask (token 0) and the candidates learn in every round, so that either may be asked for
with any number of clicks; where a family shows the best candidate only (`settle`), that one learns instead, and
families that know points inside of objects only are asked with such. Truth is the covered share of a cell and not
a bit; of the masks that come back some are made hard, as drawn and imported ones are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name that everybody knows)
from torch.nn.attention import SDPBackend, sdpa_kernel

from delineate import models
from delineate.models import Target, _lora
from delineate.models.sam import Prompts, Sam
from delineate.models.sam2 import Features, Sam2
from delineate.prompt import MEAN, STD
from delineate.train.config import Prompting
from delineate.train.data import Pictures

_HARD = 0.25  # share of the masks that come back as -10 and 10
_LEAST = 2.0  # an object covers at least so many cells of a mask


class Answers(NamedTuple):
    """One round: what the model answered to P prompts."""

    logits: Tensor  # (P, T, h, w)
    ious: Tensor  # (P, T) predicted
    chosen: Tensor  # (P,) the token whose mask a user would see


class Objects(NamedTuple):
    """The objects of a batch that are asked for."""

    truth: Tensor  # (P, h, w) covered share of each cell
    pictures: Tensor  # (P,) index of the picture


def losses(
    model: Sam | Sam2, images: Tensor, targets: Sequence[Target], settings: Prompting
) -> dict[str, Tensor]:
    """Weighted losses of simulated prompts; their sum is what training minimises.

    Random numbers come from torch's generator of the CPU.

    Args:
        model: A promptable model of `delineate.models`.
        images: (B, 3, H, W) RGB in [0, 1]: whole canvases, or windows of them where the model takes windows.
        targets: One per picture, with masks. A picture without objects is ordinary.
        settings: How many objects and rounds.

    Returns:
        Scalars "focal", "dice" and "iou", float32, means over rounds and objects.
    """
    stride = model.config.side // (4 * model.config.cells)
    scene = model.encode(normalise(images))
    objects = choose(targets, stride, settings.objects, images)
    if not len(objects.truth):
        nothing = sum(value.sum() for value in model.parameters()) * torch.zeros((), device=images.device)
        return {"focal": nothing, "dice": nothing, "iou": nothing}
    corner = _corner(model, images)
    sums: dict[str, Tensor] = {}
    with _plain_attention(images.device):
        for answers in rounds(model, scene, objects, settings, corner):
            for name, value in score(answers, objects.truth, model.iou_error).items():
                sums[name] = sums.get(name, torch.zeros((), device=images.device)) + value
    return {name: value / settings.rounds for name, value in sums.items()}


def check(model: nn.Module, settings: Prompting) -> None:
    """Refuse settings that a promptable model could not follow.

    Raises:
        ValueError: The settings ask for more prompts than the model understands.

    >>> check(models.build("mobile_sam-test"), Prompting())
    """
    if not models.takes_prompts(model):
        return
    conventions, kind = models.family(model).CONVENTIONS, type(model).__name__
    if settings.feedback and not conventions.masks:
        raise ValueError(
            f"train: prompts.feedback must be 0 for {kind}, which knows no masks as prompts, got "
            f"{settings.feedback}. Set prompts.feedback=0."
        )
    if conventions.points is not None and settings.rounds >= conventions.points:
        raise ValueError(
            f"train: prompts.rounds must be at most {conventions.points - 1} for {kind}, which takes "
            f"{conventions.points} points, got {settings.rounds}. Set prompts.rounds={conventions.points - 1}."
        )


def adapt(model: nn.Module, settings: Prompting) -> None:
    """Freeze the encoder of a promptable model, and give it low-rank changes, as far as the settings ask for it.

    Other models are left as they are.

    Raises:
        ValueError: Low-rank changes are wanted, but the encoder has no attention that could take them.
    """
    if not models.takes_prompts(model) or not (settings.freeze or settings.lora):
        return
    for name, value in model.named_parameters():
        if name.startswith(model.ENCODER):  # type: ignore[arg-type]
            value.requires_grad_(False)
    if settings.lora:
        _lora.add(model.get_submodule("image_encoder"), settings.lora)


def normalise(images: Tensor) -> Tensor:
    """RGB in [0, 1] as the encoder takes it."""
    mean, std = (torch.tensor(numbers, device=images.device).view(3, 1, 1) for numbers in (MEAN, STD))
    return (images * 255 - mean) / std


def choose(targets: Sequence[Target], stride: int, most: int, images: Tensor) -> Objects:
    """At most `most` objects of each picture, drawn at random, with their truth on the masks' grid.

    Args:
        targets: One per picture, on the canvas of `images`.
        stride: Pixels per cell of a mask.
        most: Objects per picture.
        images: (B, 3, H, W), for its size and device.
    """
    height, width = (-(-length // stride) for length in images.shape[2:])
    dense, pictures = [], []
    for index, target in enumerate(targets):
        if target.masks is None or not len(target.masks):
            continue
        values, offsets, boxes = target.masks.cells(stride)
        covered = np.add.reduceat(np.append(values, 0), np.minimum(offsets[:-1], len(values)))
        known = np.flatnonzero((np.diff(offsets) > 0) & (covered >= _LEAST))
        for chosen in known[torch.randperm(len(known))[:most].numpy()]:
            x0, y0, x1, y1 = boxes[chosen]
            grid = np.zeros((height, width), np.float32)
            grid[y0:y1, x0:x1] = values[offsets[chosen] : offsets[chosen + 1]].reshape(y1 - y0, x1 - x0)
            if (grid > 0.5).any():
                dense.append(grid)
                pictures.append(index)
    truth = torch.from_numpy(np.array(dense, np.float32).reshape(-1, height, width))
    return Objects(truth.to(images.device), torch.tensor(pictures, dtype=torch.int64, device=images.device))


def rounds(
    model: Sam | Sam2,
    scene: Tensor | Features,
    objects: Objects,
    settings: Prompting,
    corner: tuple[int, int] = (0, 0),
) -> list[Answers]:
    """The answers of all rounds, each to the prompts of the ones before and one more click.

    Args:
        model: A promptable model.
        scene: What it made of B pictures.
        objects: What is asked for.
        settings: How many rounds, how many boxes.
        corner: First cell of the embedding on the canvas, row and column.
    """
    truth, stride = objects.truth, model.config.side // (4 * model.config.cells)
    network: Any = model  # and `scene` is of its kind
    conventions = models.family(model).CONVENTIONS
    scene = _of(scene, objects.pictures)
    shift = torch.tensor([corner[1], corner[0]], device=truth.device) * model.config.patch
    points, labels = first_prompts(truth, settings.boxes, alike=conventions.ending == "never")
    repeats = conventions.masks and settings.rounds > 3
    still = torch.randint(1, settings.rounds, ()).item() if repeats else 0
    masks, made = None, []
    for number in range(settings.rounds):
        asked = Prompts((points * stride - 0.5 + shift).float(), labels, masks)
        outputs: Any = network.settle(network.decode(scene, asked, corner))
        logits, ious = outputs.logits.float(), outputs.ious.float()
        chosen = ious[:, 1:].argmax(1) + 1 if number == 0 else torch.zeros_like(labels[:, 0])
        made.append(Answers(logits, ious, chosen))
        last = logits.detach()[torch.arange(len(chosen)), chosen]
        if number + 1 == settings.rounds or number + 1 == still:  # a round in which only the mask comes back
            masks = last[:, None]
            continue
        click, sign = correction(last > 0, truth > 0.5, negative=conventions.negative)
        points, labels = torch.cat((points, click[:, None]), 1), torch.cat((labels, sign[:, None]), 1)
        hard = torch.where(last > 0, 10.0, -10.0)
        made_hard = torch.rand(len(last), 1, 1, device=last.device) < _HARD
        masks = torch.where(made_hard, hard, last)[:, None]
        if torch.rand(()).item() >= settings.feedback or not conventions.masks:
            masks = None
    return made


def _of(scene: Tensor | Features, pictures: Tensor) -> Tensor | Features:
    """What was made of some of the pictures."""
    return Features(*(part[pictures] for part in scene)) if isinstance(scene, Features) else scene[pictures]


def first_prompts(truth: Tensor, boxes: float, *, alike: bool = False) -> tuple[Tensor, Tensor]:
    """A click anywhere inside each object, or a noisy box around it.

    Args:
        truth: (P, h, w) covered shares.
        boxes: Probability of a box.
        alike: Whether all are clicks or all are boxes, so that no click needs a point that is none beside it.

    Returns:
        Points (P, 2, 2) x, y in cells, cells covering [j, j + 1); labels (P, 2): 1 and -1, or 2 and 3. Clicks that are
        alike have one point and one label.
    """
    inside = truth > 0.5
    clicks = torch.stack((_anywhere(inside), torch.zeros(len(truth), 2, device=truth.device)), 1)
    rows, columns = inside.any(2), inside.any(1)
    low = torch.stack((columns.int().argmax(1), rows.int().argmax(1)), 1).float()
    high = torch.stack(
        (
            columns.shape[1] - columns.flip(1).int().argmax(1),
            rows.shape[1] - rows.flip(1).int().argmax(1),
        ),
        1,
    ).float()
    sides = high - low
    noise = torch.randn(len(truth), 2, 2, device=truth.device) * 0.1 * sides[:, None]
    limit = (0.25 * sides[:, None]).clamp(max=10)
    corners = torch.stack((low, high), 1) + noise.clamp(-limit, limit)
    if alike and torch.rand(()).item() >= boxes:
        return clicks[:, :1], torch.ones(len(truth), 1, dtype=torch.int64, device=truth.device)
    boxed = torch.rand(len(truth), device=truth.device) < (1.0 if alike else boxes)
    labels = torch.where(
        boxed[:, None], torch.tensor([2, 3], device=truth.device), torch.tensor([1, -1], device=truth.device)
    )
    return torch.where(boxed[:, None, None], corners, clicks), labels


def correction(found: Tensor, truth: Tensor, *, negative: bool = True) -> tuple[Tensor, Tensor]:
    """A click anywhere in what is wrong; inside the object where nothing is.

    Args:
        found: (P, h, w) bool, the answer.
        truth: (P, h, w) bool.
        negative: Whether what is too much counts, so that clicks may lie outside.

    Returns:
        Points (P, 2) x, y in cells; labels (P,): 1 where the object was missed, else 0.
    """
    wrong = found ^ truth if negative else truth & ~found
    region = torch.where(wrong.flatten(1).any(1)[:, None, None], wrong, truth)
    points = _anywhere(region)
    column, row = points.long().unbind(1)
    labels = truth[torch.arange(len(truth)), row, column].long()
    return points, labels


def _anywhere(region: Tensor) -> Tensor:
    """A random place (P, 2), x and y, within each non-empty region (P, h, w)."""
    cell = torch.multinomial(region.flatten(1).float(), 1)[:, 0]
    place = torch.stack((cell % region.shape[2], cell // region.shape[2]), 1)
    return place + torch.rand(len(region), 2, device=region.device) * 0.999


def score(
    answers: Answers, truth: Tensor, iou_error: Callable[[Tensor, Tensor], Tensor]
) -> dict[str, Tensor]:
    """The weighted losses of one round, means over its objects."""
    expected = truth[:, None]
    focal = focal_loss(answers.logits, expected)
    dice = dice_loss(answers.logits, expected)
    whole = 20 * focal + dice
    best = whole.detach()[:, 1:].argmin(1) + 1
    rows = torch.arange(len(truth), device=truth.device)
    overlap = overlaps(answers.logits, expected)
    return {
        "focal": 10 * (focal[:, 0] + focal[rows, best]).mean(),
        "dice": (dice[:, 0] + dice[rows, best]).mean() / 2,
        "iou": iou_error(answers.ious, overlap),
    }


def focal_loss(logits: Tensor, truth: Tensor, alpha: float = 0.25) -> Tensor:
    """Focal loss (Lin et al. 2017, arXiv:1708.02002) with gamma 2, mean over the cells of each mask.

    For shares between 0 and 1 it is the quality focal loss (Li et al. 2020, arXiv:2006.04388), which is least at
    the share itself.

    >>> focal_loss(torch.tensor([[[9.0]], [[0.0]]]), torch.ones(1, 1, 1)).round(decimals=3)
    tensor([0.0000, 0.0430])
    """
    truth = truth.expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    weight = (alpha * truth + (1 - alpha) * (1 - truth)) * (truth - logits.sigmoid()).square()
    return (weight * entropy).mean((-2, -1))


def dice_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """One less the Dice coefficient (Milletari et al. 2016, arXiv:1606.04797) of each mask, softened by one cell.

    >>> dice_loss(torch.tensor([[[99.0, -99.0]]]), torch.tensor([[[1.0, 0.0]]]))
    tensor([0.])
    """
    share = logits.sigmoid()
    both = (share * truth).sum((-2, -1))
    return 1 - (2 * both + 1) / (share.sum((-2, -1)) + truth.sum((-2, -1)) + 1)


def overlaps(logits: Tensor, truth: Tensor) -> Tensor:
    """IoU of each mask with its object, without a gradient; cells count where they are covered by half."""
    found, inside = logits.detach() > 0, truth > 0.5
    both, either = (found & inside).sum((-2, -1)), (found | inside).sum((-2, -1))
    return both / either.clamp(min=1)


@torch.inference_mode()
def validate(model: Sam | Sam2, pictures: Pictures) -> dict[str, float]:
    """How well a model, in eval mode, answers simulated prompts: always the same ones.

    At most eight objects of each picture are asked for. Random numbers are those of a fixed seed; torch's
    generator is as before afterwards.

    Args:
        model: A promptable model.
        pictures: As they were read with the model's `side`.

    Returns:
        Mean IoU at the resolution of the decoder: "click_iou" after one click, "clicks3_iou" after three,
        "box_iou" for a box; nan without objects.
    """
    stride, side = model.config.side // (4 * model.config.cells), model.config.side
    conventions = models.family(model).CONVENTIONS
    device = next(model.parameters()).device
    found: dict[str, list[Tensor]] = {"click_iou": [], "clicks3_iou": [], "box_iou": []}
    with torch.random.fork_rng(devices=[]), _plain_attention(device):
        torch.manual_seed(0)
        for index in range(len(pictures.dataset)):
            image, instances = pictures[index]
            pixels = torch.from_numpy(conventions.prepare(image, side)).to(device)
            masks = None if instances.masks is None else instances.masks.translate(0, 0, (side, side))
            target = Target(torch.tensor(instances.boxes), torch.tensor(instances.labels), masks)
            objects = choose([target], stride, 8, pixels)
            if not len(objects.truth):
                continue
            scene = model.encode(pixels)
            for boxes, names in ((0.0, ("click_iou", "", "clicks3_iou")), (1.0, ("box_iou",))):
                settings = Prompting(rounds=len(names), boxes=boxes)
                for name, answers in zip(names, rounds(model, scene, objects, settings), strict=True):
                    if name:
                        overlap = overlaps(answers.logits, objects.truth[:, None])
                        found[name].append(overlap[torch.arange(len(overlap)), answers.chosen])
    return {name: float(torch.cat(values).mean()) if values else math.nan for name, values in found.items()}


def _corner(model: Sam | Sam2, images: Tensor) -> tuple[int, int]:
    """Where on the canvas a window stands: anywhere, so that all positions are learnt."""
    free = [(model.config.side - length) // model.config.patch for length in images.shape[2:]]
    row, column = (int(torch.randint(count + 1, ())) for count in free)
    return row, column


def _plain_attention(device: torch.device) -> AbstractContextManager[None]:
    """On CPUs the fused kernel is several times slower than products where queries are few."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
