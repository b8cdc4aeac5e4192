"""The command line: one file per command; a command parses, calls, prints."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import cyclopts

from delineate import __version__
from delineate.errors import DelineateError

app = cyclopts.App(
    name="delineate",
    help="Detect every object in a picture and delineate each one with its own mask.",
    version=__version__,
    help_epilogue="Start with:  delineate predict PICTURES... --out DIR",
    help_format="plaintext",
)


def _add(name: str, summary: str, *examples: str) -> None:
    """Registers ``delineate.cli.NAME:NAME_command``; its module is imported when it runs."""
    app.command(
        f"delineate.cli.{name}:{name}_command",
        name=name,
        help=summary,
        help_epilogue="Examples:\n\n" + "\n\n".join(f"  delineate {name} {example}" for example in examples),
    )


_add(
    "predict",
    "Segment pictures: overlays, predictions.json (COCO) and objects.csv; with models that name every pixel COCO "
    "panoptic files, class maps and the share of each class. Exit code 0: all pictures; 1: some could not be read; 2: "
    "nothing could be done.",
    "cells/*.png --out results",
    "slides --out results --pixel-size 0.325",
    "street.jpg --model mask_rcnn-r50_fpn --score 0.5 --out results",
    "street.jpg --model yolov8n-seg.onnx --score 0.4 --out results",
    "street.jpg --text 'red car' --text window --model sam-vit_b --out results",
    "photos/ --model panoptic_fpn-r50 --accept-licence CC-BY-SA-3.0 --out results",
    "scenes/ --model runs/scenes/best.safetensors --stuff-area 100 --out results",
)
_add(
    "eval",
    "Compare predictions with the truth: COCO's average precision, types of errors, matched objects; against another "
    "run, by attribute, under other tools' conventions. Exit code 0: evaluated; 2: nothing could be done.",
    "truth.json results/predictions.json",
    "truth.json results/predictions.json --max-detections 1000 --matching --json report.json",
    "truth.json new.json --against old.json --by stain --html report.html",
    "truth.json results.json --explain",
    "truth.json results.json --target 0.371",
)
_add(
    "train",
    "Train a model on annotated pictures: COCO files; for models that name every pixel also COCO panoptic, "
    "Cityscapes, class maps.",
    "recipes/nuclei.toml --out runs/nuclei --set data.root=data/dsb2018",
    "--set data.train=train.json --set data.val=val.json --set size=320 --out runs/mine",
    "recipes/nuclei.toml --out runs/nuclei --resume",
)
_add(
    "export",
    "Write a trained model as an ONNX file that says all about itself, and check that it computes the same.",
    "runs/mine/best.safetensors --out mine.onnx --licence CC-BY-4.0 --samples pictures",
)
_add(
    "convert",
    "Convert a dataset into another format, and certify object by object what became of it. Exit code 0: all that the "
    "format can hold is there; 1: something differs; 2: nothing was written.",
    "labels/ coco.json --to coco",
    "coco.json yolo/ --to yolo --pictures copy",
    "coco.json voc/ --to voc --allow-loss --json certificate.json",
)
_add(
    "check",
    "Find everything that is wrong with a dataset; with several, also the pictures that they share (leakage). "
    "Exit code 0: no errors; 1: errors; 2: it could not be read at all.",
    "labels.json",
    "train.json val.json test.json",
    "yolo/ --json problems.json",
    "labels.json --fix mended.json",
)
_add(
    "stats",
    "Count and measure what is in a dataset.",
    "labels.json",
    "yolo/ --json stats.json --html stats.html",
)
_add(
    "browse",
    "Look at a dataset: one self-contained web page, or a contact sheet, with the masks over the pictures.",
    "labels.json page.html",
    "yolo/ sheet.png --count 24",
)
_add(
    "split",
    "Deal the pictures of a dataset out to parts, so that every class is shared out alike. Formats that are one file "
    "give one for each part in the folder TARGET.",
    "all.json parts/ --parts train=0.8,val=0.1,test=0.1",
    "all.json yolo/ --to yolo --group patient --seed 7",
)
_add(
    "merge",
    "Make one dataset of several; a taxonomy file says what becomes of their classes.",
    "a.json b.json --out both.json",
    "street=cityscapes/ coco=coco.json --taxonomy universal.toml --out all.json --to coco",
)
_add(
    "filter",
    "Keep the objects of a dataset that meet every condition.",
    "all.json large.json --classes person,car --min-area 1024 --no-empty",
)
_add(
    "tile",
    "Cut large pictures into tiles with their masks; --join puts annotated tiles together again.",
    "slides.json tiles/ --side 1024 --overlap 128",
    "tiles/annotations.json slides.json --join",
)
_add(
    "annotate",
    "Make and correct masks on a local web page: clicks, boxes, brush, polygons. Edits are saved at once in the format "
    "that the folder has, COCO by default. Ctrl+C ends it.",
    "cells/ --open",
    "street/ --prompt encoder.onnx decoder.onnx",
    "data/ --annotations data/train.json --model mine.onnx --port 0",
    "street/ --encoder clip-vit_b32",
)
_add("sample", "Draw some pictures of a dataset.", "all.json few.json --count 50 --seed 1")
_add(
    "models",
    "List the models that are here, and those that others publish, with licences, sizes and accuracy; download them.",
    "",
    "download mask_rcnn-r50_fpn",
    "download yolo_seg-11n --accept-licence AGPL-3.0-only",
)


def main(words: Sequence[str] | None = None) -> None:
    """Runs the command line and ends the process.

    A mistake of the user's ends in one line on stderr and exit code 2, an interruption in 130.

    Args:
        words: The arguments after the program's name; None takes those of this process.
    """
    try:
        result = app(sys.argv[1:] if words is None else list(words), result_action="return_value")
    except (DelineateError, ValueError, OSError) as error:
        sys.stderr.write(f"delineate: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("delineate: interrupted\n")
        sys.exit(130)
    sys.exit(result if isinstance(result, int) else 0)
