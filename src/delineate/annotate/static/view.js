/** Where the picture is on the screen: scale and offset, in CSS pixels. */

const [LEFT, RIGHT, TOP, BOTTOM] = [76, 20, 60, 56]; // CSS pixels

export class View {
  constructor() {
    Object.assign(this, { scale: 1, x: 0, y: 0, width: 1, height: 1, stage: [1, 1] });
  }

  get least() {
    return Math.min(0.02, this.fitting / 2);
  }

  get fitting() {
    const [w, h] = this.room;
    return Math.min(w / this.width, h / this.height, 24);
  }

  /** Width and height that tools and hints leave free. */
  get room() {
    return [Math.max(this.stage[0] - LEFT - RIGHT, 60), Math.max(this.stage[1] - TOP - BOTTOM, 60)];
  }

  fit() {
    this.scale = this.fitting;
    this.x = LEFT + (this.room[0] - this.width * this.scale) / 2;
    this.y = TOP + (this.room[1] - this.height * this.scale) / 2;
  }

  /** Show a box with some room around it. */
  show([x0, y0, x1, y1]) {
    const [w, h] = this.stage;
    this.scale = Math.min((w * 0.5) / Math.max(x1 - x0, 8), (h * 0.5) / Math.max(y1 - y0, 8), 24);
    this.x = w / 2 - ((x0 + x1) / 2) * this.scale;
    this.y = h / 2 - ((y0 + y1) / 2) * this.scale;
    this.keep();
  }

  zoom(factor, [sx, sy] = [this.stage[0] / 2, this.stage[1] / 2]) {
    const scale = Math.min(Math.max(this.scale * factor, this.least), 64);
    this.x = sx - ((sx - this.x) * scale) / this.scale;
    this.y = sy - ((sy - this.y) * scale) / this.scale;
    this.scale = scale;
    this.keep();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.keep();
  }

  /** Some of the picture stays on the screen. */
  keep() {
    const rest = 60;
    this.x = Math.min(Math.max(this.x, rest - this.width * this.scale), this.stage[0] - rest);
    this.y = Math.min(Math.max(this.y, rest - this.height * this.scale), this.stage[1] - rest);
  }

  toPicture([sx, sy]) {
    return [(sx - this.x) / this.scale, (sy - this.y) / this.scale];
  }

  toScreen([px, py]) {
    return [px * this.scale + this.x, py * this.scale + this.y];
  }

  /** The part of the picture that is on the screen. */
  get visible() {
    const [x0, y0] = this.toPicture([0, 0]);
    const [x1, y1] = this.toPicture(this.stage);
    return [Math.max(x0, 0), Math.max(y0, 0), Math.min(x1, this.width), Math.min(y1, this.height)];
  }

  same(other) {
    return other && this.scale === other.scale && this.x === other.x && this.y === other.y;
  }

  copy() {
    return { scale: this.scale, x: this.x, y: this.y };
  }
}
