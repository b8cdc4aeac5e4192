/** Lists of any length: only the rows that can be seen exist. */

export class List {
  /** `make(n)` gives the row of position n; rows have one height. */
  constructor(box, height, make) {
    this.box = box;
    this.height = height;
    this.make = make;
    this.count = 0;
    this.rows = new Map(); // by position: what stays in sight stays as it is
    this.space = document.createElement("div");
    this.space.className = "space";
    box.append(this.space);
    box.addEventListener("scroll", () => this.paint(), { passive: true });
    new ResizeObserver(() => this.paint()).observe(box);
  }

  /** Other rows, or the same ones with other content. */
  set(count) {
    this.count = count;
    this.space.style.height = `${count * this.height}px`;
    this.from = this.to = -1;
    this.rows.clear();
    this.paint();
  }

  paint() {
    const spare = 4;
    const from = Math.max(Math.floor(this.box.scrollTop / this.height) - spare, 0);
    const to = Math.min(Math.ceil((this.box.scrollTop + this.box.clientHeight) / this.height) + spare, this.count);
    if (from === this.from && to === this.to) return;
    [this.from, this.to] = [from, to];
    const rows = new Map();
    for (let n = from; n < to; n++) {
      const row = this.rows.get(n) ?? this.make(n);
      row.style.transform = `translateY(${n * this.height}px)`;
      row.style.height = `${this.height}px`;
      rows.set(n, row);
    }
    this.rows = rows;
    this.space.replaceChildren(...rows.values());
  }

  /** Where a key leads from a position; null if it is none that moves. */
  target(key, at) {
    const page = Math.max(Math.floor(this.box.clientHeight / this.height) - 1, 1);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: this.count - 1 }[key];
    return to === undefined || !this.count ? null : Math.min(Math.max(to, 0), this.count - 1);
  }

  /** Scroll so far that a row is seen. */
  show(n) {
    const top = n * this.height;
    const { scrollTop, clientHeight } = this.box;
    if (top < scrollTop) this.box.scrollTop = top;
    else if (top + this.height > scrollTop + clientHeight) this.box.scrollTop = top + this.height - clientHeight;
  }
}

/** An element with attributes, and children or text. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}
