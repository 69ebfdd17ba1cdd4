// The page as a whole: which screen is shown, and what all of them share.

import { get } from "./api.js";
import { ask } from "./dialogs.js";
import { byId, prose } from "./dom.js";
import { openDrafts } from "./drafts.js";
import { Editor } from "./editor.js";
import { Grid } from "./grid.js";
import { keyTables, listen } from "./keys.js";
import { fillKinds } from "./panel.js";
import { Review } from "./review.js";
import { reviewActions, reviewBindings } from "./review_keys.js";
import { Stage } from "./stage.js";
import { Status } from "./status.js";
import { store } from "./store.js";

const SCREENS = ["review", "done", "grid", "status"];
const IMAGE = "#image=";
const MOUSE = `# Mouse and fingers
- Drag draws a box, or moves the one below; its handles change its size.
- Ctrl and drag draws on top of another box.
- Wheel or two fingers zoom; the middle button moves the image.`;

/** What screens ask of the page around them. */
class Shell {
  constructor() {
    Object.assign(this, { current: null, returnTo: null, screens: {} });
  }

  /** A line across the page; empty to take it away. */
  warn(text) {
    byId("banner").textContent = text;
    byId("banner").hidden = !text;
  }

  showScreen(name) {
    for (const screen of SCREENS) byId(`${screen}-screen`).hidden = screen !== name;
  }

  /** The next image that is opened leads back to this grid. */
  returnHere(hash) {
    this.returnTo = hash;
  }

  go(hash) {
    if (location.hash === hash) return this.route();
    location.hash = hash;
    return undefined;
  }

  /** Show what the address says. */
  async route() {
    const { hash } = location;
    const { review, grid, status } = this.screens;
    this.current?.close();
    this.warn("");
    this.markTab(hash.startsWith(IMAGE) ? "#review" : hash || "#review");
    const { returnTo } = this;
    this.returnTo = null;
    if (hash === "#faces" || hash === "#empty") await this.enter(grid, "grid", () => grid.open(hash === "#faces"));
    else if (hash === "#status") await this.enter(status, "status", () => status.open());
    else await this.enter(review, "review", () => review.open(idIn(hash), returnTo));
  }

  enter(screen, name, open) {
    this.current = screen;
    this.showScreen(name);
    return open();
  }

  markTab(tab) {
    for (const link of document.querySelectorAll("nav a")) {
      if (link.hash === tab) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }
}

function idIn(hash) {
  if (!hash.startsWith(IMAGE)) return null;
  try {
    return decodeURIComponent(hash.slice(IMAGE.length));
  } catch {
    return hash; // no image is called that, and the server says so
  }
}

const close = { choices: [["Close", null]], dismiss: null };

function showInstructions() {
  return ask({ title: "Instructions", body: prose(store.get().start.instructions), ...close });
}

function drawLives({ lives }) {
  const words = lives === 1 ? "1 life" : `${lives} lives`;
  byId("lives").textContent = lives === null ? "" : `${"♥".repeat(lives)} ${words}`;
}

function commonBindings(shell, showKeys) {
  return [
    { keys: ["?"], says: "This list", run: showKeys },
    { keys: ["i"], says: "Instructions", run: showInstructions },
    { keys: ["r"], says: "Review, one image after the other", run: () => shell.go("#review") },
    { keys: ["g"], says: "Grid of faces", run: () => shell.go("#faces") },
    { keys: ["e"], says: "Images without faces", run: () => shell.go("#empty") },
    { keys: ["t"], says: "Status", run: () => shell.go("#status") },
  ];
}

function createScreens(shell) {
  const stage = new Stage(byId("stage"), store);
  const editor = new Editor(store, stage);
  const review = new Review(store, stage, shell);
  review.actions = reviewActions(store, stage, review, editor);
  review.bindings = reviewBindings(store, stage, editor, review.actions);
  fillKinds(store.get().start.kinds, (kind) => editor.setKind(kind));
  shell.screens = { review, grid: new Grid(shell), status: new Status() };
}

function listenToPeople(shell) {
  const { review, grid } = shell.screens;
  const showKeys = () => {
    const groups = [["Everywhere", common], ["Review", review.bindings], ["Grids", grid.bindings]];
    return ask({ title: "Keys", body: [...keyTables(groups), ...prose(MOUSE)], ...close });
  };
  const common = commonBindings(shell, showKeys);
  listen(() => [...shell.current.bindings, ...common]);
  byId("instructions-button").addEventListener("click", showInstructions);
  byId("keys-button").addEventListener("click", showKeys);
  byId("again").addEventListener("click", () => shell.go("#review"));
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do]");
    if (button && button.ariaDisabled !== "true") shell.current.actions[button.dataset.do]?.();
  });
  addEventListener("hashchange", () => shell.route());
}

async function begin(shell) {
  const start = await get("start");
  openDrafts(start.review, start.reviewer);
  store.set({ start, kind: start.kinds[0] });
  byId("who").textContent = start.reviewer + (start.read_only ? " (read only)" : "");
  store.subscribe(drawLives);
  createScreens(shell);
  listenToPeople(shell);
  await shell.route();
}

const shell = new Shell();
begin(shell).catch((error) => shell.warn(`The review cannot begin: ${error.message}.`));
