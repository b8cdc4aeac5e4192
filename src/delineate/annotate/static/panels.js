/** The lists at both sides: pictures, classes, objects. */

import { ofClass } from "./colours.js";
import { icon } from "./icons.js";
import { List, element } from "./lists.js";

const by = (id) => document.getElementById(id);

export class Pictures {
  constructor(app) {
    this.app = app;
    this.list = new List(by("pictures"), 64, (n) => this.row(this.shown[n]));
    this.shown = [];
    this.images = new Map();
    for (const id of ["search", "filter"]) by(id).addEventListener("input", () => this.update());
    by("search").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && this.shown.length) app.open(this.shown[0]);
      else if (event.key === "ArrowDown") by("pictures").focus();
      else return;
      event.preventDefault();
    });
    by("pictures").addEventListener("keydown", (event) => {
      const to = this.list.target(event.key, this.shown.indexOf(app.number));
      if (to === null || event.shiftKey) return;
      event.preventDefault();
      app.open(this.shown[to]);
    });
  }

  update() {
    const { pictures } = this.app.folder;
    const words = by("search").value.trim().toLowerCase();
    const which = by("filter").value;
    const fits = ([name, , done]) => name.toLowerCase().includes(words) && (which === "all" || (which === "done") === done);
    this.shown = pictures.map((_, n) => n).filter((n) => fits(pictures[n]));
    by("none-fit").hidden = this.shown.length > 0 || !pictures.length;
    this.list.set(this.shown.length);
    this.progress();
  }

  progress() {
    const { pictures } = this.app.folder;
    const done = pictures.filter(([, , reviewed]) => reviewed).length;
    const some = pictures.filter(([, count, reviewed]) => reviewed || count).length;
    const share = (count) => `${pictures.length ? (100 * count) / pictures.length : 0}%`;
    by("progress-text").textContent = `${done} of ${pictures.length} done`;
    by("meter-done").style.width = share(done);
    by("meter-some").style.width = share(some);
    by("meter-done").parentElement.setAttribute("aria-valuenow", Math.round(parseFloat(share(done))));
  }

  row(number) {
    const { app } = this;
    const [name, count, done] = app.folder.pictures[number];
    const current = number === app.number;
    const file = name.slice(name.lastIndexOf("/") + 1); // its end is what tells: that is never cut
    const badge = done
      ? element("span", { class: "badge done", title: "Done" }, icon("done"))
      : element("span", { class: count ? "badge some" : "badge none", title: count ? "In work" : "Nothing yet" });
    const objects = count === 1 ? "1 object" : `${count} objects`;
    return element(
      "div",
      { class: "picture", role: "option", id: `picture-${number}`, "aria-selected": String(current), onclick: () => app.open(number), title: name },
      this.image(number),
      element("span", { class: "text" }, element("span", { class: "split" }, element("span", { class: "title" }, file.slice(0, -9)), element("span", {}, file.slice(-9))), element("span", { class: "dim" }, count ? objects : done ? "no objects" : "to do")),
      badge,
    );
  }

  /** The thumbnail; asked for when the list has come to rest, so that a flight over thousands asks for few. */
  image(number) {
    const known = this.images.get(number);
    if (known) return known;
    const image = element("img", { alt: "", draggable: "false", fetchpriority: "low", onerror: () => image.classList.add("broken") });
    this.images.set(number, image);
    if (this.images.size > 400) this.images.delete(this.images.keys().next().value);
    const ask = () => {
      if (image.isConnected) image.src = `/api/pictures/${number}/thumbnail?v=${this.app.folder.boot}`;
      else this.images.delete(number);
    };
    setTimeout(ask, 90);
    return image;
  }

  /** Mark the open picture and bring it into view. */
  follow() {
    this.list.set(this.shown.length);
    const at = this.shown.indexOf(this.app.number);
    if (at >= 0) this.list.show(at);
    by("pictures").setAttribute("aria-activedescendant", `picture-${this.app.number}`);
    this.progress();
  }
}

export class Classes {
  constructor(app) {
    this.app = app;
    by("class-search").addEventListener("input", () => this.update());
    by("class-search").addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      this.take();
    });
    by("classes").addEventListener("keydown", (event) => this.key(event));
  }

  get fitting() {
    const words = by("class-search").value.trim().toLowerCase();
    return this.app.folder.classes.map((_, n) => n).filter((n) => this.app.folder.classes[n].toLowerCase().includes(words));
  }

  update() {
    const { app } = this;
    by("class-search").hidden = app.folder.classes.length < 10;
    const { fitting } = this;
    const entry = fitting.includes(app.label) ? app.label : fitting[0]; // the one that Tab leads to
    const focused = by("classes").contains(document.activeElement);
    const rows = fitting.map((n) => this.row(n, n === entry));
    if (!app.folder.classes.length) rows.push(element("p", { class: "dim" }, "No classes yet. The first object is called “object”; press + to name one."));
    else if (!rows.length) rows.push(element("p", { class: "dim" }, "No such class. Enter adds it."));
    by("classes").replaceChildren(...rows);
    const chosen = by("classes").querySelector('.class[tabindex="0"]');
    if (focused) chosen?.focus();
    chosen?.scrollIntoView({ block: "nearest" });
  }

  row(n, entry) {
    const { app } = this;
    const name = app.folder.classes[n];
    const choose = element(
      "button",
      { class: "class", role: "radio", "aria-checked": String(n === app.label), tabindex: entry ? "0" : "-1", "data-class": n, title: `${name}: new objects get this class, and selected ones change to it. F2 renames it.`, onclick: () => app.chooseClass(n) },
      element("i", { class: "swatch" }),
      element("span", { class: "title" }, name),
      n < 10 ? element("kbd", {}, String((n + 1) % 10)) : null,
    );
    choose.querySelector("i").style.background = ofClass(n);
    const rename = element("button", { class: "quiet small", tabindex: "-1", "aria-label": `Rename ${name}`, title: "Rename (F2)", onclick: () => app.nameClass(n) }, icon("rename"));
    return element("div", { class: "class-row", role: "presentation" }, choose, rename);
  }

  key(event) {
    const { fitting } = this;
    const at = fitting.indexOf(Number(event.target.dataset.class));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: fitting.length - 1 }[event.key];
    if (event.key === "F2" && at >= 0) this.app.nameClass(fitting[at]);
    else if (to !== undefined && !event.shiftKey) by("classes").querySelectorAll(".class")[Math.min(Math.max(to, 0), fitting.length - 1)]?.focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Enter in the search: the first class that fits, or a new one. */
  async take() {
    const [first] = this.fitting;
    const name = by("class-search").value.trim();
    by("class-search").value = "";
    if (first !== undefined) this.app.chooseClass(first);
    else if (name && (await this.app.addClass(name))) this.app.chooseClass(this.app.label);
    this.update();
    by("stage").focus({ preventScroll: true });
  }
}

export class Objects {
  constructor(app) {
    this.app = app;
    this.list = new List(by("objects"), 34, (n) => this.row(this.items[n]));
    this.items = [];
    by("objects").addEventListener("keydown", (event) => {
      const to = this.list.target(event.key, this.items.findIndex((item) => app.selected.has(item.uid)));
      if (to === null || event.shiftKey) return;
      event.preventDefault();
      event.stopPropagation(); // the stage's arrows are others
      app.select([this.items[to].uid]);
    });
  }

  update() {
    this.items = this.app.sheet ? [...this.app.sheet.items].reverse() : []; // what is in front stands first
    this.list.set(this.items.length);
    by("count").textContent = this.items.length ? String(this.items.length) : "";
    const none = !this.app.selected.size;
    for (const id of ["raise", "lower", "remove"]) by(id).disabled = none;
    by("join").disabled = this.app.selected.size < 2;
  }

  row(item) {
    const { app } = this;
    const chosen = app.selected.has(item.uid);
    const row = element(
      "div",
      {
        class: item.hidden ? "object off" : "object",
        role: "option",
        id: `object-${item.uid}`,
        "aria-selected": String(chosen),
        title: item.box ? "A box without a mask" : `${item.mask.area.toLocaleString("en")} px, ${item.mask.box[2] - item.mask.box[0]} x ${item.mask.box[3] - item.mask.box[1]}`,
        onclick: (event) => this.choose(item, event),
        ondblclick: () => app.show(item),
        onpointerenter: () => app.hover(item.uid),
        onpointerleave: () => app.hover(null),
      },
      element("i", { class: "swatch" }),
      element("span", { class: "title" }, app.folder.classes[item.label] ?? "?"),
      element("span", { class: "dim number" }, item.box ? "box" : `${item.mask.area.toLocaleString("en")} px`),
      element("button", { class: "quiet small", tabindex: "-1", "aria-label": item.hidden ? "Show" : "Hide", title: item.hidden ? "Show" : "Hide", onclick: (event) => this.hide(item, event) }, icon(item.hidden ? "hidden" : "eye")),
    );
    row.querySelector("i").style.background = app.painter.colour(item);
    return row;
  }

  choose(item, event) {
    const { app } = this;
    if (event.ctrlKey || event.metaKey) app.select(app.selected.has(item.uid) ? [...app.selected].filter((uid) => uid !== item.uid) : [...app.selected, item.uid]);
    else if (event.shiftKey && app.selected.size) {
      const places = [...app.selected].map((uid) => this.items.findIndex((other) => other.uid === uid));
      const at = this.items.indexOf(item);
      const [a, b] = [Math.min(at, ...places), Math.max(at, ...places)];
      app.select(this.items.slice(a, b + 1).map((other) => other.uid));
    } else app.select([item.uid]);
  }

  hide(item, event) {
    event.stopPropagation();
    item.hidden = !item.hidden;
    this.app.hiddenChanged();
  }

  follow() {
    this.update();
    const at = this.items.findIndex((item) => this.app.selected.has(item.uid));
    if (at >= 0) this.list.show(at);
    by("objects").setAttribute("aria-activedescendant", at >= 0 ? `object-${this.items[at].uid}` : "");
  }
}
