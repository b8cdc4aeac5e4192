/** Outlines of masks as paths: along the edges of pixels, rounded for display, thinned where pixels are small. */

const STEPS = [
  [1, 0],
  [0, 1],
  [-1, 0],
  [0, -1],
];

/** The corners of every ring of a crop, in picture coordinates; the covered side is on the right. */
export function rings({ x: left, y: top, w, h, data }) {
  const at = (x, y) => (x >= 0 && y >= 0 && x < w && y < h ? data[y * w + x] : 0);
  const seen = new Uint8Array(w * h);
  const found = [];
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      if (!data[y * w + x] || seen[y * w + x] || at(x, y - 1)) continue;
      const ring = [];
      let [vx, vy, heading] = [x, y, 0];
      do {
        if (heading === 0) seen[vy * w + vx] = 1;
        const [dx, dy] = STEPS[heading];
        vx += dx;
        vy += dy;
        // the pixels ahead: heading right they are above and below the edge that would follow
        const right = at(vx + (dx - dy - 1) / 2, vy + (dy + dx - 1) / 2);
        const ahead = at(vx + (dx + dy - 1) / 2, vy + (dy - dx - 1) / 2);
        const turn = right ? (ahead ? 3 : 0) : 1;
        if (turn) ring.push([left + vx, top + vy]);
        heading = (heading + turn) % 4;
      } while (vx !== x || vy !== y || heading !== 0);
      found.push(ring);
    }
  }
  return found;
}

/** Corners cut half a pixel before and after: stairs become straight lines. */
function rounded(ring) {
  const points = [];
  for (let i = 0; i < ring.length; i++) {
    const [a, b] = [ring[i], ring[(i + 1) % ring.length]];
    const [dx, dy] = [Math.sign(b[0] - a[0]) / 2, Math.sign(b[1] - a[1]) / 2];
    points.push([a[0] + dx, a[1] + dy]);
    if (Math.abs(b[0] - a[0]) + Math.abs(b[1] - a[1]) > 1) points.push([b[0] - dx, b[1] - dy]);
  }
  return points;
}

/** Points that are at least so far apart. */
function thinned(points, step) {
  const kept = [points[0]];
  for (const point of points) {
    const last = kept[kept.length - 1];
    if (Math.abs(point[0] - last[0]) + Math.abs(point[1] - last[1]) >= step) kept.push(point);
  }
  return kept.length < 3 ? points.filter((_, i) => i % Math.ceil(points.length / 4) === 0) : kept;
}

export function path(shapes) {
  const drawn = new Path2D();
  for (const ring of shapes) {
    drawn.moveTo(ring[0][0], ring[0][1]);
    for (let i = 1; i < ring.length; i++) drawn.lineTo(ring[i][0], ring[i][1]);
    drawn.closePath();
  }
  return drawn;
}

/** How finely outlines are drawn at a scale: -1 shows pixels, n leaves out what is below 2^n pixels. */
export const fineness = (scale) => (scale >= 8 ? -1 : scale >= 1 ? 0 : Math.min(Math.ceil(-Math.log2(scale)), 6));

/** The path of a mask, remembered for each fineness. */
export function pathOf(item, level) {
  item.paths ??= new Map();
  let drawn = item.paths.get(level);
  if (!drawn) {
    item.rings ??= rings(item.mask.crop());
    let shapes = item.rings;
    if (level >= 0) shapes = shapes.map(rounded);
    if (level > 0) shapes = shapes.map((ring) => thinned(ring, 1.5 * 2 ** (level - 1)));
    drawn = path(shapes);
    item.paths.set(level, drawn);
  }
  return drawn;
}
