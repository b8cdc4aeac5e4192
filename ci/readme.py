"""Runs the first command block of the README in a fresh folder and environment, and checks what it promises."""

import csv
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Clones the committed tree, types the command, looks at the results."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    command = re.search(r"```sh\n(.*?)```", text, re.DOTALL)
    if command is None:
        sys.exit("README.md: there must be a ```sh block with the install command first.")
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "delineate"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        print(command[1])
        subprocess.run(["bash", "-euc", command[1]], cwd=clone, check=True)
        results = clone / "results"
        found = json.loads((results / "predictions.json").read_text())
        with (results / "objects.csv").open() as file:
            rows = list(csv.DictReader(file))
        overlays = sorted(path.name for path in (results / "overlays").iterdir())
        print(f"{len(found['images'])} pictures, {len(rows)} objects, overlays: {', '.join(overlays)}")
        if not rows or len(rows) != len(found["annotations"]) or len(overlays) != len(found["images"]):
            sys.exit("README.md: the first command must segment pictures.")
        shutil.rmtree(results)


if __name__ == "__main__":
    main()
