"""Promptable families against their references: pinned answers (golden/make_mobile_sam.py and its like)."""

# ruff: noqa: E402  (torch is optional)

import json
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models need the extra [torch]")

from delineate import models
from delineate.masks import Masks
from delineate.prompt import PromptPredictor

GOLDEN = Path(__file__).parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))

import sam_scene

FAMILIES = ("efficient_sam", "mobile_sam", "sam2")
PINNED = {name: json.loads((GOLDEN / f"{name}.json").read_text("utf-8")) for name in FAMILIES}
CASES = [(name, case) for name in FAMILIES for case in PINNED[name]["predictions"]]


@cache
def predictor(family):
    """Of the variant "test", filled from an official file with the weights of the scene."""
    module, drawn = models.family(family), sam_scene.weights(PINNED[family]["shapes"])
    if family == "efficient_sam":
        drawn = sam_scene.calm(drawn)
    model = models.build(f"{family}-test").eval()
    tensors = {name: torch.from_numpy(value) for name, value in drawn.items()}
    model.load_state_dict(module.official(model, tensors))
    return PromptPredictor(*module.networks(model), side=model.config.side, conventions=module.CONVENTIONS)


def prompt_of(family, case):
    conventions = models.family(family).CONVENTIONS
    named = sam_scene.prompts if conventions.negative else sam_scene.positive_prompts
    asked = named(case["size"])[case["prompt"]]
    return {
        "points": asked.get("points"),
        "labels": asked.get("labels"),
        "boxes": asked.get("box"),
        "mask": asked.get("mask"),
    }


@pytest.mark.parametrize(
    ("family", "case"),
    CASES,
    ids=lambda one: one if isinstance(one, str) else f"{one['size']}-{one['prompt']}-{one['multimask']}",
)
def test_answers_equal_those_of_the_reference(family, case):
    ours, size = predictor(family), tuple(case["size"])
    ours.set_image(sam_scene.picture(size))
    found = ours.predict(**prompt_of(family, case), multimask=case["multimask"], keep_logits=True)
    low = found.extras["logits"].reshape(len(found), -1)[:, ::97]
    np.testing.assert_allclose(found.scores, case["ious"], rtol=1e-4, atol=1e-4)
    assert np.abs(low - case["low"]).max() < 1e-4 * np.abs(case["low"]).max()
    theirs = Masks.from_rle([{"size": size, "counts": counts} for counts in case["masks"]], size)
    apart = (found.masks.to_dense() != theirs.to_dense()).sum()
    assert apart <= 1e-4 * found.masks.to_dense().size  # logits beside 0 round to either side


@pytest.mark.parametrize("family", FAMILIES)
def test_the_pinned_prompts_are_of_all_kinds_that_the_family_understands(family):
    conventions = models.family(family).CONVENTIONS
    asked = [prompt_of(family, case) for case in PINNED[family]["predictions"]]
    assert any(one["mask"] is not None for one in asked) == conventions.masks
    assert any(0 in (one["labels"] or ()) for one in asked) == conventions.negative
    assert len({tuple(case["size"]) for case in PINNED[family]["predictions"]}) >= 2
