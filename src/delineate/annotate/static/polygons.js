/** Draw polygons corner by corner, and move the corners of objects. */

import { post } from "./api.js";
import { fill } from "./mask.js";
import { path } from "./outline.js";

const NEAR = 9; // CSS pixels

const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);

function corner(context, view, [x, y], filled) {
  const side = 4.5 / view.scale;
  context.fillStyle = filled ? "#1b7fd6" : "#fff";
  context.strokeStyle = filled ? "#fff" : "#0b1220";
  context.lineWidth = 1.5 / view.scale;
  context.beginPath();
  context.rect(x - side, y - side, 2 * side, 2 * side);
  context.fill();
  context.stroke();
}

function line(context, view, shape) {
  for (const [style, width] of [
    ["rgba(8,12,20,.8)", 3.5],
    ["#fff", 1.6],
  ]) {
    context.strokeStyle = style;
    context.lineWidth = width / view.scale;
    context.stroke(shape);
  }
}

export class Polygon {
  name = "polygon";
  cursor = "crosshair";
  points = [];

  constructor(app) {
    this.app = app;
  }

  get hint() {
    return this.points.length ? "Click the next corner · Enter or the first corner closes · Backspace takes one back · Esc" : "Click the first corner, or drag to draw freely";
  }

  down(point) {
    const first = this.points[0];
    if (this.points.length > 2 && distance(this.app.view.toScreen(first), point.screen) < NEAR) {
      this.close();
      return;
    }
    this.points.push(point.at);
    this.drawing = true;
    this.app.painter.draw("marks");
    this.app.showHint();
  }

  move(point) {
    this.at = point.at;
    const last = this.points.at(-1);
    if (this.drawing && last && distance(this.app.view.toScreen(last), point.screen) > 6) this.points.push(point.at);
    this.app.painter.draw("marks");
  }

  up() {
    this.drawing = false;
  }

  double() {
    this.close();
  }

  async close() {
    const { width, height } = this.app.sheet;
    const { points } = this;
    this.cancel();
    if (points.length < 3) return;
    const mask = fill([points], height, width);
    if (mask.area) await this.app.addObject(mask, { select: true });
  }

  key(event) {
    if (!this.points.length) return false;
    if (event.key === "Enter") this.close();
    else if (event.key === "Backspace") this.points.pop();
    else return false;
    this.app.painter.draw("marks");
    return true;
  }

  cancel() {
    const busy = this.points.length > 0;
    this.points = [];
    this.drawing = false;
    this.app.painter.draw("marks");
    this.app.showHint();
    return busy;
  }

  draw(context, view) {
    if (!this.points.length) return;
    const shape = new Path2D();
    this.points.forEach((point, n) => (n ? shape.lineTo(...point) : shape.moveTo(...point)));
    if (this.at && !this.drawing) shape.lineTo(...this.at);
    context.fillStyle = "rgba(255,255,255,.18)";
    context.fill(shape);
    line(context, view, shape);
    this.points.forEach((point, n) => {
      if (!n || this.points.length < 60) corner(context, view, point, n === 0 && this.points.length > 2);
    });
  }
}

/** The corners of the selected object; few ones, that keep 98 % of it. */
export class Points {
  name = "points";
  cursor = "default";
  rings = [];

  constructor(app) {
    this.app = app;
  }

  get hint() {
    return this.rings.length ? "Drag a corner · click a side: new corner · Alt-click: remove it" : "Click the object whose corners you want to move";
  }

  async load() {
    const { app } = this;
    const item = app.selected.size === 1 ? app.sheet.get([...app.selected][0]) : null;
    this.item = item;
    this.rings = [];
    app.painter.draw("marks");
    if (!item?.mask.area) return;
    try {
      const { rings } = await post(`/api/pictures/${app.sheet.number}/outline`, { counts: item.mask.text });
      if (this.item === item && app.tool === this) this.rings = rings;
    } catch (error) {
      app.say(error.message, "bad");
    }
    app.painter.draw("marks");
    app.showHint();
  }

  /** The corner under the pointer, or the side that a new one may go into. */
  find(screen) {
    const { view } = this.app;
    let best = { gap: NEAR };
    this.rings.forEach((ring, r) =>
      ring.forEach((point, n) => {
        const gap = distance(view.toScreen(point), screen);
        if (gap < best.gap) best = { gap, r, n };
      }),
    );
    if (best.r !== undefined) return best;
    this.rings.forEach((ring, r) =>
      ring.forEach((point, n) => {
        const [a, b] = [view.toScreen(point), view.toScreen(ring[(n + 1) % ring.length])];
        const [dx, dy] = [b[0] - a[0], b[1] - a[1]];
        const t = ((screen[0] - a[0]) * dx + (screen[1] - a[1]) * dy) / (dx * dx + dy * dy || 1);
        const gap = distance([a[0] + t * dx, a[1] + t * dy], screen);
        if (t > 0 && t < 1 && gap < best.gap) best = { gap, r, n, side: true };
      }),
    );
    return best.r === undefined ? null : best;
  }

  down(point) {
    const found = this.find(point.screen);
    if (!found) {
      const item = this.app.itemAt(point.at);
      this.app.select(item ? [item.uid] : []);
      return;
    }
    const ring = this.rings[found.r];
    if (found.side) ring.splice(++found.n, 0, point.at);
    else if (point.alt || point.button === 2) {
      if (ring.length > 3) ring.splice(found.n, 1);
      else this.rings.splice(found.r, 1);
      this.save();
      return;
    }
    this.held = found;
    this.moved = Boolean(found.side);
  }

  move(point) {
    if (this.held) {
      this.rings[this.held.r][this.held.n] = point.at;
      this.moved = true;
    } else this.over = this.find(point.screen);
    this.app.painter.draw("marks");
  }

  up() {
    if (this.held && this.moved) this.save();
    this.held = null;
  }

  save() {
    const { app, item } = this;
    const mask = fill(this.rings, app.sheet.height, app.sheet.width);
    this.own = true; // the corners stay as they are
    if (mask.area) app.commit([{ op: "put", uid: item.uid, label: item.label, counts: mask.text }]);
    else app.commit([{ op: "drop", uid: item.uid }]);
    this.own = false;
    this.item = app.sheet.get(item.uid);
    app.painter.draw("marks");
  }

  /** The object changed by something else, undo for instance. */
  changed() {
    if (!this.own && this.item && this.app.sheet.get(this.item.uid) !== this.item) this.load();
  }

  selection() {
    this.load();
  }

  cancel() {
    const busy = Boolean(this.held);
    this.held = null;
    return busy;
  }

  draw(context, view) {
    if (!this.rings.length) return;
    line(context, view, path(this.rings));
    this.rings.forEach((ring, r) => ring.forEach((point, n) => corner(context, view, point, this.over?.r === r && this.over?.n === n && !this.over.side)));
  }
}
