// The image with its boxes: drawing, moving, resizing, zooming, by mouse, pen and fingers.

import { changed, isTooSmall, layers, moved, resized, spanned } from "./boxes.js";
import { make } from "./dom.js";
import { View } from "./view.js";

const HANDLES = ["nw", "n", "ne", "e", "se", "s", "sw", "w"];
const CLICK = 4; // pixels of the screen that a click may wander
const LINE = 16; // pixels of a line that a wheel turns by

export class Stage {
  constructor(root, store) {
    Object.assign(this, { root, store, view: null, gesture: null, preview: null });
    this.picture = root.querySelector("img");
    this.layer = root.querySelector("div");
    this.pointers = new Map();
    root.addEventListener("pointerdown", (event) => this.down(event));
    root.addEventListener("pointermove", (event) => this.move(event));
    root.addEventListener("pointerup", (event) => this.up(event, true));
    root.addEventListener("pointercancel", (event) => this.up(event, false));
    // Fingers on the stage are only ours: no scrolling, no zoom of the page, no click made up afterwards.
    root.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
    root.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    new ResizeObserver(() => this.fit()).observe(root);
    store.subscribe(() => this.draw());
  }

  // --- what is shown ---

  fit() {
    const { item } = this.store.get();
    const { clientWidth: width, clientHeight: height } = this.root;
    this.view = item && width && height ? new View(item, { width, height }) : null;
    this.draw();
  }

  zoomBy(factor, at) {
    this.view?.zoomBy(factor, at);
    this.draw();
  }

  pan(dx, dy) {
    this.view?.pan(dx, dy);
    this.draw();
  }

  draw() {
    const { item, boxes, selected, hidden } = this.store.get();
    const shown = item && this.view && !hidden ? (this.preview ?? boxes) : [];
    while (this.layer.children.length > shown.length) this.layer.lastChild.remove();
    while (this.layer.children.length < shown.length) this.layer.append(this.newElement());
    const above = layers(shown);
    shown.forEach((one, index) => {
      const element = this.layer.children[index];
      this.place(element, one, index === selected, shown.length);
      element.style.zIndex = above[index];
    });
    if (!item || !this.view) return;
    const { x, y, scale } = this.view;
    Object.assign(this.picture.style, {
      width: `${item.width}px`,
      height: `${item.height}px`,
      transform: `translate(${x}px, ${y}px) scale(${scale})`,
    });
    this.picture.classList.toggle("coarse", scale >= 4);
    this.root.dispatchEvent(new CustomEvent("view", { detail: this.view.zoom }));
  }

  newElement() {
    const element = make("button", { type: "button", className: "box" });
    element.append(...HANDLES.map((name) => make("span", { className: `handle ${name}` })));
    element.addEventListener("focus", () => this.select(this.indexOf(element)));
    return element;
  }

  indexOf(element) {
    return [...this.layer.children].indexOf(element);
  }

  place(element, { box, kind }, isSelected, count) {
    const [left, top] = this.view.toScreen(box);
    const wide = (box[2] - box[0]) * this.view.scale;
    const high = (box[3] - box[1]) * this.view.scale;
    Object.assign(element.style, {
      transform: `translate(${left}px, ${top}px)`,
      width: `${wide}px`,
      height: `${high}px`,
    });
    const number = this.store.get().start.kinds.indexOf(kind);
    element.className = `box kind-${number}${isSelected ? " selected" : ""}`;
    element.setAttribute("aria-pressed", isSelected);
    const [x, y, w, h] = [box[0], box[1], box[2] - box[0], box[3] - box[1]].map(Math.round);
    const label = `Box ${this.indexOf(element) + 1} of ${count}, ${kind}, ${w} by ${h} pixels at ${x}, ${y}`;
    if (element.ariaLabel !== label) element.ariaLabel = label;
  }

  select(index) {
    if (this.store.get().selected !== index) this.store.set({ selected: index });
  }

  /** Put the keyboard's focus on the selected box, or on the stage where there is none. */
  focus() {
    const target = this.layer.children[this.store.get().selected] ?? this.root;
    target.focus({ preventScroll: true });
  }

  // --- pointers ---

  at(event) {
    const frame = this.root.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  }

  down(event) {
    if (!this.view || event.button === 2) return;
    this.root.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.at(event));
    if (this.pointers.size === 2) {
      this.gesture?.cancel();
      this.gesture = this.pinching();
    } else if (this.pointers.size === 1) {
      this.gesture = this.gestureFor(event);
    }
  }

  gestureFor(event) {
    const { panning, start, busy } = this.store.get();
    const from = this.at(event);
    if (event.button === 1 || panning || start.read_only || busy) return this.carrying(from);
    const element = event.ctrlKey ? null : event.target.closest(".box");
    if (!element) return this.drawing(from);
    const handle = event.target.closest(".handle");
    this.select(this.indexOf(element));
    this.focus();
    return this.adjusting(from, this.indexOf(element), handle ? handle.classList[1] : null);
  }

  move(event) {
    if (!this.pointers.has(event.pointerId)) return;
    const at = this.at(event);
    this.pointers.set(event.pointerId, at);
    this.gesture?.move(at);
  }

  up(event, isMeant) {
    if (!this.pointers.delete(event.pointerId) || !this.gesture) return;
    if (isMeant) this.gesture.end();
    else this.gesture.cancel();
    this.gesture = null;
  }

  show(preview) {
    this.preview = preview;
    this.draw();
  }

  commit(boxes, selected) {
    this.preview = null;
    this.store.set({ ...changed(this.store.get(), boxes), selected });
    this.focus();
  }

  drawing(start) {
    const { item, boxes, kind } = this.store.get();
    const from = this.view.toImage(start);
    let drawn = null;
    return {
      move: (at) => {
        const isClick = Math.hypot(at[0] - start[0], at[1] - start[1]) < CLICK;
        drawn = isClick ? null : { box: spanned(from, this.view.toImage(at), item), kind, source: "", score: 1 };
        this.show(drawn && [...boxes, drawn]);
      },
      end: () => {
        this.show(null);
        if (drawn && !isTooSmall(drawn.box)) this.commit([...boxes, drawn], boxes.length);
        else this.select(-1);
      },
      cancel: () => this.show(null),
    };
  }

  adjusting(start, index, handle) {
    const { item, boxes } = this.store.get();
    let next = null;
    return {
      move: (at) => {
        const [dx, dy] = [0, 1].map((axis) => (at[axis] - start[axis]) / this.view.scale);
        if (!next && Math.hypot(at[0] - start[0], at[1] - start[1]) < CLICK) return;
        const old = boxes[index].box;
        const box = handle ? resized(old, handle, dx, dy, item) : moved(old, dx, dy, item);
        next = boxes.with(index, { ...boxes[index], box, source: "", score: 1 });
        this.show(next);
      },
      end: () => (next ? this.commit(next, index) : this.show(null)),
      cancel: () => this.show(null),
    };
  }

  carrying(start) {
    let last = start;
    return {
      move: (at) => {
        this.pan(at[0] - last[0], at[1] - last[1]);
        last = at;
      },
      end: () => {},
      cancel: () => {},
    };
  }

  pinching() {
    const measure = () => {
      const [[xa, ya], [xb, yb]] = [...this.pointers.values()];
      return { apart: Math.max(Math.hypot(xa - xb, ya - yb), 1), middle: [(xa + xb) / 2, (ya + yb) / 2] };
    };
    let last = measure();
    return {
      move: () => {
        if (this.pointers.size < 2) return;
        const now = measure();
        this.view.pan(now.middle[0] - last.middle[0], now.middle[1] - last.middle[1]);
        this.zoomBy(now.apart / last.apart, now.middle);
        last = now;
      },
      end: () => {},
      cancel: () => {},
    };
  }

  wheel(event) {
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? LINE : 1);
    // Trackpads send a pinch as a wheel with the Ctrl key, in small steps.
    this.zoomBy(Math.exp(-pixels * (event.ctrlKey ? 0.01 : 0.0015)), this.at(event));
  }
}
