"""Makes the picture of the README: the example and what the embedded model finds in it, side by side.

python docs/images/make.py
"""

from pathlib import Path

import numpy as np

from delineate import Predictor, read_image
from delineate.draw import draw
from delineate.image import write_image

HERE = Path(__file__).resolve().parent

if __name__ == "__main__":
    image = read_image(HERE.parents[1] / "examples" / "pictures" / "nuclei.png")
    overlay = draw(image, Predictor("nuclei").predict(image))
    write_image(HERE / "nuclei.png", np.concatenate([image, overlay], axis=1))
