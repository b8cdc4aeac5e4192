/** Run-length masks as COCO writes them: runs along columns, zeros first, five bits a character. */

export function parse(text) {
  const counts = [];
  let at = 0;
  while (at < text.length) {
    let value = 0;
    let shift = 0;
    let more = true;
    while (more) {
      const bits = text.charCodeAt(at++) - 48;
      value |= (bits & 0x1f) << shift;
      more = (bits & 0x20) !== 0;
      shift += 5;
      if (!more && bits & 0x10 && shift < 32) value |= -1 << shift;
    }
    if (counts.length > 2) value += counts[counts.length - 2];
    counts.push(value);
  }
  return counts;
}

export function format(counts) {
  let text = "";
  for (let i = 0; i < counts.length; i++) {
    let value = counts[i] - (i > 2 ? counts[i - 2] : 0);
    let more = true;
    while (more) {
      let bits = value & 0x1f;
      value >>= 5;
      more = bits & 0x10 ? value !== -1 : value !== 0;
      if (more) bits |= 0x20;
      text += String.fromCharCode(bits + 48);
    }
  }
  return text;
}

/** A mask on a canvas of height x width pixels; memory follows its runs. */
export class Mask {
  constructor(text, height, width) {
    this.text = text;
    this.height = height;
    this.width = width;
    const counts = parse(text);
    const runs = new Int32Array(2 * (counts.length >> 1));
    let at = 0;
    let area = 0;
    let [x0, y0, x1, y1] = [width, height, 0, 0];
    for (let i = 0; i < counts.length; i++) {
      const end = at + counts[i];
      if (i & 1) {
        runs[i - 1] = at;
        runs[i] = end;
        if (end > at) {
          area += end - at;
          const [left, right] = [Math.floor(at / height), Math.floor((end - 1) / height)];
          x0 = Math.min(x0, left);
          x1 = Math.max(x1, right + 1);
          const whole = right > left;
          y0 = Math.min(y0, whole ? 0 : at - left * height);
          y1 = Math.max(y1, whole ? height : end - left * height);
        }
      }
      at = end;
    }
    this.runs = runs;
    this.area = area;
    this.box = area ? [x0, y0, x1, y1] : [0, 0, 0, 0];
  }

  /** Whether the pixel is covered. */
  covers(x, y) {
    const [x0, y0, x1, y1] = this.box;
    if (x < x0 || y < y0 || x >= x1 || y >= y1) return false;
    const at = Math.floor(x) * this.height + Math.floor(y);
    let [low, high] = [0, this.runs.length / 2 - 1];
    while (low <= high) {
      const middle = (low + high) >> 1;
      if (at < this.runs[2 * middle]) high = middle - 1;
      else if (at >= this.runs[2 * middle + 1]) low = middle + 1;
      else return true;
    }
    return false;
  }

  /** The pixels inside a box as bytes, row by row; the mask's own box by default. */
  crop(box = this.box) {
    const [x0, y0, x1, y1] = box;
    const [w, h] = [Math.max(x1 - x0, 0), Math.max(y1 - y0, 0)];
    const data = new Uint8Array(w * h);
    for (let i = 0; i < this.runs.length; i += 2) {
      let at = this.runs[i];
      const end = this.runs[i + 1];
      while (at < end) {
        const x = Math.floor(at / this.height);
        const stop = Math.min(end, (x + 1) * this.height);
        if (x >= x0 && x < x1) {
          const first = Math.max(at - x * this.height, y0);
          const last = Math.min(stop - x * this.height, y1);
          for (let y = first; y < last; y++) data[(y - y0) * w + x - x0] = 1;
        }
        at = stop;
      }
    }
    return { x: x0, y: y0, w, h, data };
  }

  /** The mask of a crop that lies inside the canvas. */
  static fromCrop({ x, y, w, h, data }, height, width) {
    const counts = [];
    let [value, length] = [0, x * height];
    const run = (next, size) => {
      if (next === value) length += size;
      else {
        counts.push(length);
        [value, length] = [next, size];
      }
    };
    for (let column = 0; column < w; column++) {
      if (y) run(0, y);
      for (let row = 0; row < h; row++) run(data[row * w + column], 1);
      if (height - y - h) run(0, height - y - h);
    }
    if (width - x - w) run(0, (width - x - w) * height);
    counts.push(length);
    return new Mask(format(counts), height, width);
  }
}

/** A box that holds both, cut to the canvas. */
export function around(a, b, height, width) {
  return [
    Math.max(Math.floor(Math.min(a[0], b[0])), 0),
    Math.max(Math.floor(Math.min(a[1], b[1])), 0),
    Math.min(Math.ceil(Math.max(a[2], b[2])), width),
    Math.min(Math.ceil(Math.max(a[3], b[3])), height),
  ];
}

/** Several masks as one. */
export function union(masks) {
  const { height, width } = masks[0];
  const box = masks.map((mask) => mask.box).reduce((a, b) => around(a, b, height, width));
  const whole = masks[0].crop(box);
  for (const mask of masks.slice(1)) {
    const { data } = mask.crop(box);
    for (let i = 0; i < data.length; i++) whole.data[i] |= data[i];
  }
  return Mask.fromCrop(whole, height, width);
}

/** Paint the capsule between two points into a crop. */
export function stroke(crop, a, b, radius, value) {
  const [x0, x1] = [Math.min(a[0], b[0]) - radius, Math.max(a[0], b[0]) + radius];
  const [y0, y1] = [Math.min(a[1], b[1]) - radius, Math.max(a[1], b[1]) + radius];
  const [dx, dy] = [b[0] - a[0], b[1] - a[1]];
  const length = dx * dx + dy * dy;
  const limit = radius * radius;
  for (let y = Math.max(Math.floor(y0), crop.y); y < Math.min(Math.ceil(y1), crop.y + crop.h); y++) {
    for (let x = Math.max(Math.floor(x0), crop.x); x < Math.min(Math.ceil(x1), crop.x + crop.w); x++) {
      const [px, py] = [x + 0.5 - a[0], y + 0.5 - a[1]];
      const t = length ? Math.min(Math.max((px * dx + py * dy) / length, 0), 1) : 0;
      if ((px - t * dx) ** 2 + (py - t * dy) ** 2 <= limit) crop.data[(y - crop.y) * crop.w + x - crop.x] = value;
    }
  }
}

/** The pixels whose centres an odd number of the rings go round. */
export function fill(rings, height, width) {
  const points = rings.flat();
  const xs = points.map((p) => p[0]);
  const ys = points.map((p) => p[1]);
  const limits = [xs, ys].map((values) => values.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [1e9, -1e9]));
  const own = [limits[0][0], limits[1][0], limits[0][1], limits[1][1]];
  const [x0, y0, x1, y1] = around(own, own, height, width);
  const [w, h] = [Math.max(x1 - x0, 0), Math.max(y1 - y0, 0)];
  const data = new Uint8Array(w * h);
  for (let row = 0; row < h; row++) {
    const y = y0 + row + 0.5;
    const crossings = [];
    for (const ring of rings) {
      for (let i = 0; i < ring.length; i++) {
        const [a, b] = [ring[i], ring[(i + 1) % ring.length]];
        if (a[1] <= y !== b[1] <= y) crossings.push(a[0] + ((y - a[1]) / (b[1] - a[1])) * (b[0] - a[0]));
      }
    }
    crossings.sort((a, b) => a - b);
    for (let i = 0; i + 1 < crossings.length; i += 2) {
      const first = Math.max(Math.ceil(crossings[i] - 0.5), x0);
      const last = Math.min(Math.ceil(crossings[i + 1] - 0.5), x1);
      if (last > first) data.fill(1, row * w + first - x0, row * w + last - x0);
    }
  }
  return Mask.fromCrop({ x: x0, y: y0, w, h, data }, height, width);
}
