"""Counts and measures nuclei: a line per picture.

python examples/count.py examples/pictures
"""

import sys
from pathlib import Path

from delineate import FormatError, Predictor
from delineate.measure import measure


def main(folder: Path) -> None:
    predictor = Predictor("nuclei")
    for path in sorted(folder.glob("*.png")):
        try:
            found = predictor.predict(path)
        except FormatError as error:
            print(error, file=sys.stderr)
            continue
        table = measure(found)
        areas = table["area_px"]
        print(f"{path.name}: {len(found)} nuclei, mean area {areas.mean() if len(areas) else 0:.0f} px")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
