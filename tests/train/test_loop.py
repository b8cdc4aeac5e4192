"""The training loop: it learns, it resumes to the bit, it says what is wrong."""

import csv
import os
import signal
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra [torch]")

import landscapes  # noqa: E402
from synthetic import nuclei_dataset  # noqa: E402

from delineate import models  # noqa: E402
from delineate.dataset import Dataset  # noqa: E402
from delineate.errors import DelineateError, FormatError, RuntimeFailure  # noqa: E402
from delineate.formats import coco  # noqa: E402
from delineate.train import checkpoint, fit, load_config  # noqa: E402
from delineate.train.loop import _readable_failures, preprocess_of  # noqa: E402
from delineate.train.optim import learning_rate  # noqa: E402


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    coco.write(nuclei_dataset(folder, count=4, size=(64, 64)), folder / "train.json")
    return folder


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def config(data, *overrides):
    base = ["model.name=yolo_seg-test", "data.train=train.json", "data.val=train.json", "size=64", "batch=2"]
    base += ["epochs=3", "threads=1", "tensorboard=false", f"data.root='{data}'", "augment.min_area=1"]
    return load_config(overrides=[*base, *overrides])


def weights(folder, name="last"):
    return checkpoint.read(folder / f"{name}.safetensors")


def test_a_run_leaves_checkpoints_logs_and_its_configuration(data, tmp_path):
    seen = []
    best = fit(config(data), tmp_path / "run", on_progress=seen.append)
    assert best == tmp_path / "run" / "best.safetensors"
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        "best.safetensors",
        "best.json",
        "last.safetensors",
        "last.json",
        "metrics.csv",
        "config.json",
    }
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert {"loss", "box", "cls", "dfl", "mask", "mask_ap", "mask_ap50", "rate"} <= set(rows[0])
    assert (seen[-1].epoch, seen[-1].step, seen[-1].steps) == (3, 2, 2)
    assert len(seen) == 6
    _, header = weights(tmp_path / "run")
    assert (header.epoch, header.step, header.model) == (3, 6, "yolo_seg-test")


@pytest.mark.slow
def test_a_few_pictures_are_learnt(data, tmp_path):
    settings = ["epochs=70", "augment.mosaic=0.0", "augment.copy_paste=0.0", "augment.scale=[1.0, 1.0]"]
    settings += ["optimiser.rate=0.01", "optimiser.ema=0.9", "optimiser.ema_ramp=5", "validate_every=70"]
    losses = []
    fit(config(data, *settings), tmp_path / "run", on_progress=lambda p: losses.append(p.losses["loss"]))
    assert losses[-1] < 0.5 * losses[0]


def test_a_resumed_run_equals_an_unbroken_one(data, tmp_path):
    fit(config(data), tmp_path / "whole")

    class Stop(Exception):  # noqa: N818
        pass

    def interrupt(progress):
        if progress.epoch == 2 and progress.step == 1:
            raise Stop

    with pytest.raises(Stop):
        fit(config(data), tmp_path / "broken", on_progress=interrupt)
    fit(config(data), tmp_path / "broken", resume=True)
    for name in ("last", "best"):
        (one, header), (other, same) = weights(tmp_path / "whole", name), weights(tmp_path / "broken", name)
        assert header.metrics == same.metrics
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert (tmp_path / "whole/metrics.csv").read_text() == (tmp_path / "broken/metrics.csv").read_text()


RCNN = [
    "model.name=mask_rcnn-test",
    "sides=[48, 64]",
    "longest=96",
    "optimiser.layer_decay=0.8",
    "model.freeze=1",
]


def test_a_two_stage_model_learns_whole_pictures_and_resumes(data, tmp_path):
    fit(config(data, "epochs=2", *RCNN), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(config(data, "epochs=2", *RCNN), tmp_path / "broken", on_progress=_interrupt)
    fit(config(data, "epochs=2", *RCNN), tmp_path / "broken", resume=True)
    (one, header), (other, same) = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert header.metrics == same.metrics
    assert all(torch.equal(one[key], other[key]) for key in one)


def _interrupt(progress):
    if progress.epoch == 2:
        raise KeyboardInterrupt


def test_another_number_of_classes_keeps_what_fits(data, tmp_path, caplog):
    fit(config(data, "epochs=1", *RCNN), tmp_path / "first")
    (tmp_path / "three").mkdir()
    drawn = nuclei_dataset(tmp_path / "three", count=2, size=(64, 64))
    three = Dataset(drawn.records, ("a", "b", "c"))
    coco.write(three, tmp_path / "three" / "train.json")
    settings = [
        f"data.root='{tmp_path / 'three'}'",
        f"model.weights={tmp_path / 'first' / 'best.safetensors'}",
    ]
    best = fit(config(data, "epochs=1", *RCNN, "optimiser.rate=1e-9", *settings), tmp_path / "second")
    kept, reset = caplog.messages[0].split(";")
    assert "kept" in kept
    assert "6 depend on the number of classes and start anew" in reset
    name = "roi_heads.mask_head.0.0.weight"
    before, after = weights(tmp_path / "first", "best")[0][name], checkpoint.read(best)[0][name]
    torch.testing.assert_close(before, after)


def test_prediction_sees_pictures_as_training_did(data):
    model = models.build("mask_rcnn-r50_fpn_d2", classes=1)
    whole = preprocess_of(model, config(data, *RCNN))
    own = model.config.preprocess
    assert (whole.rule, whole.size, whole.multiple, whole.channels) == ("shortest", (64, 96), 32, "bgr")
    assert (whole.mean, whole.std, whole.antialias) == (own.mean, own.std, True)
    assert preprocess_of(model, config(data)).rule == "native"


@pytest.mark.slow
def test_kill_minus_nine_loses_at_most_the_running_epoch(data, tmp_path):
    script = (
        "import sys, os, signal\n"
        "from delineate.train import fit, load_config\n"
        "from pathlib import Path\n"
        "def stop(p):\n"
        "    if p.epoch == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        "fit(load_config(overrides=sys.argv[2:]), Path(sys.argv[1]), on_progress=stop)\n"
    )
    settings = [
        "model.name=yolo_seg-test",
        "data.train=train.json",
        "data.val=train.json",
        "size=64",
        "batch=2",
    ]
    settings += ["epochs=3", "threads=1", "tensorboard=false", f"data.root='{data}'", "augment.min_area=1"]
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "killed"), *settings], env=os.environ
    )
    assert ended.returncode == -signal.SIGKILL
    assert weights(tmp_path / "killed")[1].epoch == 2
    fit(config(data), tmp_path / "killed", resume=True)
    fit(config(data), tmp_path / "whole")
    one, other = weights(tmp_path / "killed")[0], weights(tmp_path / "whole")[0]
    assert all(torch.equal(one[key], other[key]) for key in other)


@pytest.mark.parametrize(
    "settings", [["optimiser.kind=sgd"], ["precision=bfloat16"], ["optimiser.accumulate=2"]]
)
def test_other_settings_run(data, tmp_path, settings):
    fit(config(data, "epochs=1", *settings), tmp_path / "run")
    steps = 1 if settings[0].startswith("optimiser.acc") else 2
    assert weights(tmp_path / "run")[1].step == steps


def test_tensorboard_curves_are_written(data, tmp_path):
    pytest.importorskip("tensorboard", reason="curves need the extra [tensorboard]")
    fit(config(data, "epochs=1", "tensorboard=true"), tmp_path / "run")
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))


def test_folders_are_not_mixed_up(data, tmp_path):
    with pytest.raises(DelineateError, match="no last.safetensors to resume"):
        fit(config(data), tmp_path / "run", resume=True)
    fit(config(data, "epochs=1"), tmp_path / "run")
    with pytest.raises(DelineateError, match="holds a run already"):
        fit(config(data, "epochs=1"), tmp_path / "run")


def test_missing_data_is_named(data, tmp_path):
    with pytest.raises(FormatError, match="data.train: must name an annotation file"):
        fit(load_config(), tmp_path / "run")
    with pytest.raises(FormatError, match="absent.json"):
        fit(config(data, "data.train=absent.json"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_out_of_memory_names_the_remedy(data):
    with pytest.raises(RuntimeFailure, match="Lower batch"), _readable_failures(config(data)):
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(RuntimeFailure, match="batch=2 and size=64"), _readable_failures(config(data)):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
    with pytest.raises(RuntimeError, match="something else"), _readable_failures(config(data)):
        raise RuntimeError("something else")


def test_a_loss_that_is_no_number_stops_the_run(data, tmp_path):
    with pytest.raises(RuntimeFailure, match="the loss is .*Lower optimiser.rate"):
        fit(
            config(data, "optimiser.rate=1e30", "optimiser.kind=sgd", "optimiser.warmup=0.0"),
            tmp_path / "run",
        )


def test_the_rate_rises_and_falls(data):
    settings = config(data).optimiser
    rates = [learning_rate(settings, epoch / 10, 20) for epoch in range(201)]
    assert rates[0] < 0.01 * settings.rate
    assert max(rates) == pytest.approx(settings.rate, rel=1e-3)
    assert rates[-1] == pytest.approx(settings.rate * settings.final)
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


SCENES = ["size=64", "batch=2", "epochs=2", "threads=1", "tensorboard=false", "data.train=train.json"]
SCENES += ["data.val=train.json", "augment.rotate90=false", "panoptic.stuff_area=20", "precision=float32"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    landscapes.write(folder, "train", 2, size=(64, 64))
    return folder


@pytest.mark.parametrize(("name", "figure"), [("panoptic_fpn-test", "pq"), ("fcn-test", "miou")])
def test_models_of_every_pixel_learn_and_resume(scenes, tmp_path, name, figure):
    settings = load_config(overrides=[*SCENES, f"model.name={name}", f"data.root='{scenes}'"])
    fit(settings, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(settings, tmp_path / "broken", on_progress=_interrupt)
    fit(settings, tmp_path / "broken", resume=True)
    (one, header), (other, same) = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert header.metrics == same.metrics
    assert figure in header.metrics
    assert header.best == max(0.0, header.best) >= header.metrics[figure]
    loaded = models.load(tmp_path / "whole" / "best.safetensors")
    assert loaded.model.config.classes == len(header.classes)
    if figure == "pq":
        assert header.stuff == ["meadow", "sky", "water", "road"]
        assert loaded.model.config.stuff == 4


def test_a_resumed_run_must_have_the_same_stuff(scenes, tmp_path):
    settings = [*SCENES, "epochs=1", "model.name=panoptic_fpn-test", f"data.root='{scenes}'"]
    fit(load_config(overrides=settings), tmp_path / "run")
    text = (scenes / "train.json").read_text().replace('"sky"', '"air"')
    (scenes / "other.json").write_text(text)
    changed = [*settings, "data.train=other.json", "data.val=''"]
    with pytest.raises(DelineateError, match=r"on the classes .*'air'.*got panoptic_fpn-test on .*'sky'"):
        fit(load_config(overrides=changed), tmp_path / "run", resume=True)
