/** Draws picture, masks and the tool's own marks on three canvases, each only when it has to. */

import { ofClass, ofItem } from "./colours.js";
import { around } from "./mask.js";
import { fineness, pathOf } from "./outline.js";

const QUICK = 14; // ms: masks that take longer are not drawn again while the view moves, but stretched
const CASED = 600; // objects up to which outlines have a dark edge, to be seen on light pictures too
const PATIENCE = 110; // ms after which they are drawn sharply

export class Painter {
  constructor(stage, view) {
    this.view = view;
    this.stage = stage;
    const names = ["picture", "masks", "marks"];
    this.layers = Object.fromEntries(names.map((name) => [name, stage.querySelector(`#${name}`).getContext("2d")]));
    this.stale = new Set();
    this.tiles = new Map();
    this.shown = { opacity: 0.4, outline: 1.5, by: "auto", hidden: false };
    this.selected = new Set();
    this.cost = 0;
    new ResizeObserver(() => this.resize()).observe(stage);
    this.resize();
  }

  resize() {
    const { clientWidth: w, clientHeight: h } = this.stage;
    this.ratio = Math.min(window.devicePixelRatio || 1, 2);
    const former = this.view.stage;
    this.view.stage = [w, h];
    for (const { canvas } of Object.values(this.layers)) {
      canvas.width = Math.max(Math.round(w * this.ratio), 1);
      canvas.height = Math.max(Math.round(h * this.ratio), 1);
    }
    if (former[0] > 1) this.view.pan((w - former[0]) / 2, (h - former[1]) / 2);
    this.draw("picture", "masks", "marks");
  }

  /** Show a sheet's picture; the whole of it first, then tiles of what is looked at. */
  show(sheet, image) {
    this.sheet = sheet;
    this.image = image;
    this.tiles.clear();
    this.drawn = this.dirty = null;
    this.hovered = null;
    this.draw("picture", "masks", "marks");
  }

  draw(...layers) {
    for (const layer of layers) this.stale.add(layer);
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      const stale = [...this.stale];
      this.stale.clear();
      for (const layer of stale) this[layer]();
    });
  }

  moved() {
    this.draw("picture", "masks", "marks");
  }

  clear(name) {
    const context = this.layers[name];
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, context.canvas.width, context.canvas.height);
    return context;
  }

  /** Picture coordinates from here on. */
  place(context, { scale, x, y } = this.view) {
    const r = this.ratio;
    context.setTransform(scale * r, 0, 0, scale * r, x * r, y * r);
  }

  picture() {
    const context = this.clear("picture");
    if (!this.sheet || !this.image) return;
    const { width, height } = this.sheet;
    this.place(context);
    context.imageSmoothingEnabled = this.view.scale < 3;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.image, 0, 0, width, height);
    if (Math.max(width, height) > this.sheet.view) this.pictureTiles(context);
  }

  pictureTiles(context) {
    const { sheet, view } = this;
    const level = Math.max(Math.floor(Math.log2(1 / (view.scale * this.ratio))), 0);
    if (this.image.naturalWidth * 2 ** level >= sheet.width) return; // the view is as fine
    const side = sheet.tile * 2 ** level;
    const [x0, y0, x1, y1] = view.visible;
    for (let row = Math.floor(y0 / side); row * side < y1; row++) {
      for (let column = Math.floor(x0 / side); column * side < x1; column++) {
        const tile = this.tileAt(level, column, row);
        if (tile.complete && tile.naturalWidth) {
          context.drawImage(tile, column * side, row * side, tile.naturalWidth * 2 ** level, tile.naturalHeight * 2 ** level);
        }
      }
    }
  }

  tileAt(level, column, row) {
    const { number, version } = this.sheet;
    const source = `/api/pictures/${number}/tiles/${level}/${column}/${row}?v=${version}`;
    let tile = this.tiles.get(source);
    if (!tile) {
      tile = new Image();
      tile.onload = () => this.draw("picture");
      tile.src = source;
      if (this.tiles.size > 300) this.tiles.delete(this.tiles.keys().next().value);
    } else this.tiles.delete(source);
    this.tiles.set(source, tile); // the last ones used are kept
    return tile;
  }

  colour(item) {
    const byItem = this.shown.by === "object" || (this.shown.by === "auto" && this.single);
    return byItem ? ofItem(item.uid) : ofClass(item.label);
  }

  /** New masks or colours: everywhere, or only within a box. */
  changed(box = null) {
    const before = this.single;
    this.single = !this.sheet || this.sheet.items.every((item) => item.label === this.sheet.items[0].label);
    if (box && this.drawn && before === this.single) this.dirty = this.dirty ? around(this.dirty, box, Infinity, Infinity) : box;
    else this.drawn = null;
    this.draw("masks", "marks");
  }

  masks() {
    if (this.dirty && this.drawn && this.view.same(this.drawn) && !this.shown.hidden) {
      this.patch();
      return;
    }
    if (this.dirty) this.drawn = null;
    this.dirty = null;
    const context = this.clear("masks");
    if (!this.sheet || this.shown.hidden) return;
    if (this.drawn && this.cost > QUICK && !this.view.same(this.drawn)) {
      const factor = this.view.scale / this.drawn.scale;
      const r = this.ratio;
      const [x, y] = [this.view.x - this.drawn.x * factor, this.view.y - this.drawn.y * factor];
      context.setTransform(factor, 0, 0, factor, x * r, y * r);
      context.drawImage(this.kept, 0, 0);
      clearTimeout(this.later);
      this.later = setTimeout(() => {
        this.drawn = null;
        this.draw("masks");
      }, PATIENCE);
      return;
    }
    const start = performance.now();
    this.sharp(context);
    this.cost = performance.now() - start;
    this.keep(context);
    this.drawn = this.view.copy();
  }

  /** What takes long to draw is kept for the time while the view moves. */
  keep(context) {
    if (this.cost <= QUICK) return;
    this.kept ??= document.createElement("canvas");
    Object.assign(this.kept, { width: context.canvas.width, height: context.canvas.height });
    this.kept.getContext("2d").drawImage(context.canvas, 0, 0);
  }

  /** Draw again what is within the dirty box. */
  patch() {
    const context = this.layers.masks;
    const room = 4 / this.view.scale;
    const [x0, y0, x1, y1] = [this.dirty[0] - room, this.dirty[1] - room, this.dirty[2] + room, this.dirty[3] + room];
    this.dirty = null;
    context.save();
    this.place(context);
    context.beginPath();
    context.rect(x0, y0, x1 - x0, y1 - y0);
    context.clip();
    context.clearRect(x0, y0, x1 - x0, y1 - y0);
    this.sharp(context, [x0, y0, x1, y1]);
    context.restore();
    this.keep(context);
  }

  sharp(context, area = this.view.visible) {
    const { view, shown } = this;
    const level = fineness(view.scale);
    const [x0, y0, x1, y1] = area;
    const cased = this.sheet.items.length <= CASED;
    this.place(context);
    context.lineJoin = "round";
    for (const item of this.sheet.items) {
      if (item.hidden || item === this.replaced) continue;
      const [a, b, c, d] = item.box || item.mask.box;
      if (c < x0 || a > x1 || d < y0 || b > y1) continue;
      const colour = this.colour(item);
      if (item.box) {
        this.boxed(context, item.box, colour);
        continue;
      }
      if (!item.mask.area) continue;
      const path = pathOf(item, level);
      context.globalAlpha = shown.opacity;
      context.fillStyle = colour;
      context.fill(path, "evenodd");
      if (shown.outline) {
        if (cased) {
          context.globalAlpha = 0.6;
          context.strokeStyle = "#080c14";
          context.lineWidth = (shown.outline + 1.6) / view.scale;
          context.stroke(path);
        }
        context.globalAlpha = 0.95;
        context.strokeStyle = colour;
        context.lineWidth = shown.outline / view.scale;
        context.stroke(path);
      }
    }
    context.globalAlpha = 1;
  }

  /** A selected object: white between dark lines, to be seen on everything. */
  ring(context, item, level) {
    if (!item.mask.area || item === this.replaced) return;
    const path = pathOf(item, level);
    context.globalAlpha = 0.2;
    context.fillStyle = "#fff";
    context.fill(path, "evenodd");
    context.globalAlpha = 1;
    for (const [style, width] of [
      ["rgba(8,12,20,.75)", 5],
      ["#fff", 2.2],
    ]) {
      context.strokeStyle = style;
      context.lineWidth = width / this.view.scale;
      context.stroke(path);
    }
  }

  boxed(context, [x0, y0, x1, y1], colour) {
    context.save();
    context.setLineDash([6 / this.view.scale, 4 / this.view.scale]);
    context.strokeStyle = colour;
    context.lineWidth = 1.5 / this.view.scale;
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
    context.restore();
  }

  marks() {
    const context = this.clear("marks");
    if (!this.sheet) return;
    this.place(context);
    context.lineJoin = "round";
    const level = fineness(this.view.scale);
    if (this.selected.size && this.tool?.name !== "points" && !this.shown.hidden) {
      for (const item of this.sheet.items) if (this.selected.has(item.uid) && !item.hidden) this.ring(context, item, level);
    }
    const hovered = this.hovered && this.sheet.get(this.hovered);
    if (hovered && !this.selected.has(hovered.uid) && hovered.mask.area && !hovered.hidden) {
      context.strokeStyle = "#fff";
      context.globalAlpha = 0.9;
      context.lineWidth = 2 / this.view.scale;
      context.stroke(pathOf(hovered, level));
      context.globalAlpha = 1;
    }
    this.tool?.draw?.(context, this.view);
    this.aim?.draw(context, this.view);
  }
}
