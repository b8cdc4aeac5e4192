"""``delineate annotate``."""

from __future__ import annotations

import ipaddress
import logging
import os
import signal
import sys
import threading
import webbrowser
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from delineate import clip
from delineate.annotate.naming import Namer
from delineate.annotate.pictures import Gallery
from delineate.annotate.prompts import Chooser, Engine, Promptable
from delineate.annotate.routes import Service
from delineate.annotate.server import Server, token
from delineate.annotate.store import Store
from delineate.errors import DelineateError, FormatError
from delineate.prompt import PromptPredictor, embedded


def annotate_command(
    folder: Annotated[Path, Parameter(help="The folder with the pictures.")],
    /,
    *,
    annotations: Annotated[
        Path | None, Parameter(help="The annotation file; found in the folder by default, or made.")
    ] = None,
    model: Annotated[
        str,
        Parameter(
            help='Instance model of the button "Find objects": an embedded name or an ONNX file; "none".'
        ),
    ] = "nuclei",
    prompt: Annotated[
        tuple[str, ...],
        Parameter(
            consume_multiple=True,
            negative="",
            help="Promptable model for clicks and boxes: the name of an embedded pair, or the encoder and the decoder "
            'of one such as SAM (ONNX files); "none". The embedded one by default, where there is one.',
        ),
    ] = (),
    encoder: Annotated[
        str,
        Parameter(
            help="What understands the words of the box Find: a published encoder's name, or a folder of CLIP's files."
        ),
    ] = "",
    host: Annotated[str, Parameter(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, Parameter(help="0 takes a free port.")] = 8642,
    browser: Annotated[
        bool, Parameter(name="--open", negative="", help="Open the page in the browser.")
    ] = False,
) -> int:
    """Serves the page; see `delineate annotate --help`."""
    if not folder.is_dir():
        raise FormatError(folder, "", "FOLDER must be a folder with pictures, got none.")
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    logging.basicConfig(format="%(message)s")
    chooser = None if model == "none" else Chooser.load(model)
    engines: list[Engine] = [] if chooser is None else [chooser]
    promptable = _promptable(prompt)
    if promptable is not None:
        if chooser is not None and promptable.name == chooser.name:
            promptable.name += " (prompts)"
        engines.insert(0, promptable)
    if not engines:
        raise DelineateError("annotate: --model or --prompt must name a model, got neither.")
    namer = _namer(encoder, promptable, chooser, prompt) if encoder else None
    store = Store(folder, annotations)
    try:
        gallery = Gallery(store.path)
        service = Service(store, gallery, engines, namer)
        server = Server(service, host, port, token(store.private))
    except BaseException:
        store.close()
        raise
    source = store.source
    console.print(
        f"{folder}: {len(store.names)} pictures, annotations in {source.path} ({source.format})", markup=False
    )
    if source.origin is not None:
        console.print(f"{source.origin} was read; edits go to {source.path}.", style="yellow", markup=False)
    if not _is_loopback(host):
        text = (
            f"Warning: {host} can be reached by others. Whoever has the address below can see and change all."
        )
        console.print(text, style="yellow", markup=False)
    sys.stdout.write(f"{server.address}\n")
    sys.stdout.flush()
    console.print("Ctrl+C ends it; everything is saved at once.", style="dim")
    if browser:
        threading.Timer(0.3, webbrowser.open, [server.address]).start()
    _serve(server)
    return 0


def _serve(server: Server) -> None:
    """Until Ctrl+C or SIGTERM."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
        server.service.close(patience=1)
        sys.stderr.flush()
        if server.service.busy:
            # A model cannot be stopped, and the interpreter's end would wait for it or break it: all is saved, so go.
            os._exit(0)


def _promptable(words: tuple[str, ...]) -> Promptable | None:
    """The pair that the words name; without words the embedded one, if there is one."""
    names = words or embedded()[:1]
    if not names or names == ("none",):
        return None
    if len(names) > 2:
        raise DelineateError(
            f"annotate: --prompt must be a name, or an encoder and a decoder, got {len(names)} words."
        )
    predictor = PromptPredictor.load(*names)
    return Promptable(predictor, predictor.card.name if predictor.card else Path(names[0]).stem)


def _namer(
    encoder: str, promptable: Promptable | None, chooser: Chooser | None, words: tuple[str, ...]
) -> Namer:
    """What finds objects by texts: among those of the promptable model, where there is one."""
    loaded = clip.load(encoder)
    if promptable is None:
        assert chooser is not None  # noqa: S101 - for the type checker: one of them is there
        return Namer(chooser.predictor, loaded)
    return Namer(PromptPredictor.load(*(words or embedded()[:1])), loaded)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
