"""The package's face: what is public, and what importing it costs."""

import subprocess
import sys
from pathlib import Path

import pytest

import delineate

SOURCE = str(Path(delineate.__file__).parents[1])


def fresh(code):
    """Run code in an interpreter that has imported nothing of ours yet; what it prints."""
    code = f"import sys; sys.path.insert(0, {SOURCE!r})\n{code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_public_names_are_pinned():
    assert delineate.__all__ == [
        "Dataset",
        "DelineateError",
        "DownloadError",
        "FormatError",
        "Instances",
        "Masks",
        "MissingExtra",
        "Predictor",
        "Record",
        "RuntimeFailure",
        "WeightsError",
        "__version__",
        "read_image",
    ]
    assert dir(delineate) == sorted(delineate.__all__)
    for name in delineate.__all__:
        assert getattr(delineate, name) is not None


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'delineate' has no attribute 'Predictr'"):
        _ = delineate.Predictr


def test_version_is_the_one_of_the_build():
    text = Path(__file__).parents[1].joinpath("pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{delineate.__version__}"' in text


@pytest.mark.parametrize(
    "statement", ["import delineate", "from delineate import Predictor", "import delineate.cli"]
)
def test_import_loads_no_torch_and_no_runtime(statement):
    heavy = "('torch', 'onnxruntime', 'onnx', 'scipy', 'skimage', 'tifffile', 'pycocotools')"
    assert fresh(f"{statement}\nprint([name for name in {heavy} if name in sys.modules])").strip() == "[]"


def test_import_loads_neither_picture_plugins_nor_json():
    loaded = fresh("import delineate\nprint(*sys.modules)").split()
    assert "PIL.TiffImagePlugin" not in loaded
    assert "msgspec" not in loaded
    assert "delineate.predict" not in loaded
