"""Makes the picture of the report in docs/evaluate.md: the embedded model on the validation pictures of dsb2018.

python docs/images/report.py PATH/TO/dsb2018 [--browser chromium]

It needs a Chromium to take the picture; nothing else of this project does.
"""

import argparse
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from PIL import Image

from delineate import Predictor
from delineate.formats import coco
from delineate.metrics import slices
from delineate.report import analyse, write_html

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT = 1180, 1500

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--browser", default="chromium")
    options = parser.parse_args()
    truth = coco.read(options.data / "val.json")
    predictor = Predictor("nuclei", score=0.05)
    found = truth.with_records(r.replace(instances=predictor.predict(r.path)) for r in truth)
    analysis = analyse(truth, found, max_detections=1000)
    analysis = replace(
        analysis, slices={"modality": slices(truth, found, "modality", max_detections=(1000,))}
    )
    with tempfile.TemporaryDirectory() as folder:
        write_html(analysis, Path(folder) / "report.html", "Nuclei on the validation pictures of dsb2018")
        words = [
            options.browser,
            "--headless",
            "--no-sandbox",
            "--hide-scrollbars",
            f"--screenshot={folder}/a.png",
        ]
        page = (Path(folder) / "report.html").as_uri()
        subprocess.run([*words, f"--window-size={WIDTH},{HEIGHT}", page], check=True, capture_output=True)
        picture = Image.open(f"{folder}/a.png").convert("RGB").quantize(64)
        picture.save(HERE / "report.png", optimize=True)
