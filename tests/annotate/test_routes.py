import io
import json
import logging
import threading
import time
import zipfile

import colours
import pytest
from PIL import Image
from synthetic import nuclei_dataset

from delineate import formats
from delineate.annotate import routes as module
from delineate.annotate.naming import Namer
from delineate.annotate.pictures import Gallery
from delineate.annotate.prompts import Chooser
from delineate.annotate.routes import EXPORTS, Request, Service
from delineate.annotate.sheet import counts, masks
from delineate.masks import Masks
from delineate.predict import Predictor


def text(*box):
    return counts(Masks.from_boxes([box], (20, 30)))[0]


@pytest.fixture
def page(pictures, served):
    client = served(pictures)
    assert client.post("/api/classes", {"name": "cell"}) == (200, {"label": 0, "classes": ["cell"]})
    return client


def test_the_folder(page):
    status, content = page.get("/api/folder")
    assert status == 200
    assert content["pictures"] == [["a.png", 0, False], ["b.png", 0, False], ["deep/c.png", 0, False]]
    assert content["format"] == "coco"
    assert content["engines"] == [{"name": "stub", "kind": "promptable"}]
    assert set(content["exports"]) <= set(formats.names())


def test_edit_and_read_again(page):
    _, before = page.get("/api/pictures/1")
    assert (before["height"], before["width"], before["items"]) == (20, 30, [])
    body = {
        "revision": before["revision"],
        "key": "k",
        "edits": [{"op": "put", "uid": "n1", "label": 0, "counts": text(1, 1, 5, 5)}],
    }
    status, answer = page.post("/api/pictures/1/edits", body)
    assert status == 200
    _, after = page.get("/api/pictures/1")
    assert after["revision"] == answer["revision"] != before["revision"]
    assert after["items"] == [{"uid": "n1", "label": 0, "counts": text(1, 1, 5, 5)}]
    assert page.post("/api/pictures/1/edits", body)[0] == 200  # sent twice
    status, answer = page.post("/api/pictures/1/edits", body | {"key": "other"})
    assert (status, "changed elsewhere" in answer["error"]) == (409, True)
    page.post("/api/pictures/1/review", {"done": True})
    assert page.get("/api/folder")[1]["pictures"][1] == ["b.png", 1, True]


def test_prompts(page):
    status, content = page.post("/api/pictures/0/prompt", {"points": [[10, 10]], "labels": [1]})
    assert status == 200
    assert [(c["counts"], round(c["score"], 3)) for c in content["candidates"]] == [(text(6, 6, 14, 14), 0.9)]
    _, content = page.post("/api/pictures/0/prompt", {"box": [2, 3, 9, 8]})
    assert content["candidates"][0]["counts"] == text(2, 3, 9, 8)
    assert page.post("/api/pictures/0/prompt", {"points": [[1, 1]], "labels": [0]})[1] == {"candidates": []}
    assert page.get("/api/pictures/0/status")[1]["state"] == "ready"


def test_outlines(page):
    _, content = page.post("/api/pictures/0/outline", {"counts": text(2, 3, 9, 8)})
    [ring] = content["rings"]
    assert sorted(map(tuple, ring)) == [(2, 3), (2, 8), (9, 3), (9, 8)]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/pictures/9", None, 404),
        ("/api/pictures/-1", None, 404),
        ("/api/pictures/../../etc/passwd", None, 404),
        ("/api/pictures/0/tiles/0/9/9", None, 404),
        ("/api/nothing", None, 404),
        ("/api/classes", None, 404),
        ("/api/losses?format=exe", None, 422),
        ("/api/export?format=../../x", None, 422),
        ("/api/pictures/0/edits", b"{", 400),
        ("/api/pictures/0/edits", b"[" * 100_000, 400),
        ("/api/pictures/0/edits", {"revision": "x"}, 400),
        ("/api/pictures/0/edits", {"revision": "x", "edits": []}, 400),
        ("/api/pictures/0/edits", {"revision": "x", "edits": [{"op": "explode"}]}, 400),
        ("/api/pictures/0/edits", {"revision": "x", "edits": [{"op": "drop", "uid": "1"}], "more": 1}, 400),
        ("/api/pictures/0/edits", {"revision": "x", "edits": [{"op": "drop", "uid": "1"}]}, 409),
        ("/api/pictures/0/prompt", {}, 422),
        ("/api/pictures/0/prompt", {"points": [[1, 1]]}, 422),
        ("/api/pictures/0/prompt", {"points": [[1, 1]], "labels": [2]}, 400),
        ("/api/pictures/0/prompt", {"points": [[31, 1]], "labels": [1]}, 422),
        ("/api/pictures/0/prompt", {"points": [[-1, 1]], "labels": [1]}, 422),
        ("/api/pictures/0/prompt", {"points": [[1, 1]] * 65, "labels": [1] * 65}, 400),
        ("/api/pictures/0/prompt", {"points": [[1, 1]], "labels": [10**30]}, 400),
        ("/api/pictures/0/prompt", b'{"points": [[NaN, 1]], "labels": [1]}', 400),
        ("/api/pictures/0/prompt", b'{"points": [[1e999, 1]], "labels": [1]}', 400),
        ("/api/pictures/0/prompt", {"box": [1, 1, 1e300, 9]}, 422),
        (
            "/api/pictures/0/edits",
            {"revision": "x", "edits": [{"op": "put", "uid": "1", "label": 10**30}]},
            409,
        ),
        (
            "/api/pictures/0/edits",
            {"revision": "x", "edits": [{"op": "put", "uid": "1", "label": 0, "at": 10**30}]},
            400,
        ),
        (
            "/api/pictures/0/edits",
            {"revision": "x", "edits": [{"op": "put", "uid": "1", "label": 0, "at": -1}]},
            400,
        ),
        ("/api/pictures/999999999", None, 404),
        ("/api/pictures/0/tiles/999999999/0/0", None, 404),
        ("/api/pictures/0/tiles/0/999999999/0", None, 404),
        ("/api/pictures/0/prompt", {"points": [[1, 1]], "labels": [1], "mask": "###"}, 422),
        ("/api/pictures/0/prompt", {"points": [[1, 1]], "labels": [1], "engine": "none"}, 422),
        ("/api/pictures/0/status?engine=none", None, 422),
        ("/api/pictures/0/outline", {"counts": "###"}, 422),
        ("/api/pictures/0/outline", {"counts": "0", "overlap": 2}, 400),
        ("/api/pictures/0/find", {}, 422),
        ("/api/classes", {"name": " "}, 422),
        ("/api/classes/7", {"name": "x"}, 422),
    ],
)
def test_what_is_wrong_gets_a_status_and_a_reason(page, path, body, status):
    got, content = page.get(path) if body is None else page.post(path, body)
    assert got == status
    assert content["error"]


def test_a_model_that_breaks_is_an_answer_too(pictures, served, stub, caplog):
    def encode(_):
        raise RuntimeError("no memory")

    stub.encode = encode
    client = served(pictures, stub)
    status, content = client.post("/api/pictures/0/prompt", {"points": [[1, 1]], "labels": [1]})
    assert (status, content["error"]) == (500, "the server failed: RuntimeError: no memory")
    assert "a request failed" in caplog.text
    assert client.get("/api/pictures/0/status")[1]["state"] in ("failed", "encoding")  # asking tries again


def test_prompts_that_wait_leave_room_for_everything_else(pictures, served, stub, monkeypatch):
    monkeypatch.setattr(module, "MAX_PROMPTS", 2)
    gate = threading.Event()
    stub.encode = lambda image: gate.wait(10) and image.shape[:2]
    client = served(pictures, stub)
    body = {"points": [[10, 10]], "labels": [1]}
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(client.post("/api/pictures/0/prompt", body)[0]))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for _ in range(500):
        if found.count(503) == 3:
            break
        time.sleep(0.01)
    assert client.get("/api/folder")[0] == 200
    gate.set()
    for thread in threads:
        thread.join()
    assert sorted(found) == [200, 200, 503, 503, 503]


def test_a_picture_that_cannot_be_read(pictures, served):
    (pictures / "a.png").write_bytes(b"none")
    client = served(pictures)
    for route in ("", "/view", "/thumbnail", "/tiles/0/0/0"):
        status, content = client.get(f"/api/pictures/0{route}")
        assert (status, content["error"].startswith("a.png: ")) == (422, True)
    assert client.get("/api/pictures/1")[0] == 200


def test_pictures_are_sent(page):
    for route, size in (("view", (30, 20)), ("thumbnail", (30, 20)), ("tiles/0/0/0", (30, 20))):
        status, content, headers = page.ask("GET", f"/api/pictures/2/{route}?v=1")
        assert (status, Image.open(io.BytesIO(content)).size) == (200, size)
        assert "immutable" in headers["Cache-Control"]


def test_nothing_in_an_empty_folder(tmp_path, served):
    client = served(tmp_path)
    assert client.get("/api/folder")[1]["pictures"] == []
    assert client.get("/api/pictures/0")[0] == 404


@pytest.mark.parametrize("name", EXPORTS)
def test_exports_are_read_back(page, tmp_path_factory, name, caplog):
    _, before = page.get("/api/pictures/0")
    shapes = [text(1, 1, 8, 8), text(12, 3, 20, 14)]
    puts = [{"op": "put", "uid": f"n{n}", "label": 0, "counts": c} for n, c in enumerate(shapes)]
    page.post("/api/pictures/0/edits", {"revision": before["revision"], "edits": puts})
    assert page.get(f"/api/losses?format={name}")[1] == {"losses": []}
    with caplog.at_level(logging.ERROR):
        status, content, headers = page.ask("GET", f"/api/export?format={name}")
    assert status == 200
    file = headers["Content-Disposition"].split('"')[1]
    if not file.endswith(".zip"):
        assert b"cell" in content or name == "coco"
        return
    names = zipfile.ZipFile(io.BytesIO(content)).namelist()
    assert names
    assert not [one for one in names if one.startswith(("/", ".."))]


def test_losses_are_told_before_an_export(page):
    _, before = page.get("/api/pictures/0")
    puts = [{"op": "put", "uid": f"n{n}", "label": 0, "counts": text(1, 1, 8, 8)} for n in range(2)]
    page.post("/api/pictures/0/edits", {"revision": before["revision"], "edits": puts})
    assert "several objects" in page.get("/api/losses?format=label_maps")[1]["losses"][0]


def test_finding_objects(tmp_path, opened):
    nuclei_dataset(tmp_path, count=1)
    store = opened(tmp_path)
    gallery, chooser = Gallery(store.path), Chooser.load("nuclei")
    service = Service(store, gallery, [chooser])

    def post(path, body):
        return json.loads(service.answer(Request("POST", path, {}, json.dumps(body).encode())).body)

    found = post("/api/pictures/0/find", {})
    assert found["classes"] == ["nucleus"]
    assert len(found["items"]) > 3
    assert store.sheet(0).items == {}  # nothing is saved by looking
    puts = [{"op": "put", "uid": f"n{n}", **item} for n, item in enumerate(found["items"])]
    post("/api/pictures/0/edits", {"revision": store.revision(0), "edits": puts})
    assert post("/api/pictures/0/find", {})["items"] == []  # they are there already
    shapes = masks([item["counts"] for item in found["items"]], store.sheet(0).size)
    assert (shapes.areas > 0).all()
    service.close()


def test_finding_what_a_text_names(tmp_path, opened):
    picture, truth = colours.scene(colours.DISCS)
    Image.fromarray(picture).save(tmp_path / "a.png")

    class Fixed(Predictor):
        def __init__(self):
            pass

        def predict(self, pictures):
            return truth

    store = opened(tmp_path)
    service = Service(store, Gallery(store.path), [], Namer(Fixed(), colours.encoder()))

    def post(path, body):
        answer = service.answer(Request("POST", path, {}, json.dumps(body).encode()))
        return answer.status, json.loads(answer.body)

    status, found = post("/api/pictures/0/find", {"text": "red"})
    assert (status, found["classes"], len(found["items"])) == (200, [], 2)
    assert store.sheet(0).items == {}  # nothing is saved by looking
    post("/api/classes", {"name": "apple"})
    put = {"op": "put", "uid": "one", "label": 0, "counts": found["items"][0]["counts"]}
    post("/api/pictures/0/edits", {"revision": store.revision(0), "edits": [put]})
    again = post("/api/pictures/0/find", {"text": "red"})[1]["items"]
    assert [item["counts"] for item in again] == [found["items"][1]["counts"]]
    assert post("/api/pictures/0/find", {"text": "x" * 201})[0] == 400
    assert post("/api/pictures/0/find", {"text": " "})[0] == 422
    assert post("/api/pictures/0/find", {})[0] == 422  # there is no model
    assert json.loads(service.answer(Request("GET", "/api/folder", {})).body)["texts"] is True
    service.close()
