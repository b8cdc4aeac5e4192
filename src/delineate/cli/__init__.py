"""The command line: one file per command; a command parses, calls, prints."""

from __future__ import annotations

import sys

import cyclopts

from delineate import __version__
from delineate.errors import DelineateError

app = cyclopts.App(
    name="delineate",
    help="Detect every object in a picture and delineate each one with its own mask.",
    version=__version__,
    help_epilogue="Start with: delineate predict PICTURES... --out DIR",
    help_format="plaintext",
)
app.command("delineate.cli.predict:predict_command", name="predict", help="Segment pictures.")
app.command("delineate.cli.eval:eval_command", name="eval", help="Compare predictions with the truth.")
app.command("delineate.cli.train:train_command", name="train", help="Train a model on annotated pictures.")
app.command("delineate.cli.export:export_command", name="export", help="Write a trained model as an ONNX file.")
app.command("delineate.cli.models:models_command", name="models", help="List the models, their licences and sources.")


def main() -> None:
    """Runs the command line; errors of this package end in one line on stderr and exit code 2."""
    try:
        result = app()
    except DelineateError as error:
        sys.stderr.write(f"delineate: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("delineate: interrupted\n")
        sys.exit(130)
    sys.exit(result if isinstance(result, int) else 0)
