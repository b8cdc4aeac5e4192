"""Instance segmentation: detect every object in a picture and delineate each one with its own mask.

The nouns are here; the rest is reached by explicit import (``from delineate.formats import coco``)::

    import delineate

    predictor = delineate.Predictor("nuclei.onnx")
    for instance_masks in predictor.predict("picture.png").masks.to_rle(): ...

Importing the package loads neither torch nor an inference runtime.
"""

from typing import TYPE_CHECKING, Any

from delineate.dataset import Dataset, Record
from delineate.errors import (
    DelineateError,
    DownloadError,
    FormatError,
    MissingExtra,
    RuntimeFailure,
    WeightsError,
)
from delineate.instances import Instances
from delineate.masks import Masks

if TYPE_CHECKING:
    from delineate.image import read_image
    from delineate.predict import Predictor

__version__ = "0.1.0"
__all__ = [
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


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a class and a function
    # Pictures come with Pillow, the predictor with model files and decoding: readers of annotations do without.
    if name == "read_image":
        from delineate.image import read_image

        return read_image
    if name == "Predictor":
        from delineate.predict import Predictor

        return Predictor
    raise AttributeError(f"module 'delineate' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
