"""The configuration: one place per number, unknown keys refused with the closest name."""

from pathlib import Path

import pytest

from delineate.errors import FormatError
from delineate.train.config import TrainConfig, load_config

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_committed_recipes_are_valid(path):
    assert load_config(path).data.train


def test_defaults_need_no_file():
    assert load_config() == TrainConfig()


def test_overrides_win_over_the_file(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("epochs = 3\n[data]\ntrain = 'a.json'\n")
    config = load_config(path, ["epochs=5", "data.root=some/folder", "augment.scale=[0.5, 1.0]"])
    assert (config.epochs, config.data.train, config.data.root) == (5, "a.json", "some/folder")
    assert config.augment.scale == (0.5, 1.0)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epoch=3", "unknown field `epoch`.*Did you mean 'epochs'"),
        ("optimiser.rates=1.0", "unknown field `rates`.*Did you mean 'rate'"),
        ("epochs=many", "Expected `int`, got `str`"),
        ("epochs=0", "epochs: must be at least 1, got 0"),
        ("optimiser.rate=-1.0", "optimiser.rate: must be positive, got -1.0"),
        ("augment.scale=[2.0, 1.0]", "must be two rising positive numbers"),
        ("sides=[0, 5]", r"sides: must be within 1..longest = 1333, got \[0, 5\]"),
        ("sides=[800, 1400]", "sides: must be within 1..longest = 1333"),
        ("optimiser.layer_decay=1.5", r"optimiser.layer_decay: must be in \(0, 1\], got 1.5"),
        ("model.norms=some", "Invalid enum value 'some'"),
        ("precision=int8", "Invalid enum value 'int8'"),
    ],
)
def test_mistakes_are_named(override, message):
    with pytest.raises(FormatError, match=message):
        load_config(overrides=[override])


@pytest.mark.parametrize("override", ["epochs", "=3"])
def test_overrides_must_be_assignments(override):
    with pytest.raises(ValueError, match="must look like key=value"):
        load_config(overrides=[override])


def test_a_number_is_no_table():
    with pytest.raises(ValueError, match="must be a table"):
        load_config(overrides=["epochs=3", "epochs.x=4"])


def test_broken_files_are_named(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text("epochs = ")
    with pytest.raises(FormatError, match="broken.toml"):
        load_config(path)
    with pytest.raises(FormatError, match="absent.toml"):
        load_config(tmp_path / "absent.toml")
