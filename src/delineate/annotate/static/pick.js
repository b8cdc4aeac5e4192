/** Tools that point at things: choose objects, and click or box new ones. */

import { post } from "./api.js";
import { Mask, union } from "./mask.js";
import { path, rings } from "./outline.js";

const DRAG = 5; // CSS pixels from which a click is a drag

const corners = (a, b) => [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])];

export function drawBox(context, view, box, colour) {
  context.save();
  context.lineWidth = 1.5 / view.scale;
  context.strokeStyle = colour;
  context.setLineDash([6 / view.scale, 4 / view.scale]);
  context.strokeRect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
  context.restore();
}

/** Click chooses, Shift adds, a drag chooses all that it touches. */
export class Select {
  name = "select";
  cursor = "default";
  hint = "Click an object · Shift-click for more · drag over several";

  constructor(app) {
    this.app = app;
  }

  down(point) {
    this.start = point;
    this.box = null;
  }

  move(point) {
    const { app } = this;
    if (!this.start) {
      const hovered = app.itemAt(point.at)?.uid ?? null;
      if (hovered !== app.painter.hovered) {
        app.painter.hovered = hovered;
        app.painter.draw("marks");
      }
      return;
    }
    if (this.box || Math.hypot(point.screen[0] - this.start.screen[0], point.screen[1] - this.start.screen[1]) > DRAG) {
      this.box = corners(this.start.at, point.at);
      app.painter.draw("marks");
    }
  }

  up(point) {
    const { app } = this;
    if (!this.start) return;
    if (this.box) {
      const [x0, y0, x1, y1] = this.box;
      const inside = ({ mask, box, hidden }) => {
        const [a, b, c, d] = box || mask.box;
        return !hidden && a < x1 && c > x0 && b < y1 && d > y0;
      };
      const found = app.sheet.items.filter(inside).map((item) => item.uid);
      app.select(point.shift ? [...app.selected, ...found] : found);
    } else {
      const item = app.itemAt(point.at);
      if (!point.shift) app.select(item ? [item.uid] : []);
      else if (item) app.select(app.selected.has(item.uid) ? [...app.selected].filter((u) => u !== item.uid) : [...app.selected, item.uid]);
    }
    this.cancel();
  }

  cancel() {
    const busy = Boolean(this.start);
    this.start = this.box = null;
    this.app.painter.draw("marks");
    return busy;
  }

  draw(context, view) {
    if (this.box) drawBox(context, view, this.box, "#fff");
  }
}

/** Clicks and boxes that a model answers; Enter takes the answer. */
export class Click {
  name = "click";
  cursor = "crosshair";

  constructor(app) {
    this.app = app;
    this.reset();
  }

  get hint() {
    if (this.candidates.length > 1) return "Enter adds it · Tab shows another one · click: more · Shift-click: less · Esc";
    if (this.candidates.length) return "Enter adds it · click: more · Shift-click: less · Esc drops it";
    if (this.refined) return "Click: add to the object · Shift-click: take away · Esc";
    return "Click an object, or drag a box around it · Shift-click: not this";
  }

  get refined() {
    const [uid] = this.app.selected;
    return this.app.selected.size === 1 ? this.app.sheet?.get(uid) : null;
  }

  reset() {
    Object.assign(this, { points: [], labels: [], box: null, candidates: [], chosen: 0, start: null, dragged: null });
    this.answered = { count: 0, box: null }; // what the mask that is shown is the answer to
    this.queue = []; // clicks that are objects of their own, and wait for the model
    this.asked = (this.asked || 0) + 1;
  }

  /** Clicks that the model has not answered. */
  get pending() {
    const open = this.points.length !== this.answered.count || this.box !== this.answered.box;
    return this.queue.length + (open ? 1 : 0);
  }

  down(point) {
    this.start = point;
    this.dragged = null;
  }

  move(point) {
    if (!this.start) return;
    if (this.dragged || Math.hypot(point.screen[0] - this.start.screen[0], point.screen[1] - this.start.screen[1]) > DRAG) {
      this.dragged = corners(this.start.at, point.at);
      this.app.painter.draw("marks");
    }
  }

  up(point) {
    if (!this.start) return;
    const { width, height } = this.app.sheet;
    const inside = ([x, y]) => x >= 0 && y >= 0 && x < width && y < height;
    const { at, shift, alt, button } = this.start;
    if (this.dragged) {
      const [x0, y0, x1, y1] = this.dragged;
      const box = [Math.max(x0, 0), Math.max(y0, 0), Math.min(x1, width), Math.min(y1, height)];
      if (box[2] - box[0] >= 1 && box[3] - box[1] >= 1) this.box = box;
    } else if (inside(at)) {
      this.points.push(at);
      this.labels.push(shift || alt || button === 2 ? 0 : 1);
    }
    this.start = this.dragged = null;
    if (this.points.length || this.box) this.ask();
    this.app.painter.draw("marks");
  }

  /** Whether what was pointed at becomes an object without further ado. */
  get direct() {
    return this.app.options.atOnce && !this.refined && !this.candidates.length && this.labels.every((label) => label === 1);
  }

  /** Have the model look at what was pointed at; one request at a time is under way. */
  ask() {
    const { app } = this;
    if (this.direct) {
      const { points, labels, box } = this;
      Object.assign(this, { points: [], labels: [], box: null });
      this.queue.push({ points, labels, box, label: app.label });
    } else this.asked++;
    app.showEngine();
    this.working ??= this.work().finally(() => (this.working = null));
  }

  async work() {
    const { app } = this;
    app.busy(true);
    try {
      while (this.pending && app.sheet) {
        const { sheet, engine } = app;
        await app.watching; // the model looks at the picture first
        if (sheet !== app.sheet || engine !== app.engine || !this.pending) continue;
        const [mine, job] = [this.asked, this.queue[0]];
        const { refined } = this;
        const { points, labels, box } = job ?? this;
        const body = { points, labels, engine: engine.name };
        if (box) body.box = box;
        if (!job && refined?.mask.area) body.mask = refined.mask.text;
        const given = { count: points.length, box };
        const masks = await this.answer(sheet, body);
        if (job ? job !== this.queue[0] : mine !== this.asked) continue; // dropped, or there are more clicks now
        if (job) {
          this.queue.shift();
          if (masks?.length) await app.addObject(masks[0], { select: false, label: job.label });
        } else this.show(refined && this.adds(refined) ? masks?.map((mask) => union([refined.mask, mask])) : masks, given);
        app.showEngine();
      }
    } finally {
      app.busy(false);
      app.showEngine();
      app.painter.draw("marks");
      app.showHint();
    }
  }

  /** Whether the clicks only add to an object: what is there then stays, whatever the model makes of it. */
  adds({ mask }) {
    return Boolean(mask.area) && !this.box && this.labels.every((label) => label === 1) && this.points.some(([x, y]) => !mask.covers(x, y));
  }

  /** The masks, best first, none where nothing is seen; null if the model failed. */
  async answer(sheet, body) {
    const { app } = this;
    try {
      const { candidates } = await post(`/api/pictures/${sheet.number}/prompt`, body);
      const none = app.engine.kind === "chooser" ? `${app.engine.name} sees no object there. Use brush or polygon, or a promptable model (--prompt).` : "There is no mask for this. Click elsewhere or drag a box.";
      if (!candidates.length && sheet === app.sheet) app.say(none, "note");
      return candidates.map(({ counts }) => new Mask(counts, sheet.height, sheet.width));
    } catch (error) {
      if (sheet === app.sheet) app.say(error.message, "bad");
      return null;
    }
  }

  /** Show an answer; without one, what was pointed at last is taken back and the former answer stays. */
  show(masks, given) {
    if (masks?.length) Object.assign(this, { candidates: masks, chosen: 0, answered: given });
    else {
      this.points.length = this.labels.length = Math.min(this.answered.count, this.points.length);
      this.box = this.answered.box;
    }
    this.app.painter.draw("marks");
    this.app.showHint();
  }

  async accept() {
    const mask = this.candidates[this.chosen];
    if (!mask) return false;
    const { refined } = this;
    this.reset();
    if (refined) this.app.commit([{ op: "put", uid: refined.uid, label: refined.label, counts: mask.text }]);
    else await this.app.addObject(mask, { select: false });
    this.app.showHint();
    return true;
  }

  key(event) {
    if (event.key === "Enter" && this.candidates.length) this.accept();
    else if (event.key === "Tab" && this.candidates.length > 1) {
      this.chosen = (this.chosen + (event.shiftKey ? this.candidates.length - 1 : 1)) % this.candidates.length;
      this.app.painter.draw("marks");
    } else if (event.key === "Backspace" && this.points.length) {
      this.points.pop();
      this.labels.pop();
      if (this.points.length || this.box) {
        this.answered = { count: 0, box: null };
        this.ask();
      } else this.cancel();
    } else return false;
    return true;
  }

  cancel() {
    const busy = this.points.length > 0 || this.queue.length > 0 || this.box !== null || this.start !== null;
    this.reset();
    this.app.painter.draw("marks");
    this.app.showEngine();
    this.app.showHint();
    return busy;
  }

  draw(context, view) {
    const mask = this.candidates[this.chosen];
    if (mask) {
      mask.rings ??= rings(mask.crop());
      const shape = path(mask.rings);
      context.globalAlpha = 0.5;
      context.fillStyle = this.refined ? this.app.painter.colour(this.refined) : this.app.colourOf(this.app.label);
      context.fill(shape, "evenodd");
      context.globalAlpha = 1;
      for (const [style, width, dash] of [
        ["rgba(8,12,20,.85)", 3.5, []],
        ["#fff", 1.8, [7, 5]],
      ]) {
        context.setLineDash(dash.map((n) => n / view.scale));
        context.strokeStyle = style;
        context.lineWidth = width / view.scale;
        context.stroke(shape);
      }
      context.setLineDash([]);
    }
    const waiting = this.queue.map((job) => job.box);
    for (const box of [this.dragged || this.box, ...waiting]) if (box) drawBox(context, view, box, "#fff");
    this.points.forEach(([x, y], n) => this.dot(context, view, x, y, this.labels[n], n >= this.answered.count));
    for (const { points } of this.queue) for (const [x, y] of points) this.dot(context, view, x, y, 1, true);
  }

  /** Green with a plus, red with a minus; with a ring around it while the model has not answered. */
  dot(context, view, x, y, inside, waits) {
    const unit = 1 / view.scale;
    if (waits) {
      context.beginPath();
      context.arc(x, y, 12 * unit, 0, 7);
      context.setLineDash([5 * unit, 3 * unit]);
      for (const [style, width] of [["rgba(8,12,20,.85)", 4], ["#fff", 2]]) {
        context.strokeStyle = style;
        context.lineWidth = width * unit;
        context.stroke();
      }
      context.setLineDash([]);
    }
    context.beginPath();
    context.arc(x, y, 7 * unit, 0, 7);
    context.fillStyle = inside ? "#12a150" : "#d62f3f";
    context.fill();
    context.lineWidth = 2 * unit;
    context.strokeStyle = "#fff";
    context.stroke();
    context.beginPath();
    context.moveTo(x - 3.2 * unit, y);
    context.lineTo(x + 3.2 * unit, y);
    if (inside) {
      context.moveTo(x, y - 3.2 * unit);
      context.lineTo(x, y + 3.2 * unit);
    }
    context.stroke();
  }
}
