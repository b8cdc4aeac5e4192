/** A pointer that the arrow keys move: whatever a mouse does on the picture goes without one. */

const STEP = 10; // CSS pixels; with Alt one

export class Aim {
  screen = null;
  held = false;

  constructor(app) {
    this.app = app;
  }

  get point() {
    const { screen, app } = this;
    return { screen, at: app.view.toPicture(screen), shift: this.less, alt: false, button: 0 };
  }

  /** Arrows move it, X presses (held down: drags), Shift+X presses with Shift. */
  key(event) {
    const { app } = this;
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    const press = event.key.toLowerCase() === "x";
    if (!app.sheet || event.ctrlKey || event.metaKey || (!press && !dx && !dy)) return false;
    if (!press && event.shiftKey) return false;
    const [w, h] = app.view.stage;
    this.screen ??= [w / 2, h / 2];
    if (press) {
      if (!event.repeat && !this.held) {
        [this.held, this.less] = [true, event.shiftKey];
        app.tool.down(this.point);
      }
    } else {
      const step = event.altKey ? 1 : STEP;
      this.screen = [Math.min(Math.max(this.screen[0] + dx * step, 0), w), Math.min(Math.max(this.screen[1] + dy * step, 0), h)];
      this.follow();
      app.tool.move(this.point);
    }
    app.tellPlace(this.point.at);
    app.painter.draw("marks");
    return true;
  }

  /** The picture comes along where the aim reaches the border. */
  follow() {
    const { app, screen } = this;
    app.view.stage.forEach((length, axis) => {
      const rest = Math.min(screen[axis] - 24, 0) || Math.max(screen[axis] - length + 24, 0);
      if (!rest) return;
      screen[axis] -= rest;
      app.view.pan(axis ? 0 : -rest, axis ? -rest : 0);
      app.viewChanged();
    });
  }

  release() {
    if (!this.held) return;
    this.held = false;
    this.app.tool.up(this.point);
  }

  /** The mouse is used again. */
  hide() {
    if (!this.screen || this.held) return;
    this.screen = null;
    this.app.painter.draw("marks");
  }

  draw(context, view) {
    if (!this.screen) return;
    const [x, y] = view.toPicture(this.screen);
    const unit = 1 / view.scale;
    const cross = new Path2D();
    for (const [dx, dy] of [
      [1, 0],
      [-1, 0],
      [0, 1],
      [0, -1],
    ]) {
      cross.moveTo(x + dx * 4 * unit, y + dy * 4 * unit);
      cross.lineTo(x + dx * 16 * unit, y + dy * 16 * unit);
    }
    for (const [style, width] of [
      ["rgba(8,12,20,.9)", 5],
      ["#fff", 2],
    ]) {
      context.strokeStyle = style;
      context.lineWidth = width * unit;
      context.stroke(cross);
    }
  }
}
