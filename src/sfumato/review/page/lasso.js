// A rectangle that is drawn over tiles to mark what it touches.

import { make } from "./dom.js";

const CLICK = 6; // pixels that a click may wander

const span = (a, b) => (a < b ? [a, b] : [b, a]);

export class Lasso {
  /** `mark` is called with the indices of the tiles that the rectangle touches, whenever these change. */
  constructor(tiles, { begin, mark }) {
    Object.assign(this, { tiles, begin, mark, drag: null });
    tiles.addEventListener("pointerdown", (event) => this.down(event));
    tiles.addEventListener("pointermove", (event) => this.move(event));
    tiles.addEventListener("pointerup", () => this.end());
    tiles.addEventListener("pointercancel", () => this.end());
  }

  down(event) {
    if (event.button === 0 && this.begin(event)) {
      this.drag = { x: event.clientX, y: event.clientY, id: event.pointerId, frame: null };
    }
  }

  move(event) {
    const { drag } = this;
    if (!drag || event.pointerId !== drag.id) return;
    if (!drag.frame && Math.hypot(event.clientX - drag.x, event.clientY - drag.y) < CLICK) return;
    if (!drag.frame) this.show();
    const [left, right] = span(drag.x, event.clientX);
    const [top, bottom] = span(drag.y, event.clientY);
    const place = { left, top, width: right - left, height: bottom - top };
    for (const [name, value] of Object.entries(place)) drag.frame.style[name] = `${value}px`;
    this.mark(this.touched({ left, right, top, bottom }));
  }

  show() {
    this.tiles.setPointerCapture(this.drag.id);
    this.drag.frame = make("div", { className: "lasso" });
    document.body.append(this.drag.frame);
  }

  touched({ left, right, top, bottom }) {
    return [...this.tiles.children].flatMap((tile, index) => {
      const at = tile.getBoundingClientRect();
      return at.left < right && at.right > left && at.top < bottom && at.bottom > top ? [index] : [];
    });
  }

  end() {
    if (this.drag?.frame) {
      this.drag.frame.remove();
      // The click that ends a drag is none; where there is no such click, nothing waits for one.
      const swallow = (event) => event.stopPropagation();
      this.tiles.addEventListener("click", swallow, { capture: true, once: true });
      setTimeout(() => this.tiles.removeEventListener("click", swallow, { capture: true }));
    }
    this.drag = null;
  }
}
