// What part of the image the stage shows: scale and offset only, never part of a box.

const MOST_ZOOM = 10;
const LEAST_ZOOM = 0.5;
const MARGIN = 14;
const KEPT = 48; // pixels of the image that stay in sight, however far it is moved

const between = (value, low, high) => Math.min(Math.max(value, low), high);

/** A view of an image of this size in a window of that size; `zoom` is 1 where the image just fits. */
export class View {
  constructor(image, frame) {
    this.image = image;
    this.frame = frame;
    this.zoom = 1;
    const wide = (frame.width - 2 * MARGIN) / image.width;
    const high = (frame.height - 2 * MARGIN) / image.height;
    this.fitting = Math.max(Math.min(wide, high), 1e-6);
    this.x = (frame.width - image.width * this.scale) / 2;
    this.y = (frame.height - image.height * this.scale) / 2;
  }

  get scale() {
    return this.fitting * this.zoom;
  }

  toImage([x, y]) {
    return [(x - this.x) / this.scale, (y - this.y) / this.scale];
  }

  toScreen([x, y]) {
    return [x * this.scale + this.x, y * this.scale + this.y];
  }

  pan(dx, dy) {
    const wide = this.image.width * this.scale;
    const high = this.image.height * this.scale;
    this.x = between(this.x + dx, Math.min(KEPT, this.frame.width) - wide, this.frame.width - KEPT);
    this.y = between(this.y + dy, Math.min(KEPT, this.frame.height) - high, this.frame.height - KEPT);
  }

  /** Zoom by a factor; what lies at a point of the screen stays there. */
  zoomBy(factor, at = [this.frame.width / 2, this.frame.height / 2]) {
    const [x, y] = this.toImage(at);
    this.zoom = between(this.zoom * factor, LEAST_ZOOM, MOST_ZOOM);
    this.x = at[0] - x * this.scale;
    this.y = at[1] - y * this.scale;
    this.pan(0, 0);
  }

  /** The part of the image that is in sight, as a box. */
  inSight() {
    const [x0, y0] = this.toImage([0, 0]);
    const [x1, y1] = this.toImage([this.frame.width, this.frame.height]);
    const { width, height } = this.image;
    return [between(x0, 0, width), between(y0, 0, height), between(x1, 0, width), between(y1, 0, height)];
  }
}
