/** Pointer, wheel, touch and keys. */

import * as dialogs from "./dialogs.js";

const by = (id) => document.getElementById(id);
const SIDES = [
  ["show-list", "list-side"],
  ["show-panel", "panel-side"],
];
const TOOLS = { v: "select", c: "click", b: "brush", e: "eraser", p: "polygon", n: "points" };

export function listen(app) {
  pointer(app, by("stage"));
  wheel(app, by("stage"));
  buttons(app);
  window.addEventListener("keydown", (event) => keys(app, event));
  window.addEventListener("keyup", (event) => {
    if (event.key === " ") by("stage").classList.remove("panning");
    if (event.key.toLowerCase() === "x") app.aim.release();
  });
  window.addEventListener("blur", () => by("stage").classList.remove("panning"));
}

function pointer(app, stage) {
  const fingers = new Map();
  let pan = null;
  const point = (event) => {
    const { left, top } = stage.getBoundingClientRect();
    const screen = [event.clientX - left, event.clientY - top];
    return { screen, at: app.view.toPicture(screen), shift: event.shiftKey, alt: event.altKey, button: event.button };
  };
  const onCanvas = (event) => event.target === stage || event.target.tagName === "CANVAS";

  stage.addEventListener("pointerdown", (event) => {
    if (!onCanvas(event)) return;
    closeSides();
    if (!app.sheet) return;
    event.preventDefault(); // the focus is moved here, not by the browser
    stage.focus({ preventScroll: true });
    stage.setPointerCapture(event.pointerId);
    const here = point(event);
    if (event.pointerType === "touch") fingers.set(event.pointerId, here.screen);
    if (fingers.size > 1) {
      app.tool.cancel();
      pan = null;
    } else if (event.button === 1 || stage.classList.contains("panning")) pan = here.screen;
    else if (event.button === 0 || event.button === 2) app.tool.down(here);
  });

  stage.addEventListener("pointermove", (event) => {
    if (!app.sheet) return;
    const here = point(event);
    app.aim.hide();
    app.tellPlace(here.at);
    if (fingers.has(event.pointerId) && fingers.size > 1) {
      pinch(app, fingers, event.pointerId, here.screen);
    } else if (pan) {
      app.view.pan(here.screen[0] - pan[0], here.screen[1] - pan[1]);
      pan = here.screen;
      app.viewChanged();
    } else if (onCanvas(event)) {
      const steps = event.getCoalescedEvents?.() ?? [];
      for (const step of steps.length > 1 ? steps : [event]) app.tool.move(point(step));
    }
  });

  const end = (event) => {
    const several = fingers.size > 1;
    fingers.delete(event.pointerId);
    if (pan) pan = null;
    else if (app.sheet && !several) event.type === "pointercancel" ? app.tool.cancel() : app.tool.up(point(event));
  };
  stage.addEventListener("pointerup", end);
  stage.addEventListener("pointercancel", end);
  stage.addEventListener("pointerleave", () => {
    by("place").textContent = "";
    app.tool.leave?.();
  });
  stage.addEventListener("dblclick", (event) => onCanvas(event) && app.sheet && app.tool.double?.(point(event)));
  stage.addEventListener("contextmenu", (event) => onCanvas(event) && event.preventDefault());
}

function pinch(app, fingers, id, screen) {
  const [other] = [...fingers].filter(([key]) => key !== id).map(([, place]) => place);
  const former = fingers.get(id);
  const gap = (a) => Math.max(Math.hypot(a[0] - other[0], a[1] - other[1]), 10);
  const middle = (a) => [(a[0] + other[0]) / 2, (a[1] + other[1]) / 2];
  app.view.zoom(gap(screen) / gap(former), middle(former));
  app.view.pan(middle(screen)[0] - middle(former)[0], middle(screen)[1] - middle(former)[1]);
  fingers.set(id, screen);
  app.viewChanged();
}

/** A mouse's wheel and a pinch on a trackpad zoom; two fingers on a trackpad move the picture. */
function wheel(app, stage) {
  stage.addEventListener(
    "wheel",
    (event) => {
      if (!app.sheet || event.target.tagName !== "CANVAS") return;
      event.preventDefault();
      const { left, top } = stage.getBoundingClientRect();
      const mouse = event.deltaMode !== 0 || (event.deltaX === 0 && Number.isInteger(event.deltaY) && Math.abs(event.deltaY) >= 40);
      if (event.ctrlKey || (mouse && !event.shiftKey)) {
        const unit = event.deltaMode ? 0.05 : mouse ? 0.0022 : 0.01;
        app.view.zoom(Math.exp(-Math.max(Math.min(event.deltaY, 300), -300) * unit), [event.clientX - left, event.clientY - top]);
      } else app.view.pan(-event.deltaX, -event.deltaY);
      app.viewChanged();
    },
    { passive: false },
  );
}

function buttons(app) {
  const on = (id, act) => by(id).addEventListener("click", act);
  on("previous", () => app.step(-1));
  on("next", () => app.step(1));
  on("undo", () => undo(app));
  on("redo", () => redo(app));
  on("find", () => app.find());
  by("naming").addEventListener("submit", (event) => {
    event.preventDefault();
    const words = by("words").value.trim();
    if (words) app.find(words);
  });
  on("export", () => dialogs.exporting(app));
  on("help", () => dialogs.help());
  on("fit", () => fit(app));
  on("add-class", () => app.nameClass());
  on("join", () => app.join());
  on("raise", () => app.reorder(1));
  on("lower", () => app.reorder(-1));
  on("remove", () => app.remove());
  on("done", () => app.done());
  on("hide", () => hide(app));
  on("hidden", () => app.showAll());
  for (const [button, side] of SIDES) {
    on(button, () => {
      const open = !by(side).classList.contains("open");
      closeSides();
      by(side).classList.toggle("open", open);
      by(button).setAttribute("aria-expanded", String(open));
      if (open) by(side).querySelector(".rows").focus();
    });
  }
}

/** In a narrow window the lists lie over the picture. */
export function closeSides() {
  let closed = false;
  for (const [button, side] of SIDES) {
    closed ||= by(side).classList.contains("open");
    by(side).classList.remove("open");
    by(button).setAttribute("aria-expanded", "false");
  }
  return closed;
}

function undo(app) {
  if (app.tool.name === "click" || app.tool.name === "polygon") app.tool.cancel();
  app.sheet?.undo();
}

function redo(app) {
  app.sheet?.redo();
}

function fit(app) {
  app.view.fit();
  app.viewChanged();
}

function zoom(app, factor) {
  app.view.zoom(factor);
  app.viewChanged();
}

function hide(app) {
  const { shown } = app.painter;
  shown.hidden = !shown.hidden;
  app.hiddenChanged();
}

function outlines(app) {
  const { shown } = app.painter;
  if (shown.opacity > 0) [app.formerOpacity, shown.opacity] = [shown.opacity, 0];
  else shown.opacity = app.formerOpacity || 0.4;
  by("opacity").value = shown.opacity * 100;
  app.painter.changed();
}

function keys(app, event) {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "range" && event.target.type !== "checkbox";
  if (document.querySelector("dialog[open]") || !app.folder) return;
  if (typing) {
    if (event.key === "Escape") {
      closeSides();
      by("stage").focus({ preventScroll: true });
    }
    return;
  }
  const onControl = /^(BUTTON|INPUT)$/.test(event.target.tagName);
  if ((event.key === "Enter" || event.key === "Tab" || event.key === " ") && onControl) return;
  const onStage = event.target === by("stage") || event.target === document.body;
  if (command(app, event) || app.tool?.key?.(event) || (onStage && app.aim.key(event)) || plain(app, event)) event.preventDefault();
}

function command(app, event) {
  if (!event.ctrlKey && !event.metaKey) return false;
  const key = event.key.toLowerCase();
  if (key === "z") (event.shiftKey ? redo : undo)(app);
  else if (key === "y") redo(app);
  else if (key === "a") app.select((app.sheet?.items ?? []).filter((item) => !item.hidden).map((item) => item.uid));
  else if (key === "c" && !String(getSelection())) app.copies.take();
  else if (key === "v") app.copies.put();
  else return key === "s"; // everything is saved already
  return true;
}

function plain(app, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return false;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (TOOLS[key]) app.use(TOOLS[key]);
  else if (/^[0-9]$/.test(key)) app.chooseClass((Number(key) + 9) % 10);
  else if (ACTIONS[key]) return ACTIONS[key](app, event) !== false;
  else return false;
  return true;
}

const ACTIONS = {
  " ": () => by("stage").classList.add("panning"),
  "+": (app) => app.nameClass(),
  "-": (app) => zoom(app, 1 / 1.3),
  "=": (app) => zoom(app, 1.3),
  "/": () => by("search").focus(),
  ">": (app) => app.step(1, true),
  l: () => (by("class-search").hidden ? by("classes").querySelector(".class")?.focus() : by("class-search").focus()),
  r: (app) => app.plainLight(),
  "?": () => dialogs.help(),
  "[": (app) => app.resize(app.options.size / 1.25 - 0.5),
  "]": (app) => app.resize(app.options.size * 1.25 + 0.5),
  ",": (app) => app.step(-1),
  ".": (app, event) => app.step(1, event.shiftKey),
  ":": (app) => app.step(1, true), // where Shift and the point give this
  ArrowUp: (app, event) => event.shiftKey && app.selected.size ? app.reorder(1) : false,
  ArrowDown: (app, event) => event.shiftKey && app.selected.size ? app.reorder(-1) : false,
  Backspace: (app) => app.remove(),
  Delete: (app) => app.remove(),
  Escape: (app) => {
    if (!closeSides() && !app.tool.cancel()) app.select([]);
  },
  d: (app) => app.done(true),
  f: fit,
  g: (app) => app.find(),
  h: (app, event) => (event.shiftKey ? app.isolate() : hide(app)),
  j: (app) => app.join(),
  o: outlines,
  z: (app) => {
    const [uid] = app.selected;
    const item = app.sheet?.get(uid);
    if (item) app.show(item);
  },
};
