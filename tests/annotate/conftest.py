"""A folder with pictures, and a server on it."""

import contextlib
import http.client
import json
import threading

import numpy as np
import pytest
from PIL import Image

from delineate.annotate.pictures import Gallery
from delineate.annotate.routes import Service
from delineate.annotate.server import Server
from delineate.annotate.store import Store
from delineate.instances import Instances
from delineate.masks import Masks

TOKEN = "0123456789abcdef" * 2


class Stub:
    """Answers every prompt with the square around its first point or the box."""

    name, kind = "stub", "promptable"

    def __init__(self):
        self.encoded = []

    def encode(self, image):
        self.encoded.append(image.shape)
        return image.shape[:2]

    def answer(self, encoded, prompt):
        if prompt.box is not None:
            box = prompt.box
        elif prompt.labels[0] == 0:
            return Instances.empty(encoded, scored=True)
        else:
            box = np.concatenate([prompt.points[0] - 4, prompt.points[0] + 4])
        height, width = encoded
        box = np.clip(np.round(box), 0, [width, height, width, height])
        found = Masks.from_boxes([box], encoded)
        return Instances.of(found, scores=[0.9])


@pytest.fixture
def stub():
    """An engine, to give to `served`."""
    return Stub()


@pytest.fixture
def pictures(tmp_path):
    """a.png, b.png and deep/c.png of 20 x 30 pixels."""
    (tmp_path / "deep").mkdir()
    for n, name in enumerate(("a.png", "b.png", "deep/c.png")):
        Image.fromarray(np.full((20, 30, 3), 40 * n, np.uint8)).save(tmp_path / name)
    return tmp_path


@pytest.fixture
def opened():
    """Opens stores and closes them at the end; ``kill`` leaves one as a killed process would."""
    stores = []

    def call(*arguments):
        stores.append(Store(*arguments))
        return stores[-1]

    yield call
    for store in stores:
        store.close()


class Client:
    """A page that speaks HTTP."""

    def __init__(self, server):
        self.server = server
        self.headers = {"Cookie": f"delineate-{server.port}={TOKEN}", "X-Delineate": "1"}

    def ask(self, method, path, body=None, **headers):
        """Status, content (decoded JSON, or bytes) and headers."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        sent = {name: value for name, value in (self.headers | headers).items() if value is not None}
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        ) as link:
            link.request(method, path, data, sent)
            answer = link.getresponse()
            content = answer.read()
            if answer.headers["Content-Type"] == "application/json":
                content = json.loads(content)
            return answer.status, content, answer.headers

    def get(self, path):
        return self.ask("GET", path)[:2]

    def post(self, path, body):
        return self.ask("POST", path, body)[:2]


@pytest.fixture
def served(opened):
    """Serves a folder with the stub engine; gives a client."""
    servers = []

    def call(root, engine=None, host="127.0.0.1"):
        store = opened(root)
        gallery = Gallery(store.path)
        service = Service(store, gallery, [engine or Stub()])
        server = Server(service, host, 0, TOKEN)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return Client(server)

    yield call
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()
        server.service.close()
