/** The page: one picture open, one tool in the hand. */

import { Aim } from "./aim.js";
import { Failure, get, post } from "./api.js";
import { ofClass } from "./colours.js";
import { Copies, named } from "./copies.js";
import * as dialogs from "./dialogs.js";
import { furnish, icon } from "./icons.js";
import { closeSides, listen } from "./input.js";
import { element } from "./lists.js";
import { union } from "./mask.js";
import { Brush } from "./paint.js";
import { Painter } from "./painter.js";
import { Classes, Objects, Pictures } from "./panels.js";
import { Click, Select } from "./pick.js";
import { Points, Polygon } from "./polygons.js";
import { Saving } from "./saving.js";
import { settings } from "./settings.js";
import { Sheet, newUid } from "./sheet.js";
import { View } from "./view.js";

const by = (id) => document.getElementById(id);

class App {
  number = -1;
  label = 0;
  unsaved = new Map(); // pictures with edits on their way
  options = { size: 24, keepOff: false, atOnce: false };

  async start() {
    furnish();
    this.view = new View();
    this.painter = new Painter(by("stage"), this.view);
    this.selected = this.painter.selected;
    this.tools = [new Select(this), new Click(this), new Brush(this, false), new Brush(this, true), new Polygon(this), new Points(this)];
    this.pictures = new Pictures(this);
    this.classes = new Classes(this);
    this.objects = new Objects(this);
    this.aim = this.painter.aim = new Aim(this);
    this.copies = new Copies(this);
    this.saving = new Saving(this);
    settings(this);
    this.showTools();
    listen(this);
    await this.reload();
    const wanted = this.folder.pictures.findIndex(([name]) => `#${encodeURIComponent(name)}` === location.hash);
    const open = this.folder.pictures.findIndex(([, , done]) => !done);
    if (this.folder.pictures.length) await this.open(wanted >= 0 ? wanted : Math.max(open, 0));
    else this.nothing("There are no pictures in this folder.", "Put PNG, JPEG or TIFF files into it and start again.");
    this.use("click");
  }

  async reload() {
    this.folder = await get("/api/folder");
    const known = this.folder.engines.find(({ name }) => name === this.engine?.name);
    if (!known) this.chooseEngine(this.folder.engines[0]);
    this.showFinding();
    by("find").title = `Let the model ${this.folder.model ?? ""} find the objects of this picture (G)`;
    this.pictures.update();
    this.classes.update();
    if (this.folder.problem) this.say(this.folder.problem, "bad");
  }

  /** Show a picture; edits of the former one go on being saved. */
  async open(number) {
    if ((number === this.number && this.sheet) || !this.folder.pictures[number]) return;
    this.tool?.cancel();
    const mine = (this.opening = (this.opening || 0) + 1);
    this.number = number;
    const [name] = this.folder.pictures[number];
    history.replaceState(null, "", `#${encodeURIComponent(name)}`);
    by("name").textContent = name;
    by("name").title = name;
    document.title = `${name} · ${this.folder.name} · delineate`;
    closeSides();
    this.pictures.follow();
    by("stage").classList.add("loading");
    const slow = setTimeout(() => this.showEngine("Opening the picture…"), 250);
    try {
      await this.unsaved.get(number)?.sending; // edits of it that are still on their way
      const content = await get(`/api/pictures/${number}?engine=${encodeURIComponent(this.engine.name)}`);
      const image = await pictureAt(`/api/pictures/${number}/view?v=${content.version}`);
      if (mine !== this.opening) return;
      this.take(new Sheet(content), image);
    } catch (error) {
      if (mine !== this.opening) return;
      this.nothing("This picture cannot be shown.", error instanceof Failure ? error.message : "It could not be decoded.");
    } finally {
      clearTimeout(slow);
      if (mine === this.opening) {
        by("stage").classList.remove("loading");
        this.showEngine("");
      }
    }
  }

  take(sheet, image) {
    this.sheet = sheet;
    Object.assign(this.view, { width: sheet.width, height: sheet.height });
    this.view.fit();
    this.selected.clear();
    by("empty").hidden = true;
    sheet.addEventListener("items", () => sheet === this.sheet && this.itemsChanged());
    this.saving.listen(sheet);
    this.painter.show(sheet, image);
    this.itemsChanged();
    this.hiddenChanged();
    this.saving.show(sheet);
    this.viewChanged();
    this.showHint();
    this.tool?.selection?.();
    this.watching = this.watchEngine();
  }

  nothing(title, text) {
    this.sheet = null;
    this.selected.clear();
    this.tool?.cancel();
    this.painter.show(null, null);
    this.objects.update();
    this.showHistory();
    this.showHint();
    this.showEngine("");
    by("hidden").hidden = true;
    by("state").textContent = "";
    by("empty").hidden = false;
    by("empty").replaceChildren(element("h2", {}, title), element("p", { class: "dim" }, text));
  }

  /** What goes on above the picture: it is opened, or the model looks at it and clicks wait for that. */
  showEngine(text = this.engineSays ?? "") {
    this.engineSays = text;
    const waiting = text && this.tool?.pending;
    const clicks = waiting === 1 ? "Your click is answered then." : `${waiting} clicks are answered then.`;
    by("engine").hidden = !text;
    by("engine").classList.toggle("failed", text.includes("failed"));
    by("engine").textContent = waiting ? `${text} ${clicks}` : text;
  }

  /** Say that the model is still looking at the picture; ends when it can answer. */
  async watchEngine() {
    const { sheet, engine } = this;
    const say = { encoding: `${engine.name} is looking at the picture…`, none: "", ready: "", failed: `${engine.name} failed on this picture.` };
    for (let pause = 120; sheet; pause = Math.min(pause * 1.3, this.tool?.pending ? 200 : 800)) {
      const { state } = await get(`/api/pictures/${sheet.number}/status?engine=${encodeURIComponent(engine.name)}`).catch(() => ({ state: "none" }));
      if (sheet !== this.sheet || engine !== this.engine) return;
      this.showEngine(say[state]);
      if (state !== "encoding") return;
      await new Promise((done) => setTimeout(done, pause));
    }
  }

  /** Another model answers clicks. */
  chooseEngine(engine) {
    this.engine = engine;
    this.options.atOnce = engine.kind === "chooser"; // it has no doubts to show
    if (!this.sheet) return;
    this.tool?.cancel();
    this.showOptions();
    this.watching = this.watchEngine();
  }

  step(by_, onlyOpen = false) {
    const { shown } = this.pictures;
    const at = shown.indexOf(this.number);
    if (!onlyOpen) {
      if (shown[at + by_] !== undefined) this.open(shown[at + by_]);
      return;
    }
    const order = [...shown.slice(at + 1), ...shown.slice(0, Math.max(at, 0))]; // from the end it goes on at the start
    const next = order.find((number) => !this.folder.pictures[number][2]);
    if (next !== undefined) this.open(next);
    else if (this.folder.pictures[this.number]?.[2]) this.say("All pictures of this list are done.", "good");
    else this.say("This is the last one to do.", "note");
  }

  /** The picture is done, or is not after all; the key never takes back. */
  async done(key = false) {
    const { sheet } = this;
    if (!sheet || sheet.number !== this.number || this.finishing) return; // another one is being opened
    this.finishing = true;
    const entry = this.folder.pictures[sheet.number];
    const done = key || !entry[2];
    try {
      await this.tool?.accept?.();
      await sheet.sending;
      if (done !== entry[2]) await post(`/api/pictures/${sheet.number}/review`, { done });
      entry[2] = done;
      this.showDone();
      if (done && sheet.number === this.number) this.step(1, true);
      this.pictures.update();
    } catch (error) {
      this.say(error.message, "bad");
    }
    this.finishing = false;
  }

  // Objects

  itemsChanged() {
    const known = new Set(this.sheet.items.map((item) => item.uid));
    for (const uid of this.selected) if (!known.has(uid)) this.selected.delete(uid);
    const entry = this.folder.pictures[this.sheet.number];
    const before = entry[1];
    entry[1] = this.sheet.items.length;
    if (before !== entry[1]) this.pictures.follow();
    this.painter.changed(this.sheet.dirty);
    this.sheet.dirty = null;
    this.objects.update();
    this.tool?.changed?.();
    this.showHistory();
  }

  select(uids) {
    this.selected.clear();
    for (const uid of uids) this.selected.add(uid);
    this.painter.draw("marks");
    this.objects.follow();
    this.tool?.selection?.();
    this.showHint();
  }

  hover(uid) {
    this.painter.hovered = uid;
    this.painter.draw("marks");
  }

  show(item) {
    this.view.show(item.box || item.mask.box);
    this.viewChanged();
  }

  /** The smallest object under a point. */
  itemAt([x, y]) {
    let best = null;
    for (const item of this.sheet?.items ?? []) {
      if (!item.hidden && item.mask.covers(x, y) && (!best || item.mask.area <= best.mask.area)) best = item;
    }
    return best;
  }

  commit(edits) {
    this.sheet.edit(edits);
  }

  /** A new object of the chosen class; the class "object" is made where there is none. */
  async addObject(mask, { select, label = this.label }) {
    const { sheet } = this;
    if (!this.folder.classes.length && !(await this.addClass("object"))) return;
    const uid = newUid();
    sheet.edit([{ op: "put", uid, label, counts: mask.text }]);
    if (sheet === this.sheet) this.select(select ? [uid] : []);
  }

  relabel(label) {
    const chosen = this.sheet?.items.filter((item) => this.selected.has(item.uid) && item.label !== label) ?? [];
    this.commitIf(chosen.map((item) => ({ op: "put", uid: item.uid, label })));
  }

  remove() {
    this.commitIf([...this.selected].map((uid) => ({ op: "drop", uid })));
  }

  /** Show all objects again, or hide all but the selected ones. */
  isolate() {
    if (!this.sheet) return;
    const { items } = this.sheet;
    const alone = this.selected.size > 0 && items.some((item) => !item.hidden && !this.selected.has(item.uid));
    for (const item of items) item.hidden = alone && !this.selected.has(item.uid);
    this.painter.shown.hidden = false;
    this.hiddenChanged();
  }

  hiddenChanged() {
    const all = this.painter.shown.hidden;
    const count = this.sheet?.items.filter((item) => item.hidden).length ?? 0;
    by("hide").setAttribute("aria-pressed", String(all));
    by("hidden").hidden = !all && !count;
    by("hidden").textContent = `${all ? "All masks are" : `${named(count)} ${count === 1 ? "is" : "are"}`} hidden · Show (${all ? "H" : "Shift+H"})`;
    this.painter.changed();
    this.objects.update();
  }

  showAll() {
    this.painter.shown.hidden = false;
    for (const item of this.sheet?.items ?? []) item.hidden = false;
    this.hiddenChanged();
  }

  join() {
    const chosen = (this.sheet?.items ?? []).filter((item) => this.selected.has(item.uid) && item.mask.area);
    if (chosen.length < 2) return;
    const [first, ...rest] = chosen;
    const mask = union(chosen.map((item) => item.mask));
    this.commit([{ op: "put", uid: first.uid, label: first.label, counts: mask.text }, ...rest.map(({ uid }) => ({ op: "drop", uid }))]);
    this.select([first.uid]);
  }

  /** To the front (1) or to the back (-1). */
  reorder(where) {
    if (!this.selected.size) return;
    const [chosen, others] = [true, false].map((wanted) => this.sheet.items.map(({ uid }) => uid).filter((uid) => this.selected.has(uid) === wanted));
    this.commit([{ op: "order", uids: where > 0 ? [...others, ...chosen] : [...chosen, ...others] }]);
  }

  commitIf(edits) {
    if (edits.length) this.commit(edits);
  }

  /** All that the model finds, or what a text names: the latter becomes the chosen class. */
  async find(text = "") {
    const { sheet } = this;
    if (!sheet || this.finding || !(text || this.folder.model)) return;
    this.finding = true;
    this.showFinding();
    this.busy(true);
    this.showEngine(`Looking for ${text ? `“${text}”` : "objects"}…`);
    try {
      const { items, classes } = await post(`/api/pictures/${sheet.number}/find`, text ? { text } : {});
      this.folder.classes = classes;
      if (text && items.length && !classes.length) await this.addClass(text);
      this.classes.update();
      sheet.edit(items.map(({ label, counts }) => ({ op: "put", uid: newUid(), label: text ? this.label : label, counts })));
      const nothing = text ? `Nothing more here looks like “${text}”.` : "The model finds nothing more here.";
      if (sheet !== this.sheet) this.say(`In ${this.folder.pictures[sheet.number][0]}:`, "note");
      this.say(items.length ? `${named(items.length)} found. Undo takes them back.` : nothing, items.length ? "good" : "note");
    } catch (error) {
      this.say(error.message, "bad");
    }
    this.finding = false;
    this.showFinding();
    this.busy(false);
    this.showEngine("");
  }

  showFinding() {
    by("find").disabled = this.finding || !this.folder.model;
    by("naming").hidden = !this.folder.texts;
    by("words").readOnly = this.finding; // keeps the focus
  }

  // Classes

  chooseClass(label) {
    if (label >= this.folder.classes.length) return;
    this.label = label;
    this.classes.update();
    if (this.selected.size) this.relabel(label);
  }

  colourOf(label) {
    return ofClass(label);
  }

  async addClass(name) {
    try {
      const { classes, label } = await post("/api/classes", { name });
      this.folder.classes = classes;
      this.label = label;
      this.classes.update();
      return true;
    } catch (error) {
      this.say(error.message, "bad");
      return false;
    }
  }

  async nameClass(label = null) {
    const name = await dialogs.askName(label === null ? "New class" : "Rename class", label === null ? "" : this.folder.classes[label]);
    if (name === null) return;
    if (label === null) await this.addClass(name);
    else {
      try {
        this.folder.classes = (await post(`/api/classes/${label}`, { name })).classes;
      } catch (error) {
        this.say(error.message, "bad");
      }
      this.classes.update();
      this.objects.update();
    }
  }

  // What is shown

  use(name) {
    const tool = this.tools.find((one) => one.name === name);
    if (!tool || tool === this.tool) return;
    this.tool?.cancel();
    this.tool?.leave?.();
    this.tool = this.painter.tool = tool;
    this.painter.hovered = null;
    by("stage").dataset.cursor = tool.cursor;
    for (const button of by("tools").children) button.setAttribute("aria-pressed", String(button.dataset.tool === name));
    tool.selection?.();
    this.showOptions();
    this.showHint();
    this.painter.draw("marks");
  }

  showTools() {
    const named = { select: ["Choose", "V"], click: ["Click or box", "C"], brush: ["Brush", "B"], eraser: ["Eraser", "E"], polygon: ["Polygon", "P"], points: ["Move corners", "N"] };
    for (const { name } of this.tools) {
      const [title, key] = named[name];
      const button = element("button", { "data-tool": name, "aria-label": title, title: `${title} (${key})`, onclick: () => this.use(name) }, icon(name), element("kbd", { "aria-hidden": "true" }, key));
      by("tools").append(button);
    }
  }

  showOptions() {
    const { options, tool } = this;
    const check = (name, text) => {
      const box = element("input", { type: "checkbox", onchange: () => (options[name] = box.checked) });
      box.checked = options[name];
      return element("label", { class: "check" }, box, element("span", {}, text));
    };
    const shown = [];
    if (tool.name === "brush" || tool.name === "eraser") {
      const slider = element("input", { type: "range", min: "1", max: "200", value: String(options.size), "aria-label": "Brush size", oninput: () => this.resize(Number(slider.value)) });
      shown.push(element("label", { class: "slide" }, element("span", {}, "Size"), slider, element("span", { class: "number", id: "size" }, `${options.size} px`)));
    }
    if (tool.name === "brush") shown.push(check("keepOff", "Keep off other objects"));
    if (tool.name === "click") {
      const { engines } = this.folder;
      const choose = () => {
        const pointed = !names.matches(":focus-visible"); // then keys are meant for the picture
        this.chooseEngine(engines[names.selectedIndex]);
        (pointed ? by("stage") : by("options").querySelector("select")).focus({ preventScroll: true });
      };
      const names = element("select", { "aria-label": "Model", onchange: choose }, ...engines.map(({ name }) => element("option", { selected: name === this.engine.name }, name)));
      shown.push(element("label", { class: "check" }, element("span", { class: "dim" }, "Model"), engines.length > 1 ? names : element("span", {}, this.engine.name)), check("atOnce", "Add at once"));
    }
    by("options").replaceChildren(...shown);
    by("options").hidden = !shown.length;
  }

  resize(size) {
    this.options.size = Math.min(Math.max(Math.round(size), 1), 500);
    this.showOptions();
    this.painter.draw("marks");
  }

  showHint() {
    by("hint").textContent = this.sheet ? this.tool?.hint ?? "" : "";
  }

  showHistory() {
    by("undo").disabled = !this.sheet?.undos.length;
    by("redo").disabled = !this.sheet?.redos.length;
    this.showDone();
  }

  showDone() {
    const done = this.folder?.pictures[this.number]?.[2];
    by("done").querySelector("span").textContent = done ? "Not done after all" : "Done, next picture";
    by("done").classList.toggle("main", !done);
  }

  viewChanged() {
    this.painter.moved();
    const percent = this.view.scale * 100;
    by("zoom").textContent = `${percent < 10 ? percent.toFixed(1) : Math.round(percent)}%`;
  }

  busy(on) {
    this.atWork = (this.atWork ?? 0) + (on ? 1 : -1);
    by("stage").classList.toggle("busy", this.atWork > 0);
  }

  tellPlace([x, y]) {
    const inside = this.sheet && x >= 0 && y >= 0 && x < this.sheet.width && y < this.sheet.height;
    by("place").textContent = inside ? `${Math.floor(x)}, ${Math.floor(y)}` : "";
  }

  say(text, kind) {
    const box = by("notes");
    if ([...box.children].some((note) => note.textContent === text)) return;
    const note = element("div", { class: `note ${kind}`, title: "Click to close", onclick: () => note.remove() }, text);
    box.append(note);
    while (box.children.length > 3) box.firstChild.remove();
    setTimeout(() => note.remove(), kind === "bad" ? 9000 : 4500);
  }
}

/** The decoded picture; what the server says where there is none. */
async function pictureAt(source) {
  const image = new Image();
  image.src = source;
  try {
    await image.decode();
  } catch {
    await get(source); // tells why
    throw new Failure(0, "It could not be decoded.");
  }
  return image;
}

const app = new App();
window.delineate = app; // for the curious, and for tests
app.start().catch((error) => app.nothing("The page cannot start.", error.message));
