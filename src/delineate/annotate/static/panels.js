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
    for (const id of ["search", "filter"]) by(id).addEventListener("input", () => this.update());
    by("pictures").addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      app.step(step);
    });
  }

  update() {
    const { pictures } = this.app.folder;
    const words = by("search").value.trim().toLowerCase();
    const which = by("filter").value;
    const fits = ([name, , done]) => name.toLowerCase().includes(words) && (which === "all" || (which === "done") === done);
    this.shown = pictures.map((_, n) => n).filter((n) => fits(pictures[n]));
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
      element("img", { src: `/api/pictures/${number}/thumbnail?v=${app.folder.boot}`, alt: "", loading: "lazy", draggable: "false", onerror: (event) => event.target.classList.add("broken") }),
      element("span", { class: "text" }, element("span", { class: "split" }, element("span", { class: "title" }, file.slice(0, -9)), element("span", {}, file.slice(-9))), element("span", { class: "dim" }, count ? objects : done ? "no objects" : "to do")),
      badge,
    );
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
  }

  update() {
    const { app } = this;
    const rows = app.folder.classes.map((name, n) => {
      const row = element(
        "button",
        { class: "class", role: "radio", "aria-checked": String(n === app.label), title: "New objects get this class, and selected ones change to it. Double-click renames it.", onclick: () => app.chooseClass(n), ondblclick: () => app.nameClass(n) },
        element("i", { class: "swatch" }),
        element("span", { class: "title" }, name),
        n < 10 ? element("kbd", {}, String((n + 1) % 10)) : null,
      );
      row.querySelector("i").style.background = ofClass(n);
      return row;
    });
    if (!rows.length) rows.push(element("p", { class: "dim" }, "No classes yet. The first object is called “object”; press + to name one."));
    by("classes").replaceChildren(...rows);
  }
}

export class Objects {
  constructor(app) {
    this.app = app;
    this.list = new List(by("objects"), 34, (n) => this.row(this.items[n]));
    this.items = [];
    by("objects").addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!step || event.shiftKey || !this.items.length) return;
      event.preventDefault();
      const at = this.items.findIndex((item) => app.selected.has(item.uid));
      const item = this.items[Math.min(Math.max(at + step, 0), this.items.length - 1)];
      app.select([item.uid]);
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
        onclick: (event) => this.choose(item, event),
        ondblclick: () => app.show(item),
        onpointerenter: () => app.hover(item.uid),
        onpointerleave: () => app.hover(null),
      },
      element("i", { class: "swatch" }),
      element("span", { class: "title" }, app.folder.classes[item.label] ?? "?"),
      element("span", { class: "dim number" }, item.box ? "box" : `${item.mask.area.toLocaleString("en")} px`),
      element("button", { class: "quiet small", "aria-label": item.hidden ? "Show" : "Hide", title: item.hidden ? "Show" : "Hide", onclick: (event) => this.hide(item, event) }, icon(item.hidden ? "hidden" : "eye")),
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
    this.app.painter.changed();
    this.update();
  }

  follow() {
    this.update();
    const at = this.items.findIndex((item) => this.app.selected.has(item.uid));
    if (at >= 0) this.list.show(at);
  }
}
