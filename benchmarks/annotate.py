"""What the web page of `delineate annotate` waits for beside the model, on a picture of 4000 x 3000 pixels.

    python benchmarks/annotate.py [--json FILE]

The engine answers at once with a mask of a third of the picture, so that a click's time is that of HTTP, checks,
run-length coding and JSON. Everything goes through real sockets on this machine. There is no peer to compare with:
other annotation tools do not answer on a socket, or need a database and several processes.
"""

import argparse
import http.client
import json
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

from delineate.annotate.pictures import Gallery
from delineate.annotate.routes import Service
from delineate.annotate.server import Server
from delineate.annotate.sheet import counts
from delineate.annotate.store import Store
from delineate.instances import Instances
from delineate.masks import Masks

WIDTH, HEIGHT, TOKEN = 4000, 3000, "0" * 32


class Instant:
    """A model that takes no time: one large round mask."""

    name, kind = "instant", "promptable"

    def encode(self, image):
        """The mask."""
        y, x = np.mgrid[: image.shape[0], : image.shape[1]]
        wave = 60 * np.sin(np.arctan2(y - 1500, x - 2000) * 40)
        inside = np.hypot(x - 2000, y - 1500) < 1150 + wave
        return Instances.of(Masks.from_dense(inside[None]), scores=[0.9])

    def answer(self, encoded, _):
        """The mask again."""
        return encoded


class Page:
    """A client with one connection."""

    def __init__(self, server):
        self.link = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        self.headers = {"Cookie": f"delineate-{server.port}={TOKEN}", "X-Delineate": "1"}

    def __call__(self, method, path, body=None):
        """The content of the answer, decoded where it is JSON."""
        data = None if body is None else json.dumps(body).encode()
        self.link.request(method, path, data, self.headers)
        answer = self.link.getresponse()
        content = answer.read()
        assert answer.status == 200, content[:300]
        return json.loads(content) if answer.headers["Content-Type"] == "application/json" else content


def milliseconds(call, times):
    taken = []
    for n in range(times):
        start = time.perf_counter()
        call(n)
        taken.append(1000 * (time.perf_counter() - start))
    return {"median": statistics.median(taken), "worst": max(taken)}


def measure(page, count):
    """Figures for a picture with `count` objects."""
    rng = np.random.default_rng(0)
    number, known = 0, page("GET", "/api/pictures/0")
    missing = count - len(known["items"])
    corners = rng.integers(0, [WIDTH - 40, HEIGHT - 40], (missing, 2))
    texts = counts(Masks.from_boxes(np.hstack([corners, corners + 30]), (HEIGHT, WIDTH)))
    puts = [{"op": "put", "uid": f"o{count}-{n}", "label": 0, "counts": text} for n, text in enumerate(texts)]
    revision = known["revision"]
    for start in range(0, len(puts), 5000):
        body = {"revision": revision, "edits": puts[start : start + 5000]}
        revision = page("POST", "/api/pictures/0/edits", body)["revision"]
    [large] = page("POST", "/api/pictures/0/prompt", {"points": [[2000, 1500]], "labels": [1]})["candidates"]

    def edit(n):
        nonlocal revision
        put = {"op": "put", "uid": "edited", "label": 0, "counts": large["counts"] if n % 2 else texts[0]}
        revision = page("POST", "/api/pictures/0/edits", {"revision": revision, "edits": [put]})["revision"]

    def click(_):
        page("POST", f"/api/pictures/{number}/prompt", {"points": [[2000, 1500]], "labels": [1]})

    def refine(_):
        body = {"points": [[2000, 1500]], "labels": [1], "mask": large["counts"]}
        page("POST", f"/api/pictures/{number}/prompt", body)

    return {
        "click": milliseconds(click, 30),
        "click that refines": milliseconds(refine, 30),
        "edit, on the disk": milliseconds(edit, 20),
        "objects of the picture": milliseconds(lambda _: page("GET", "/api/pictures/0"), 5),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        pixels = np.random.default_rng(0).integers(0, 255, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)
        Image.fromarray(pixels).resize((WIDTH, HEIGHT)).save(Path(folder, "a.jpg"), quality=90)
        store = Store(Path(folder))
        store.add_class("object")
        gallery = Gallery(store.path)
        service = Service(store, gallery, [Instant()])
        server = Server(service, "127.0.0.1", 0, TOKEN)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = Page(server)
        start = time.perf_counter()
        page("GET", "/api/pictures/0/view")
        figures["first view"] = {"median": 1000 * (time.perf_counter() - start)}
        tiles = [f"/api/pictures/0/tiles/0/{x}/{y}" for x in range(7) for y in range(5)]
        figures["tile"] = milliseconds(lambda n: page("GET", tiles[n]), len(tiles))
        for count in (0, 2000, 10_000):
            for name, value in measure(page, max(count, 1)).items():
                figures[f"{count:>6} objects: {name}"] = value
        server.shutdown()
        server.server_close()
        service.close()
    for name, value in figures.items():
        worst = f", worst {value['worst']:.1f} ms" if "worst" in value else ""
        print(f"{name:<45} {value['median']:8.1f} ms{worst}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
