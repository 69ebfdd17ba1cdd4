// The grids: crops of faces, to throw out false alarms; images without faces, to find what was missed.

import { get, post } from "./api.js";
import { byId, make } from "./dom.js";
import { Lasso } from "./lasso.js";
import { faceTile, imageHash, imageTile } from "./tiles.js";

const FACES_ON_A_PAGE = 60;
const IMAGES_ON_A_PAGE = 40;

const ORDERS = [
  ["score", "Score, lowest first"],
  ["likeness", "Likeness"],
  ["size", "Size"],
];
const ARROWS = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"];

const say = (text) => (byId("grid-message").textContent = text);
const button = (name) => byId("grid-screen").querySelector(`[data-do=${name}]`);
const keyOf = ({ image_id, row }) => `${row} ${image_id}`;

export class Grid {
  constructor(shell) {
    Object.assign(this, { shell, tiles: byId("tiles"), ofFaces: true, page: 0, total: 0, cells: [] });
    Object.assign(this, { marked: new Set(), anchor: 0, last: [], isDragging: false, requests: 0 });
    byId("order").append(...ORDERS.map(([value, label]) => make("option", { value }, label)));
    byId("order").addEventListener("change", () => this.load(0));
    this.tiles.addEventListener("click", (event) => this.click(event));
    this.tiles.addEventListener("dblclick", (event) => this.ofFaces && this.openImage(this.indexOf(event.target)));
    new Lasso(this.tiles, { begin: (event) => this.beginLasso(event), mark: (indices) => this.addMarks(indices) });
    this.actions = this.makeActions();
    this.bindings = [...this.tileBindings(), ...this.pageBindings()];
  }

  open(ofFaces) {
    // Back from an image, the same page is shown again.
    const page = ofFaces === this.ofFaces ? this.page : 0;
    this.ofFaces = ofFaces;
    return this.load(page);
  }

  close() {}

  // --- a page of cells ---

  get size() {
    return this.ofFaces ? FACES_ON_A_PAGE : IMAGES_ON_A_PAGE;
  }

  get lastPage() {
    return Math.max(0, Math.ceil(this.total / this.size) - 1);
  }

  async load(page) {
    const order = this.ofFaces ? byId("order").value : "no-faces";
    const request = ++this.requests;
    try {
      const { cells, total } = await get("grid", { order, page, size: this.size });
      if (request !== this.requests) return undefined; // something else was asked for since
      Object.assign(this, { page, cells, total, anchor: 0 });
    } catch (error) {
      return this.shell.warn(`The grid cannot be shown: ${error.message}.`);
    }
    this.marked.clear();
    this.shell.warn("");
    return this.fill();
  }

  fill() {
    const leave = () => this.shell.returnHere("#empty");
    this.tiles.replaceChildren(...this.cells.map((cell, at) => (this.ofFaces ? faceTile(cell, at) : imageTile(cell, leave))));
    const listbox = { role: "listbox", "aria-multiselectable": "true", "aria-label": "Faces" };
    for (const [name, value] of Object.entries(listbox)) {
      if (this.ofFaces) this.tiles.setAttribute(name, value);
      else this.tiles.removeAttribute(name);
    }
    this.tiles.classList.toggle("wide", !this.ofFaces);
    this.drawTools();
    this.drawMarks();
    say(this.ofFaces ? "Mark what is no face, then throw it out." : "Open an image that has a face after all.");
  }

  drawTools() {
    const what = this.ofFaces ? "faces" : "images without faces";
    const total = this.total.toLocaleString("en");
    byId("page-number").textContent = `Page ${this.page + 1} of ${this.lastPage + 1} · ${total} ${what}`;
    for (const name of ["drag", "reject"]) button(name).hidden = !this.ofFaces;
    byId("order").closest("label").hidden = !this.ofFaces;
    button("pageBack").ariaDisabled = String(this.page === 0);
    button("pageOn").ariaDisabled = String(this.page >= this.lastPage);
  }

  turn(by) {
    const page = this.page + by;
    if (page >= 0 && page <= this.lastPage) this.load(page);
  }

  // --- marking ---

  drawMarks() {
    if (this.ofFaces) {
      [...this.tiles.children].forEach((tile, index) => (tile.ariaSelected = String(this.marked.has(index))));
    }
    const count = this.markedCells(false).length;
    byId("marked").textContent = count;
    button("reject").ariaDisabled = String(!count);
    button("putBack").hidden = !this.ofFaces || count === this.marked.size;
  }

  markedCells(rejected) {
    return [...this.marked].map((index) => this.cells[index]).filter((cell) => cell.rejected === rejected);
  }

  toggle(index) {
    if (!this.marked.delete(index)) this.marked.add(index);
    this.anchor = index;
    this.drawMarks();
  }

  markRange(to) {
    const [first, last] = [this.anchor, to].sort((a, b) => a - b);
    for (let index = first; index <= last; index++) this.marked.add(index);
    this.drawMarks();
  }

  unmark() {
    this.marked.clear();
    this.drawMarks();
  }

  beginLasso(event) {
    this.before = new Set(this.marked);
    // A finger scrolls, unless it is to select by dragging.
    return this.ofFaces && (event.pointerType !== "touch" || this.isDragging);
  }

  addMarks(indices) {
    this.marked = new Set([...this.before, ...indices]);
    this.drawMarks();
  }

  indexOf(element) {
    return [...this.tiles.children].indexOf(element.closest(".tile"));
  }

  click(event) {
    const index = this.ofFaces ? this.indexOf(event.target) : -1;
    if (index < 0) return;
    if (event.shiftKey) this.markRange(index);
    else this.toggle(index);
    this.focusTile(index);
  }

  // --- the keyboard ---

  get focused() {
    return Math.max(0, this.indexOf(document.activeElement));
  }

  focusTile(index) {
    const tile = this.tiles.children[index];
    if (!tile) return;
    for (const each of this.tiles.children) each.tabIndex = -1;
    tile.tabIndex = 0;
    tile.focus();
  }

  get columns() {
    const tiles = [...this.tiles.children];
    return Math.max(1, tiles.filter((tile) => tile.offsetTop === tiles[0].offsetTop).length);
  }

  go(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns }[event.key];
    const to = this.focused + by;
    if (!(to in this.cells)) return;
    if (event.shiftKey) this.markRange(to);
    else this.anchor = to;
    this.focusTile(to);
  }

  openImage(index) {
    if (!(index in this.cells)) return;
    this.shell.returnHere("#faces");
    this.shell.go(imageHash(this.cells[index].image_id));
  }

  // --- throwing out, and second thoughts ---

  async change(name, cells, done) {
    const number = name === "reject" ? "index" : "row";
    const faces = cells.map((cell) => [cell.image_id, cell[number], cell.base]);
    if (!faces.length) return;
    try {
      this.report(await post(name, { faces }), `${faces.length} ${done}.`, this.anchor);
      this.last = name === "reject" ? cells.map(keyOf) : [];
    } catch (error) {
      this.shell.warn(`Nothing was changed: ${error.message}.`);
    }
  }

  async report(outcome, done, at) {
    if (outcome.kind === "set_aside") return this.shell.warn("Your work is set aside, so nothing was changed.");
    await this.load(this.page);
    const stale = outcome.stale.length;
    say(stale ? `${done} ${stale} image(s) were changed in the meantime: please look again.` : done);
    return this.focusTile(Math.min(at, this.cells.length - 1));
  }

  reject() {
    return this.change("reject", this.markedCells(false), "thrown out");
  }

  putBack() {
    return this.change("restore", this.markedCells(true), "put back");
  }

  undo() {
    const cells = this.cells.filter((cell) => cell.rejected && this.last.includes(keyOf(cell)));
    return this.change("restore", cells, "put back");
  }

  toggleDragging() {
    this.isDragging = !this.isDragging;
    button("drag").setAttribute("aria-pressed", this.isDragging);
    this.tiles.classList.toggle("dragging", this.isDragging);
  }

  makeActions() {
    return {
      pageBack: () => this.turn(-1),
      pageOn: () => this.turn(1),
      drag: () => this.toggleDragging(),
      reject: () => this.reject(),
      putBack: () => this.putBack(),
    };
  }

  tileBindings() {
    const when = () => this.ofFaces && this.tiles.contains(document.activeElement);
    const run = (event) => this.go(event);
    const marking = ARROWS.map((key) => `shift+${key}`);
    return [
      { keys: ARROWS, shows: ["Arrows"], says: "Go to another face", run, when },
      { keys: marking, shows: ["shift+arrows"], says: "Mark all faces on the way", run, when },
      { keys: [" "], says: "Mark a face, or take the mark away", run: () => this.toggle(this.focused), when },
      { keys: ["o", "Enter"], says: "Open the image of a face", run: () => this.openImage(this.focused), when },
    ];
  }

  pageBindings() {
    const when = () => this.ofFaces;
    const markAll = () => this.addMarks(this.cells.keys());
    return [
      { keys: ["ctrl+a"], says: "Mark all faces of the page", run: () => ((this.before = []), markAll()), when },
      { keys: ["Escape"], says: "Take all marks away", run: () => this.unmark() },
      { keys: ["Delete", "Backspace", "x"], says: "Throw out what is marked", run: () => this.reject(), when },
      { keys: ["u"], says: "Put back what is marked", run: () => this.putBack(), when },
      { keys: ["ctrl+z", "z"], says: "Put back what was thrown out last", run: () => this.undo(), when },
      { keys: ["d", "n", "PageDown"], says: "Next page", run: () => this.turn(1) },
      { keys: ["a", "p", "PageUp"], says: "Previous page", run: () => this.turn(-1) },
    ];
  }
}
