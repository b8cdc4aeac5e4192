"""Learning from simulated clicks: the losses, the simulation, what learns, and that it learns."""

# ruff: noqa: E402  (torch is optional)

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra [torch]")

from synthetic import nuclei, nuclei_dataset

from delineate import models
from delineate.cli.export import export_command
from delineate.export_prompts import PromptParity
from delineate.formats import coco
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.models import Target, _lora, efficient_sam
from delineate.models.sam import Prompts
from delineate.train import checkpoint, fit, load_config, prompts
from delineate.train.config import Optimiser, Prompting
from delineate.train.data import Canvas, Pictures
from delineate.train.optim import make_optimiser

SIDE = 128


@pytest.fixture(autouse=True)
def fixed():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def batch(count=2, objects=6, radius=(9.0, 16.0), side=SIDE):
    pictures, targets = [], []
    for seed in range(count):
        image, found = nuclei(seed, (side, side), objects, radius=radius)
        pictures.append(torch.from_numpy(image).permute(2, 0, 1).float() / 255)
        targets.append(Target(torch.tensor(found.boxes), torch.tensor(found.labels), found.masks))
    return torch.stack(pictures), targets


def truth_of(count=2, **options):
    images, targets = batch(count, **options)
    return prompts.choose(targets, 4, 99, images).truth


def test_focal_loss_is_the_formula_for_bits():
    logits = torch.randn(2, 3, 5)
    truth = (torch.rand(2, 3, 5) > 0.5).float()
    share = logits.sigmoid()
    right = torch.where(truth > 0, share, 1 - share)
    alpha = torch.where(truth > 0, 0.25, 0.75)
    expected = (-alpha * (1 - right) ** 2 * right.log()).mean((1, 2))
    torch.testing.assert_close(prompts.focal_loss(logits, truth), expected)


def test_focal_loss_of_a_share_is_least_at_the_share():
    shares = torch.linspace(0.01, 0.99, 99)
    losses = prompts.focal_loss(shares.logit().view(-1, 1, 1), torch.tensor([[0.3]]))
    assert shares[losses.argmin()] == pytest.approx(0.3)


def test_dice_loss_of_a_drawing():
    found = torch.tensor([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    truth = torch.tensor([[0.0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    loss = prompts.dice_loss((found * 2 - 1) * 99, truth)
    assert loss.item() == pytest.approx(1 - (2 * 2 + 1) / (4 + 4 + 1))


def test_overlaps_are_ious_of_halves():
    logits = torch.tensor([[[1.0, -1.0], [1.0, -1.0]], [[-1.0, -1.0], [-1.0, -1.0]]])
    assert prompts.overlaps(logits, torch.tensor([[0.6, 0.4], [0.2, 0.0]])).tolist() == [0.5, 0.0]


def test_truth_is_the_covered_share_of_each_cell():
    images, targets = batch(1)
    objects = prompts.choose(targets, 4, 99, images)
    dense = targets[0].masks.to_dense().reshape(-1, SIDE // 4, 4, SIDE // 4, 4).mean((2, 4))
    assert len(objects.truth) == len(dense)
    got = sorted(objects.truth.flatten(1).tolist())
    np.testing.assert_allclose(got, sorted(dense.reshape(len(dense), -1).tolist()), atol=1e-6)


def test_at_most_so_many_objects_of_a_picture_and_none_of_an_empty_one():
    images, targets = batch(2)
    empty = Instances.empty((SIDE, SIDE))
    targets[1] = Target(torch.tensor(empty.boxes), torch.tensor(empty.labels), empty.masks)
    objects = prompts.choose(targets, 4, 3, images)
    assert objects.pictures.tolist() == [0, 0, 0]


def test_objects_too_small_to_see_are_not_asked_for():
    masks = Masks.from_boxes([[0, 0, 2, 2], [0, 0, 16, 16]], (SIDE, SIDE))
    target = Target(torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64), masks)
    assert len(prompts.choose([target], 4, 9, torch.zeros(1, 3, SIDE, SIDE)).truth) == 1


def test_first_clicks_lie_in_their_object():
    truth = truth_of()
    points, labels = prompts.first_prompts(truth, 0.0)
    assert labels.tolist() == [[1, -1]] * len(truth)
    column, row = points[:, 0].long().unbind(1)
    assert (truth[torch.arange(len(truth)), row, column] > 0.5).all()


def test_first_boxes_are_about_their_object():
    truth = truth_of()
    points, labels = prompts.first_prompts(truth, 1.0)
    assert labels.tolist() == [[2, 3]] * len(truth)
    boxes = torch.tensor(Masks.from_dense((truth > 0.5).numpy()).boxes)
    sides = boxes[:, 2:] - boxes[:, :2]
    away = (points.flatten(1) - boxes).abs()
    assert (away <= 0.25 * sides.repeat(1, 2) + 1e-4).all()
    assert away.max() > 0


def test_corrections_lie_where_the_answer_is_wrong():
    truth = torch.zeros(3, 6, 6, dtype=torch.bool)
    truth[:, 1:4, 1:4] = True
    found = truth.clone()
    found[0, 2, 3] = False  # missed
    found[1, 5, 0] = True  # too much
    points, labels = prompts.correction(found, truth)
    assert labels.tolist() == [1, 0, 1]
    assert points.long()[:2].tolist() == [[3, 2], [0, 5]]
    inside, positive = prompts.correction(found, truth, negative=False)
    assert positive.tolist() == [1, 1, 1]
    assert inside.long()[0].tolist() == [3, 2]
    assert all(truth[index, row, column] for index, (column, row) in enumerate(inside.long().tolist()))
    column, row = points.long()[2].tolist()
    assert truth[2, row, column]  # all is right: a click inside


@pytest.fixture(params=["sam-test", "sam-tiny", "sam2-test"])
def model(request):
    return models.build(request.param)


def test_losses_are_finite_and_reach_every_parameter(model):
    images, targets = batch(side=model.config.side if model.config.side == SIDE else 64, radius=(9.0, 12.0))
    settings, dead = Prompting(objects=3, rounds=3, boxes=0.5), {"all"}
    for seed in range(20):  # of the candidates only the best one learns, each in its turn
        torch.manual_seed(seed)
        torch.nn.init.normal_(model.mask_decoder.mask_tokens.weight)
        found = prompts.losses(model, images, targets, settings)
        assert set(found) == {"focal", "dice", "iou"}
        assert all(value.isfinite() for value in found.values())
        sum(found.values()).backward()
        dead = {
            name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()
        }
        if all("obj_score_head" in name for name in dead):
            break
    unasked = {
        name for name, _ in model.named_parameters() if "obj_score_head" in name
    }  # nothing is ever absent
    assert dead == unasked


def test_the_same_seed_gives_the_same_losses(model):
    images, targets = batch(side=SIDE)
    got = []
    for _ in range(2):
        torch.manual_seed(3)
        got.append(prompts.losses(model.eval(), images, targets, Prompting(objects=2, rounds=5)))
    assert got[0] == got[1]


def test_pictures_without_objects_give_nothing_to_learn():
    model = models.build("sam-test")
    images, targets = batch(1)
    targets = [Target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), None)]
    found = prompts.losses(model, images, targets, Prompting(rounds=1))
    sum(found.values()).backward()
    assert all(value == 0 for value in found.values())
    assert not any(value.grad.any() for value in model.parameters())


def test_a_window_has_the_positions_of_its_place_on_the_canvas():
    encoder = models.build("sam-tiny").prompt_encoder
    whole = encoder.grid((32, 32)).view(32, 32, -1)
    part = encoder.grid((4, 6), (10, 20)).view(4, 6, -1)
    torch.testing.assert_close(part, whole[10:14, 20:26])
    points, labels = torch.tensor([[[340.0, 180.0], [300, 150], [390, 230]]]), torch.tensor([[1, 2, 3]])
    whole, part = encoder.drawn(points, labels, (32, 32)), encoder.drawn(points, labels, (4, 6), (10, 20))
    torch.testing.assert_close(part, whole[:, :, 10:14, 20:26], rtol=1e-3, atol=1e-4)


def test_a_frozen_encoder_learns_only_its_low_rank_changes():
    model = models.build("sam-test")
    prompts.adapt(model, Prompting(lora=2))
    images, targets = batch(1)
    sum(prompts.losses(model, images, targets, Prompting(objects=2, rounds=1)).values()).backward()
    learnt = {name for name, value in model.image_encoder.named_parameters() if value.grad is not None}
    assert learnt
    assert all(name.endswith(("weight.0.up", "weight.0.down")) for name in learnt)
    assert len(learnt) == 2 * len(model.image_encoder.blocks)


def test_merged_weights_compute_what_changed_ones_do():
    model, plain = models.build("sam-test").eval(), models.build("sam-test").eval()
    _lora.add(model.image_encoder, 3)
    for name, value in model.named_parameters():
        if name.endswith(".up"):
            torch.nn.init.normal_(value, std=0.1)
    tensors = _lora.merged(model.state_dict())
    plain.load_state_dict(tensors)
    images, asked = torch.rand(1, 3, SIDE, SIDE), Prompts(torch.rand(2, 1, 2) * SIDE, torch.ones(2, 1))
    with torch.no_grad():
        torch.testing.assert_close(plain(images, asked).logits, model(images, asked).logits)
    assert _lora.merged(tensors) == tensors


def test_an_encoder_without_attention_takes_no_low_rank_changes():
    with pytest.raises(ValueError, match="must have linear layers named 'qkv'"):
        prompts.adapt(models.build("sam-tiny"), Prompting(lora=2))


def test_it_learns_two_pictures_by_heart():
    model = models.build("sam-test", mixers=2)
    images, targets = batch(2, objects=2, radius=(18.0, 26.0))
    settings = Prompting(objects=2, rounds=1, boxes=0.0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    objects = prompts.choose(targets, 4, 9, images)
    best = 0.0
    for step in range(300):
        sum(prompts.losses(model, images, targets, settings).values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        if step % 20 == 19:
            with torch.no_grad():
                (answers,) = prompts.rounds(model, model.encode(prompts.normalise(images)), objects, settings)
            overlap = prompts.overlaps(answers.logits, objects.truth[:, None])
            best = overlap[torch.arange(len(overlap)), answers.chosen].mean().item()
            if best > 0.9:
                break
    assert best > 0.9


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    coco.write(nuclei_dataset(folder, count=3, size=(96, 128)), folder / "train.json")
    return folder


def config(data, *overrides):
    base = ["model.name=sam-test", "data.train=train.json", "data.val=train.json", f"size={SIDE}", "batch=2"]
    base += ["epochs=1", "threads=1", "tensorboard=false", f"data.root='{data}'", "prompts.rounds=2"]
    return load_config(overrides=[*base, "prompts.objects=2", *overrides])


def test_the_one_loop_trains_promptable_models(data, tmp_path):
    best = fit(config(data, "prompts.lora=2"), tmp_path / "run")
    _, header = checkpoint.read(best)
    assert set(header.metrics) == {"click_iou", "clicks3_iou", "box_iou"}
    assert models.load(best).name == "sam-test"  # plain weights
    fit(config(data, "prompts.lora=2", "epochs=2"), tmp_path / "run", resume=True)


def test_validation_always_asks_the_same(data):
    model = models.build("sam-test").eval()
    pictures = Pictures(coco.read(data / "train.json"), 1.0, canvas=Canvas(SIDE))
    torch.manual_seed(1)
    first, state = prompts.validate(model, pictures), torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert prompts.validate(model, pictures) == first


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model.name=efficient_sam-test"], "prompts.feedback must be 0 for EfficientSam, .* got 1.0"),
        (
            ["model.name=efficient_sam-test", "prompts.feedback=0"],
            "prompts.rounds must be at most 5 for EfficientSam, which takes 6 points, got 11",
        ),
    ],
)
def test_what_is_not_learnt_is_refused_before_any_file_is_read(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        fit(load_config(None, [*settings, f"data.root={tmp_path}"]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_family_of_clicks_and_boxes_is_asked_with_nothing_else(monkeypatch):
    model, images, asked = models.build("efficient_sam-test"), *batch(1)[:1], []
    targets = batch(1)[1]
    decode = type(model).decode

    def noted(self, embedding, prompt, corner):
        asked.append(prompt)
        return decode(self, embedding, prompt, corner)

    monkeypatch.setattr(type(model), "decode", noted)
    objects = prompts.choose(targets, 4, 4, images)
    embedding = model.encode(prompts.normalise(images))
    answers = prompts.rounds(model, embedding, objects, Prompting(rounds=5, boxes=0.5, feedback=0.0))
    assert [one.points.shape[1] for one in asked] == [2, 3, 4, 5, 6]
    assert all(one.masks is None and (one.labels != 0).all() for one in asked)
    for answer in answers:  # a user sees the best candidate
        shown = answer.ious[torch.arange(len(answer.ious)), answer.chosen]
        assert torch.equal(shown, answer.ious[:, 1:].max(1).values)


def test_a_family_of_clicks_and_boxes_learns(data, tmp_path):
    settings = ["model.name=efficient_sam-test", "prompts.feedback=0", "prompts.rounds=2"]
    best = fit(config(data, *settings), tmp_path / "run")
    pictures = Pictures(coco.read(data / "train.json"), 1.0, canvas=Canvas(SIDE, efficient_sam.CONVENTIONS))
    assert pictures[0][0].shape == (SIDE, SIDE, 3)
    assert pictures[0][1].size == (SIDE, SIDE)
    _, header = checkpoint.read(best)
    assert all(0 <= value <= 1 for value in header.metrics.values())
    assert models.load(best).name == "efficient_sam-test"
    model = models.build("efficient_sam-test")
    images, targets = batch(1, objects=2, radius=(18.0, 26.0))
    optimiser, found = torch.optim.AdamW(model.parameters(), lr=3e-3), []
    for _ in range(40):
        torch.manual_seed(0)
        loss = sum(prompts.losses(model, images, targets, Prompting(rounds=1, feedback=0.0)).values())
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        found.append(loss.item())
    assert found[-1] < 0.6 * found[0]


def test_sam2_asks_a_batch_alike_and_regresses_iou_by_absolute_error():
    truth = truth_of()
    points, labels = prompts.first_prompts(truth, 0.0, alike=True)
    assert (points.shape, labels.unique().tolist()) == ((len(truth), 1, 2), [1])
    assert prompts.first_prompts(truth, 1.0, alike=True)[1].tolist() == [[2, 3]] * len(truth)
    model = models.build("sam2-test")
    answers = prompts.Answers(torch.ones(1, 2, 4, 4), torch.tensor([[0.9, 0.4]]), torch.zeros(1))
    found = prompts.score(answers, torch.ones(1, 4, 4), model.iou_error)
    assert found["iou"].item() == pytest.approx((0.1 + 0.6) / 2)
    squared = prompts.score(answers, torch.ones(1, 4, 4), models.build("sam-test").iou_error)
    assert squared["iou"].item() == pytest.approx((0.01 + 0.36) / 2)


def test_the_loss_of_sam2_falls():
    model = models.build("sam2-test")
    prompts.adapt(model, Prompting(freeze=True))
    images, targets = batch(1, objects=2, radius=(18.0, 26.0))
    optimiser = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=3e-3)
    found = []
    for _ in range(24):
        torch.manual_seed(0)  # the same clicks
        loss = sum(prompts.losses(model, images, targets, Prompting(objects=2, rounds=1, boxes=0.0)).values())
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        found.append(loss.item())
    assert found[-1] < 0.7 * found[0]


def test_frozen_sam2_encodes_as_before():
    model = models.build("sam2-test")
    images = torch.rand(1, 3, SIDE, SIDE)
    before = [part.clone() for part in model.encode(images)]
    prompts.adapt(model, Prompting(freeze=True))
    with torch.no_grad():
        for value in model.parameters():
            if value.requires_grad:
                value.add_(1)
    assert all(torch.equal(*pair) for pair in zip(before, model.encode(images), strict=True))
    learning = {name.partition(".")[0] for name, value in model.named_parameters() if value.requires_grad}
    assert learning == {"prompt_encoder", "mask_decoder"}


def test_layers_of_hiera_have_rates_of_their_own():
    model = models.build("sam2-test")
    prompts.adapt(model, Prompting(lora=2))
    changed = [name for name, value in model.named_parameters() if value.requires_grad and "qkv" in name]
    assert len(changed) == 2 * len(model.image_encoder["trunk"].blocks)
    optimiser = make_optimiser(model, Optimiser(layer_decay=0.5))
    shares = sorted({group["share"] for group in optimiser.param_groups if group["params"]})
    assert shares == [0.5**depth for depth in range(6, -1, -1)]


def test_the_one_loop_trains_sam2_and_its_checkpoint_becomes_a_pair(data, tmp_path, monkeypatch, capsys):
    best = fit(
        config(data, "model.name=sam2-test", "prompts.freeze=true", "stretch=[1, 99]"), tmp_path / "run"
    )
    _, header = checkpoint.read(best)
    assert set(header.metrics) == {"click_iou", "clicks3_iou", "box_iou"}
    seen = []

    def instant(model, *files, card, half):
        seen.append((type(model).__name__, card.name, card.licence, card.stretch, half))
        for file in files:
            file.write_bytes(b"network")
        return PromptParity(0.0, 1e-5, 0.0, 0.0)

    monkeypatch.setattr("delineate.export_prompts.export_promptable", instant)
    assert export_command(best, out=tmp_path / "mine.onnx", licence="CC0-1.0", half=True) == 0
    assert seen == [("Sam2", "mine", "CC0-1.0", (1.0, 99.0), True)]
    assert {path.name for path in tmp_path.glob("*.onnx")} == {"mine_encoder.onnx", "mine_decoder.onnx"}
    assert "at most 1.0e-05" in capsys.readouterr().out
    with pytest.raises(ValueError, match="--max-detections: must be left out"):
        export_command(best, out=tmp_path / "mine.onnx", max_detections=3)
