/** Brush and eraser: a stroke becomes part of the selected object, or leaves it. */

import { Mask, around, stroke } from "./mask.js";
import { path, rings } from "./outline.js";

export class Brush {
  cursor = "none";

  constructor(app, erases) {
    this.app = app;
    this.erases = erases;
    this.name = erases ? "eraser" : "brush";
    this.trail = [];
  }

  get hint() {
    if (this.erases) return "Paint away from the selected object, or from the one under the pointer · [ ] size";
    return this.app.selected.size === 1 ? "Paint more of the selected object · Esc starts a new one · Alt erases · [ ] size" : "Paint a new object · Alt erases · [ ] size";
  }

  get radius() {
    return this.app.options.size / 2;
  }

  down(point) {
    const { app } = this;
    this.erasing = this.erases || point.alt || point.button === 2;
    const [uid] = app.selected;
    this.target = app.selected.size === 1 ? app.sheet.get(uid) : null;
    if (this.erasing && !this.target) this.target = app.itemAt(point.at);
    if (this.erasing && !this.target) return;
    this.trail = [point.at];
    this.colour = this.target ? app.painter.colour(this.target) : app.colourOf(app.label);
    if (this.target) {
      app.painter.replaced = this.target;
      app.painter.changed(this.target.box || this.target.mask.box);
      this.shape = path(this.target.rings ?? rings(this.target.mask.crop()));
    } else this.shape = null;
    app.painter.draw("marks");
  }

  move(point) {
    this.at = point.at;
    if (this.trail.length) this.trail.push(point.at);
    this.app.painter.draw("marks");
  }

  async up() {
    const { app, trail, target, erasing, radius } = this;
    if (!trail.length) return;
    const { width, height } = app.sheet;
    const xs = trail.map((p) => p[0]);
    const ys = trail.map((p) => p[1]);
    const swept = [Math.min(...xs) - radius, Math.min(...ys) - radius, Math.max(...xs) + radius, Math.max(...ys) + radius];
    const known = target?.mask.area ? target.mask.box : swept;
    const box = erasing ? known : around(swept, known, height, width);
    const crop = target ? target.mask.crop(box) : empty(box);
    const former = crop.data.slice();
    for (let i = 0; i < trail.length; i++) stroke(crop, trail[Math.max(i - 1, 0)], trail[i], radius, erasing ? 0 : 1);
    if (!erasing && app.options.keepOff) keepOff(crop, former, app.sheet.items, target);
    this.cancel();
    const mask = Mask.fromCrop(crop, height, width);
    if (target && mask.text === target.mask.text) return;
    if (target && mask.area) app.commit([{ op: "put", uid: target.uid, label: target.label, counts: mask.text }]);
    else if (target) app.commit([{ op: "drop", uid: target.uid }]);
    else if (mask.area) await app.addObject(mask, { select: true });
  }

  cancel() {
    const busy = this.trail.length > 0;
    this.trail = [];
    const { replaced } = this.app.painter;
    if (replaced) {
      this.app.painter.replaced = null;
      this.app.painter.changed(replaced.box || replaced.mask.box);
    }
    this.app.painter.draw("marks");
    return busy;
  }

  draw(context, view) {
    if (this.trail.length) this.drawTrail(context, view);
    if (!this.at) return;
    const [x, y] = this.at;
    for (const [style, width] of [
      ["rgba(8,12,20,.8)", 3],
      ["#fff", 1.4],
    ]) {
      context.beginPath();
      context.arc(x, y, this.radius, 0, 7);
      context.lineWidth = width / view.scale;
      context.strokeStyle = style;
      context.stroke();
    }
  }

  /** The object as it will be: drawn apart, so that paint does not add up and the eraser takes away. */
  drawTrail(context) {
    this.canvas ??= document.createElement("canvas");
    const { canvas } = this;
    Object.assign(canvas, { width: context.canvas.width, height: context.canvas.height });
    const apart = canvas.getContext("2d");
    apart.setTransform(context.getTransform());
    apart.fillStyle = apart.strokeStyle = this.colour;
    if (this.shape) apart.fill(this.shape, "evenodd");
    if (this.erasing) apart.globalCompositeOperation = "destination-out";
    apart.lineCap = apart.lineJoin = "round";
    apart.lineWidth = 2 * this.radius;
    apart.beginPath();
    apart.moveTo(...this.trail[0]);
    for (const point of this.trail) apart.lineTo(...point);
    apart.lineTo(this.trail.at(-1)[0] + 0.01, this.trail.at(-1)[1]);
    apart.stroke();
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.globalAlpha = 0.65;
    context.drawImage(canvas, 0, 0);
    context.restore();
  }

  leave() {
    this.at = null;
    this.app.painter.draw("marks");
  }
}

function empty([x0, y0, x1, y1]) {
  const [w, h] = [Math.max(x1 - x0, 0), Math.max(y1 - y0, 0)];
  return { x: x0, y: y0, w, h, data: new Uint8Array(w * h) };
}

/** Take back what was painted over other objects. */
export function keepOff(crop, former, items, target) {
  const box = [crop.x, crop.y, crop.x + crop.w, crop.y + crop.h];
  for (const { mask, uid } of items) {
    const [a, b, c, d] = mask.box;
    if (uid === target?.uid || a >= box[2] || c <= box[0] || b >= box[3] || d <= box[1]) continue;
    const { data } = mask.crop(box);
    for (let i = 0; i < data.length; i++) if (data[i] && !former[i]) crop.data[i] = 0;
  }
}
