"""The page in a real browser, without a display: what a person does, and what is in the file afterwards."""

import io
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import zipfile

import colours
import numpy as np
import pytest
from PIL import Image
from synthetic import nuclei_dataset

from delineate.annotate.naming import Namer
from delineate.annotate.pictures import Gallery
from delineate.annotate.prompts import Chooser
from delineate.annotate.routes import Service
from delineate.annotate.server import Server
from delineate.annotate.sheet import counts
from delineate.annotate.store import Store
from delineate.dataset import Dataset, Record
from delineate.formats import coco
from delineate.instances import Instances
from delineate.masks import Masks
from delineate.predict import Predictor

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
FLAGS += ["--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright, to drive a browser")
    if BROWSER is None:
        pytest.skip("needs chromium, to open the page in")
    with api.sync_playwright() as driver:
        try:
            started = driver.chromium.launch(executable_path=BROWSER, args=FLAGS)
        except api.Error as error:
            pytest.skip(f"needs a chromium that starts, got: {str(error).splitlines()[0]}")
        yield started
        started.close()


class Process:
    """``delineate annotate`` as a process."""

    def __init__(self, folder, port=0):
        command = [sys.executable, "-m", "delineate", "annotate", str(folder), "--port", str(port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.address = self.process.stdout.readline().strip()
        self.port = re.search(r":(\d+)/", self.address)[1]

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(20)
        self.process.stdout.close()


class Page:
    """A tab, and what a person does in it."""

    def __init__(self, context, address):
        self.tab = context.new_page()
        self.problems = []
        self.tab.on("pageerror", lambda error: self.problems.append(str(error)))
        self.tab.goto(address)
        self.ready()

    def ready(self):
        self.until("window.delineate?.sheet && delineate.tool && document.getElementById('engine').hidden")

    def js(self, expression):
        return self.tab.evaluate(f"() => {expression}")

    def until(self, expression):
        for _ in range(400):
            if self.js(f"Boolean({expression})"):
                return
            self.tab.wait_for_timeout(25)
        raise AssertionError(f"never: {expression}")

    def at(self, x, y):
        """Of a place in the picture, where it is on the screen."""
        return self.js(
            "(() => { const { left, top } = document.getElementById('stage').getBoundingClientRect();"
            f"const [x, y] = delineate.view.toScreen([{x}, {y}]); return [x + left, y + top]; }})()"
        )

    def click(self, x, y, **options):
        self.tab.mouse.click(*self.at(x, y), **options)

    def drag(self, *points):
        self.tab.mouse.move(*self.at(*points[0]))
        self.tab.mouse.down()
        for point in points[1:]:
            self.tab.mouse.move(*self.at(*point), steps=6)
        self.tab.mouse.up()

    def press(self, *keys):
        for key in keys:
            self.tab.keyboard.press(key)

    def areas(self):
        return self.js("delineate.sheet.items.map((item) => item.mask.area)")

    def saved(self):
        self.until(
            "delineate.sheet.state === 'saved' && document.getElementById('state').textContent === 'Saved'"
        )


class Here:
    """The same in this process, which starts faster."""

    def __init__(self, folder, engine, namer=None):
        store = Store(folder)
        gallery = Gallery(store.path)
        service = Service(store, gallery, [engine], namer)
        self.server = Server(service, "127.0.0.1", 0, "0" * 32)
        self.address = self.server.address
        options = {"poll_interval": 0.01}
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs=options)
        self.thread.start()

    def end(self):
        if self.thread.is_alive():
            self.server.shutdown()
            self.thread.join()
            self.server.server_close()
            self.server.service.close()


class Blind:
    """Sees nothing, at once."""

    name, kind = "blind", "promptable"

    def encode(self, image):
        return Instances.empty(image.shape[:2], scored=True)

    def answer(self, encoded, prompt):
        return encoded


@pytest.fixture(scope="module")
def chooser():
    return Chooser.load("nuclei")


@pytest.fixture
def running(chooser):
    started = []

    def call(folder, engine=chooser, namer=None):
        started.append(Here(folder, engine, namer))
        return started[-1]

    yield call
    for one in started:
        one.end()


@pytest.fixture
def context(browser):
    made = browser.new_context(viewport={"width": 1200, "height": 800}, accept_downloads=True)
    yield made
    made.close()


def on_disk(folder):
    """Areas of the objects of each picture, as the file has them once the server has ended."""
    read = coco.read(folder / "annotations.json")
    return {record.name: sorted(record.instances.masks.areas.tolist()) for record in read}


def test_click_save_reload_undo_export(tmp_path, running, context):
    truth = nuclei_dataset(tmp_path, count=2, size=(96, 128))
    name = truth[0].path.name
    server = running(tmp_path)
    page = Page(context, server.address)
    area, y, x = truth[0].instances.masks.moments()[truth[0].instances.masks.areas.argmax(), :3]
    page.click(x / area + 0.5, y / area + 0.5)
    page.until("delineate.sheet.items.length === 1")  # the mask appears
    page.saved()
    [found] = page.areas()
    masks = Masks.from_rle([{"size": [96, 128], "counts": page.js("delineate.sheet.items[0].mask.text")}])
    assert masks.iou(truth[0].instances.masks).max() > 0.6

    page.tab.reload()
    page.ready()
    assert page.areas() == [found]
    page.press("Control+z")
    page.until("delineate.sheet.items.length === 0")
    page.press("Control+Shift+z")
    page.until("delineate.sheet.items.length === 1")
    page.saved()

    page.tab.click("#export")
    with page.tab.expect_download() as download:
        page.tab.click("text=YOLO")
    archive = zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes()))
    label = next(entry for entry in archive.namelist() if entry.endswith(f"{name.removesuffix('.png')}.txt"))
    assert archive.read(label).startswith(b"0 0.")
    page.press("Escape", "d")
    page.until("delineate.number === 1")
    assert page.problems == []
    server.end()
    assert on_disk(tmp_path)[name] == [found]
    assert json.loads((tmp_path / ".delineate" / "reviewed.json").read_text()) == [name]


@pytest.fixture
def blank(tmp_path):
    """One grey picture of 100 x 160 pixels, and a class."""
    Image.fromarray(np.full((100, 160, 3), 90, np.uint8)).save(tmp_path / "a.png")
    coco.write(Dataset([], ["cell", "dust"]), tmp_path / "annotations.json")
    return tmp_path


def test_brush_eraser_polygon_and_corners(blank, running, context):
    server = running(blank)
    page = Page(context, server.address)
    page.press("b")
    page.js("delineate.resize(10)")
    page.drag((20, 30), (60, 30))
    [area] = page.areas()
    assert area == pytest.approx(40 * 10 + np.pi * 25, rel=0.06)
    page.drag((60, 30), (60, 50))  # the object is selected: it grows
    [more] = page.areas()
    assert more - area == pytest.approx(20 * 10 - 5, rel=0.2)
    page.press("e")
    page.drag((60, 40), (60, 60))
    [less] = page.areas()
    assert less < more
    page.press("Escape", "p")
    for x, y in ((80, 20), (120, 20), (120, 60), (80, 60)):
        page.click(x, y)
    page.press("Enter")
    page.until("delineate.sheet.items.length === 2")
    assert page.areas()[1] == pytest.approx(1600, abs=90)
    page.press("+")
    page.tab.wait_for_selector("#class-dialog[open]")
    page.tab.keyboard.type("fibre d")
    page.press("Enter")
    page.until("delineate.folder.classes.length === 3 && !document.querySelector('dialog[open]')")
    page.press("2")  # the selected polygon becomes dust
    page.press("n")
    page.until("delineate.tool.rings.length === 1")
    before = page.areas()[1]
    x, y = max(page.js("delineate.tool.rings[0]"), key=sum)
    page.drag((x, y), (x + 20, y + 20))
    page.until(f"delineate.sheet.items[1].mask.area > {before + 200}")
    page.press("Control+z")
    page.until(f"delineate.sheet.items[1].mask.area === {before}")
    page.saved()
    areas = sorted(page.areas())
    assert page.problems == []
    server.end()
    assert on_disk(blank) == {"a.png": areas}
    back = coco.read(blank / "annotations.json")
    assert back.classes == ("cell", "dust", "fibre d")
    assert back[0].instances.labels.tolist() == [0, 1]


def test_run_lengths_are_those_of_the_library(blank, running, context):
    rng = np.random.default_rng(0)
    dense = rng.random((6, 100, 160)) < np.array([0, 0.02, 0.5, 0.98, 1, 0.5])[:, None, None]
    dense[5, :, :150] = False
    masks = Masks.from_dense(dense)
    page = Page(context, running(blank).address)
    page.js("import('/static/mask.js').then((module) => { window.mask = module; })")
    page.js("import('/static/outline.js').then((module) => { window.outline = module; })")
    page.until("window.mask && window.outline")
    for n, text in enumerate(counts(masks)):
        page.js(f"window.one = new mask.Mask({json.dumps(text)}, 100, 160)")
        assert page.js("mask.format(mask.parse(one.text))") == text
        assert page.js("mask.Mask.fromCrop(one.crop(), 100, 160).text") == text
        assert page.js("mask.Mask.fromCrop(one.crop([0, 0, 160, 100]), 100, 160).text") == text
        # filling the traced outline gives the mask back
        assert page.js("mask.fill(outline.rings(one.crop()), 100, 160).text") == text
        assert page.js("[one.area, ...one.box]") == [masks.areas[n], *masks.boxes[n].tolist()]
        points = rng.integers(0, [160, 100], (40, 2)).tolist()
        covered = page.js(f"{json.dumps(points)}.map(([x, y]) => one.covers(x + 0.5, y + 0.5))")
        assert covered == [bool(dense[n, y, x]) for x, y in points]


def test_two_tabs(blank, running, context):
    server = running(blank)
    first, second = Page(context, server.address), Page(context, server.address)
    for page, top in ((first, 10), (second, 50)):
        page.tab.bring_to_front()
        page.press("p")
        for x, y in ((20, top), (60, top), (60, top + 30)):
            page.click(x, y)
        page.press("Enter")
    second.tab.wait_for_selector("text=The picture was changed elsewhere")
    assert second.tab.inner_text("#state") == "Not saved"
    second.tab.click("text=Add mine to theirs")
    second.until("delineate.sheet.items.length === 2")
    second.saved()
    first.tab.bring_to_front()
    first.js("void window.dispatchEvent(new Event('focus'))")  # a tab that is looked at again is up to date
    first.until("delineate.sheet.items.length === 2")
    assert first.problems + second.problems == []
    server.end()
    assert len(on_disk(blank)["a.png"]) == 2


@pytest.fixture
def process():
    started = []

    def call(folder, port=0):
        started.append(Process(folder, port))
        return started[-1]

    yield call
    for one in started:
        if one.process.poll() is None:
            one.end(signal.SIGKILL)


def test_a_server_that_is_killed_and_comes_back(blank, process, context):
    server = process(blank)
    page = Page(context, server.address)
    page.press("b")
    page.drag((20, 20), (60, 20))
    page.saved()
    server.end(signal.SIGKILL)
    page.press("Escape")
    page.drag((20, 60), (60, 60))
    page.until("document.getElementById('state').textContent === 'Not saved'")
    again = process(blank, server.port)  # the tab goes on by itself
    page.saved()
    page.press("Control+z")  # also what the former server was told can be undone
    page.press("Control+z")
    page.until("delineate.sheet.items.length === 0")
    page.press("Control+Shift+z")
    page.until("delineate.sheet.items.length === 1")
    page.saved()
    assert page.problems == []
    again.end()
    assert len(on_disk(blank)["a.png"]) == 1


def test_many_objects_and_a_large_picture(tmp_path, running, context):
    Image.fromarray(np.zeros((3000, 4000), np.uint8)).save(tmp_path / "a.png")
    corners = np.stack(np.meshgrid(np.arange(60) * 66, np.arange(40) * 75), -1).reshape(-1, 2)
    masks = Masks.from_boxes(np.hstack([corners, corners + 50]), (3000, 4000))
    record = Record(tmp_path / "a.png", (3000, 4000), Instances.of(masks), 1)
    coco.write(Dataset([record], ["cell"]), tmp_path / "annotations.json")
    page = Page(context, running(tmp_path, Blind()).address)
    assert len(page.areas()) == 2400
    assert page.js("document.querySelectorAll('#objects .object').length") < 60
    page.press("v")
    page.click(660 + 25, 750 + 25)
    page.until("delineate.selected.size === 1")
    page.press("Delete")
    page.until("delineate.sheet.items.length === 2399")
    page.press("z")
    page.tab.mouse.move(600, 400)
    page.tab.mouse.wheel(0, -400)
    page.press("Control+z")
    page.until("delineate.sheet.items.length === 2400")
    page.saved()
    page.js("delineate.select([delineate.sheet.items[900].uid])")
    page.press("z")
    page.until("[...delineate.painter.tiles.values()].some((tile) => tile.naturalWidth)")
    assert page.problems == []


def test_an_empty_folder_and_a_damaged_picture_say_so(tmp_path, running, context):
    (tmp_path / "empty").mkdir()
    address = running(tmp_path / "empty").address
    tab = context.new_page()
    tab.goto(address)
    tab.wait_for_selector("text=There are no pictures in this folder.")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"no picture")
    tab.goto(running(tmp_path / "bad").address)
    tab.wait_for_selector("text=This picture cannot be shown.")
    context.clear_cookies()
    tab.goto(address.partition("?")[0])
    tab.wait_for_selector("text=open the address that the server printed")


class Slow:
    """Looks at a picture until it is let; answers with squares."""

    name, kind = "slow", "promptable"

    def __init__(self):
        self.gate, self.asked = threading.Event(), []

    def encode(self, image):
        self.gate.wait(30)
        return image.shape[:2]

    def answer(self, encoded, prompt):
        self.asked.append(prompt.points.round().astype(int).tolist())
        if prompt.labels[-1] == 0 and len(prompt.labels) == 2:
            return Instances.empty(encoded, scored=True)
        return Instances.of(Masks.from_boxes([[*prompt.points[0] - 4, *prompt.points[-1] + 4]], encoded))


def test_clicks_wait_while_the_model_looks_at_the_picture(blank, running, context):
    engine = Slow()
    page = Page.__new__(Page)
    page.tab, page.problems = context.new_page(), []
    page.tab.on("pageerror", lambda error: page.problems.append(str(error)))
    page.tab.goto(running(blank, engine).address)
    page.until("window.delineate?.sheet && delineate.tool && delineate.engineSays")
    page.click(30, 30)
    page.click(70, 60)
    page.tab.wait_for_selector("text=slow is looking at the picture… Your click is answered then.")
    engine.gate.set()
    page.until("delineate.tool.candidates.length === 1 && !delineate.tool.pending")
    assert engine.asked == [[[30, 30], [70, 60]]]  # one request for both
    page.tab.keyboard.down("Shift")
    page.click(90, 80)
    page.tab.keyboard.up("Shift")
    page.press("Backspace")  # back to two points
    page.until("!delineate.tool.pending")
    page.press("Enter")
    page.until("delineate.sheet.items.length === 1")
    page.tab.keyboard.down("Shift")
    page.click(90, 80)  # the model has nothing for it
    page.tab.keyboard.up("Shift")
    page.until("!delineate.tool.pending")
    page.press("Escape")
    page.tab.click("text=Add at once")
    for x in (20, 60, 100):  # quicker than the model: three objects, not one
        page.click(x, 20)
    page.until("delineate.sheet.items.length === 4 && !delineate.tool.pending")
    page.saved()
    assert sorted(engine.asked[-3:]) == [[[20, 20]], [[60, 20]], [[100, 20]]]
    assert page.problems == []


def test_a_click_beside_an_object_adds_and_a_file_that_others_write_is_told(blank, running, context):
    engine = Slow()
    engine.gate.set()
    page = Page(context, running(blank, engine).address)
    page.press("b")
    page.drag((20, 20), (40, 20))
    [painted] = page.areas()
    page.press("c")
    page.click(100, 80)
    page.until("delineate.tool.candidates.length === 1")
    page.press("Enter")
    page.until("delineate.sheet.state === 'saved'")
    assert page.areas() == [painted + 64]  # what was painted stays
    page.saved()
    other = {"annotations": []}
    while [one["area"] for one in other["annotations"]] != [painted + 64]:  # the file follows within a second
        page.tab.wait_for_timeout(50)
        other = json.loads((blank / "annotations.json").read_text())
    (blank / "annotations.json").write_text(json.dumps(other | {"info": {"by": "another program"}}))
    page.press("Control+z")
    page.tab.wait_for_selector("text=Kept, not in annotations.json")
    page.tab.wait_for_selector("text=changed by another program")
    assert page.problems == []


def test_all_of_it_without_a_mouse(blank, running, context):
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(blank / "b.png")
    coco.write(Dataset([], [f"class {n}" for n in range(30)]), blank / "annotations.json")
    engine = Slow()
    engine.gate.set()
    page = Page(context, running(blank, engine).address)
    unnamed = (
        "[...document.querySelectorAll('button, input, select, [role=listbox]')].filter((one) => "
        "!(one.getAttribute('aria-label') || one.labels?.length || one.textContent.trim() || one.hidden))"
        ".map((one) => one.id)"
    )
    assert page.js(unnamed) == []
    assert page.js("document.querySelectorAll('#classes [tabindex=\"0\"]').length") == 1  # not thirty
    page.press("l")
    page.tab.keyboard.type("s 17")
    page.press("Enter")
    assert page.js("delineate.label") == 17
    page.press("ArrowRight", "ArrowDown", "x")
    page.until("delineate.tool.candidates.length === 1")
    page.press("Enter")
    page.until("delineate.sheet.items.length === 1")
    page.press("p")  # X held down drags
    for key in ("ArrowLeft", "ArrowUp", "ArrowRight"):
        page.press("x", *[key] * 9)
    page.press("Enter")
    page.until("delineate.sheet.items.length === 2")
    page.tab.focus("#classes .class[tabindex='0']")
    page.press("ArrowDown", "F2")
    page.tab.wait_for_selector("#class-dialog[open]")
    page.tab.keyboard.type("renamed")
    page.press("Enter")
    page.until("delineate.folder.classes[18] === 'renamed' && !document.querySelector('dialog[open]')")
    assert page.js("delineate.sheet.items.map((item) => item.label)") == [
        17,
        17,
    ]  # a new name, not a new class
    page.js("void document.getElementById('stage').focus()")
    page.press("Control+a", "Control+c", "Shift+H")
    assert page.tab.is_hidden("#hidden")  # there are no others
    page.press("Escape", ".")
    page.until("delineate.sheet.number === 1")
    page.press("Control+v")  # a smaller picture: what lies outside is cut off
    page.until("delineate.sheet.items.length > 0")
    page.js("delineate.select([delineate.sheet.items[0].uid])")
    page.press("h")
    page.tab.wait_for_selector("text=All masks are hidden")
    page.tab.click("#hidden")
    assert page.tab.is_hidden("#hidden")
    page.press("d")  # nothing behind it: it goes on at the start
    page.until("delineate.sheet.number === 0")
    page.press("d")
    page.tab.wait_for_selector("text=All pictures of this list are done.")
    page.press("d")  # never takes it back
    page.until("!delineate.finishing")
    assert page.js("delineate.folder.pictures.map((entry) => entry[2])") == [True, True]
    page.press("/")
    page.tab.keyboard.type("nothing like it")
    page.tab.wait_for_selector("text=No picture fits.")
    page.press("Escape")
    assert page.js("document.activeElement.id") == "stage"
    page.saved()
    assert page.problems == []


class Discs(Predictor):
    """Sees the discs of a picture, and no colours."""

    def __init__(self, truth):
        self.truth = truth

    def predict(self, pictures):
        return self.truth


def test_what_words_name_becomes_the_chosen_class(running, context, tmp_path):
    picture, truth = colours.scene(colours.DISCS)
    Image.fromarray(picture).save(tmp_path / "a.png")
    server = running(tmp_path, Blind(), Namer(Discs(truth), colours.encoder()))
    page = Page(context, server.address)
    words = page.tab.get_by_role("searchbox", name="Find what this names")
    words.fill("red")
    words.press("Enter")
    page.until("delineate.sheet.items.length === 2")
    assert sorted(page.areas()) == sorted(truth.masks.areas[truth.labels == 0].tolist())
    assert page.js("document.activeElement.id") == "words"
    page.tab.get_by_text("2 objects found. Undo takes them back.").wait_for()
    page.js("delineate.addClass('sky')")
    words.fill("blue thing")
    words.press("Enter")
    page.until("delineate.sheet.items.length === 3")
    assert page.js("delineate.sheet.items.map((item) => item.label)") == [0, 0, 1]
    words.fill("purple")
    words.press("Enter")
    page.tab.get_by_text("Nothing more here looks like “purple”.").wait_for()
    page.js("delineate.sheet.undo()")
    page.until("delineate.sheet.items.length === 2")
    page.saved()
    server.end()
    dataset = coco.read(tmp_path / "annotations.json")
    assert dataset.classes == ("red", "sky")
    assert dataset[0].instances.masks.areas.sum() == truth.masks.areas[truth.labels == 0].sum()
    assert page.problems == []


def test_there_is_no_box_for_words_without_an_encoder(running, context, tmp_path):
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.png")
    page = Page(context, running(tmp_path, Blind()).address)
    assert not page.tab.locator("#words").is_visible()
