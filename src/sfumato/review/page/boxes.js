// Geometry of boxes and their history: pure functions, pixels of the upright image.

export const SMALLEST = 2;

const between = (value, low, high) => Math.min(Math.max(value, low), high);

/** The box between two corners, in whatever order, cut to the image. */
export function spanned([xa, ya], [xb, yb], { width, height }) {
  const xs = [between(xa, 0, width), between(xb, 0, width)].sort((a, b) => a - b);
  const ys = [between(ya, 0, height), between(yb, 0, height)].sort((a, b) => a - b);
  return [xs[0], ys[0], xs[1], ys[1]];
}

export const isTooSmall = ([x0, y0, x1, y1]) => x1 - x0 < SMALLEST || y1 - y0 < SMALLEST;

const area = ([x0, y0, x1, y1]) => (x1 - x0) * (y1 - y0);

/** For each box how many lie below it: smaller ones lie above, so that all can be reached. */
export function layers(boxes) {
  const order = boxes.map((_, index) => index).sort((a, b) => area(boxes[b].box) - area(boxes[a].box));
  return boxes.map((_, index) => order.indexOf(index));
}

/** A box moved, stopping at the image's edge. */
export function moved([x0, y0, x1, y1], dx, dy, { width, height }) {
  const x = between(dx, Math.min(0, -x0), Math.max(0, width - x1));
  const y = between(dy, Math.min(0, -y0), Math.max(0, height - y1));
  return [x0 + x, y0 + y, x1 + x, y1 + y];
}

/** A box with the edges that a handle names ("n", "se" …) moved; edges do not pass each other. */
export function resized([x0, y0, x1, y1], handle, dx, dy, { width, height }) {
  return [
    handle.includes("w") ? between(x0 + dx, 0, x1 - SMALLEST) : x0,
    handle.includes("n") ? between(y0 + dy, 0, y1 - SMALLEST) : y0,
    handle.includes("e") ? between(x1 + dx, x0 + SMALLEST, width) : x1,
    handle.includes("s") ? between(y1 + dy, y0 + SMALLEST, height) : y1,
  ];
}

/** Whether two lists of boxes say the same. */
export function sameBoxes(first, second) {
  const plain = (boxes) => JSON.stringify(boxes.map(({ box, kind }) => [...box, kind]));
  return plain(first) === plain(second);
}

const MOST_STEPS = 200;

/** State after a change of boxes that can be undone. */
export function changed({ boxes, past }, next) {
  return { boxes: next, past: [...past, boxes].slice(-MOST_STEPS), future: [] };
}

export function undone({ boxes, past, future }) {
  if (!past.length) return null;
  return { boxes: past.at(-1), past: past.slice(0, -1), future: [boxes, ...future], selected: -1 };
}

export function redone({ boxes, past, future }) {
  if (!future.length) return null;
  return { boxes: future[0], past: [...past, boxes], future: future.slice(1), selected: -1 };
}
