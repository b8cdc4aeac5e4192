"""Where `delineate predict` spends its time: shares of reading, preprocessing, network, decoding, drawing, writing.

    python benchmarks/predict.py PICTURES... [--model nuclei] [--threads 1] [--repeat 3]

Stages run one after the other on one picture at a time, so that the shares add up; the command itself overlaps
reading and writing with the network.
"""

import argparse
import json
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from delineate import Dataset, Predictor, Record, read_image
from delineate.draw import draw
from delineate.formats import coco
from delineate.image import write_image
from delineate.measure import write_csv
from delineate.postprocess.decode import prototypes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--model", default="nuclei")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    predictor = Predictor(options.model, threads=options.threads)
    card = predictor.card
    seconds: dict[str, float] = defaultdict(float)
    objects = 0

    def timed(stage, call):
        start = time.perf_counter()
        result = call()
        seconds[stage] += time.perf_counter() - start
        return result

    predictor.predict(options.pictures[0])  # warm up
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.repeat):
            records = []
            for number, path in enumerate(options.pictures, 1):
                image = timed("read", lambda path=path: read_image(path))
                tensor, placement = timed("preprocess", lambda image=image: card.preprocess.apply(image))
                outputs = timed(
                    "network",
                    lambda tensor=tensor: predictor.runtime({predictor.runtime.inputs[0].name: tensor}),
                )
                found = timed(
                    "decode",
                    lambda outputs=outputs, placement=placement, image=image, tensor=tensor: prototypes(
                        list(outputs.values()),
                        placement=placement,
                        size=image.shape[:2],
                        input_size=tensor.shape[2:],
                        thresholds=predictor.thresholds,
                        classes=len(card.classes),
                        strides=card.strides,
                        threads=options.threads,
                    ),
                )
                objects += len(found)
                overlay = timed(
                    "draw", lambda image=image, found=found: draw(image, found, predictor.classes)
                )
                timed("write", lambda overlay=overlay: write_image(Path(folder) / "overlay.png", overlay))
                records.append(Record(path, found.size, found, number))
            dataset = Dataset(tuple(records), predictor.classes)
            timed("write", lambda dataset=dataset: coco.write(dataset, Path(folder) / "predictions.json"))
            pictures = [(str(record.path), record.instances) for record in records]
            timed(
                "measure",
                lambda pictures=pictures: write_csv(
                    Path(folder) / "objects.csv", pictures, predictor.classes
                ),
            )
    whole = sum(seconds.values())
    count = options.repeat * len(options.pictures)
    print(
        f"{len(options.pictures)} pictures x {options.repeat}, {objects / count:.1f} objects each, "
        f"{options.threads} thread(s)"
    )
    for stage in ("read", "preprocess", "network", "decode", "draw", "measure", "write"):
        print(f"{stage:>10}  {1e3 * seconds[stage] / count:8.2f} ms  {100 * seconds[stage] / whole:5.1f} %")
    outside = (seconds["read"] + seconds["network"] + seconds["write"]) / whole
    print(f"network, reading and writing pictures: {100 * outside:.1f} %")
    if options.out:
        options.out.write_text(
            json.dumps({"seconds": seconds, "share": outside, "pictures": count}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
