// What hands and keys do to the boxes of the image on the stage; each change can be undone.

import { changed, moved, redone, resized, spanned, undone } from "./boxes.js";

const SHARE_OF_NEW_BOX = 0.2;
const FAR = 10; // pixels of a step with Ctrl

export const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Editor {
  constructor(store, stage) {
    Object.assign(this, { store, stage });
  }

  get canEdit() {
    const { item, busy, start } = this.store.get();
    return Boolean(item) && !busy && !start.read_only;
  }

  get hasBox() {
    return this.canEdit && this.store.get().selected >= 0;
  }

  change(boxes, selected) {
    this.store.set({ ...changed(this.store.get(), boxes), selected });
    this.stage.focus();
  }

  /** A new box in the middle of what is in sight. */
  add() {
    if (!this.canEdit) return;
    const { item, boxes, kind } = this.store.get();
    const [x0, y0, x1, y1] = this.stage.view.inSight();
    const half = (Math.min(x1 - x0, y1 - y0) * SHARE_OF_NEW_BOX) / 2;
    const [x, y] = [(x0 + x1) / 2, (y0 + y1) / 2];
    const box = spanned([x - half, y - half], [x + half, y + half], item);
    this.change([...boxes, { box, kind, source: "", score: 1 }], boxes.length);
  }

  remove() {
    const { boxes, selected } = this.store.get();
    if (this.hasBox) this.change(boxes.toSpliced(selected, 1), -1);
  }

  /** The kind of the selected box; of the next one where none is selected. */
  setKind(kind) {
    const { boxes, selected } = this.store.get();
    if (selected < 0) this.store.set({ kind });
    else if (this.hasBox) this.change(boxes.with(selected, { ...boxes[selected], kind }), selected);
  }

  /** Move the selected box by an arrow key; with Shift, its lower right corner. */
  nudge(event) {
    const { boxes, selected, item } = this.store.get();
    const by = event.ctrlKey || event.metaKey ? FAR : 1;
    const [dx, dy] = DIRECTIONS[event.key].map((value) => value * by);
    const old = boxes[selected];
    const box = event.shiftKey ? resized(old.box, "se", dx, dy, item) : moved(old.box, dx, dy, item);
    this.change(boxes.with(selected, { ...old, box, source: "", score: 1 }), selected);
  }

  undo() {
    this.step(undone);
  }

  redo() {
    this.step(redone);
  }

  step(transition) {
    const next = this.canEdit && transition(this.store.get());
    if (next) this.store.set(next);
  }
}
