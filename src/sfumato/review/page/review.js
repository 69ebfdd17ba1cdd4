// The review screen: images come, are put right, are saved, and go.

import { get, picture } from "./api.js";
import { changed, sameBoxes } from "./boxes.js";
import { Clock } from "./clock.js";
import { chooseVersion, showAnswer } from "./dialogs.js";
import { byId } from "./dom.js";
import { dropAllDrafts, dropDraft, keepDraft, readDraft } from "./drafts.js";
import { counted, drawPanel, placed } from "./panel.js";
import { forgetAhead, lookAhead, nextItem, previousItem, send } from "./queue.js";

const say = (text) => (byId("message").textContent = text);

export class Review {
  constructor(store, stage, shell) {
    Object.assign(this, { store, stage, shell, clock: new Clock(), comment: byId("comment"), last: {}, visit: 0 });
    store.subscribe(drawPanel);
    store.subscribe((state) => this.keepIfEdited(state));
    this.comment.addEventListener("input", () => this.keep());
    stage.root.addEventListener("view", ({ detail }) => (byId("zoom").textContent = `${Math.round(100 * detail)} %`));
  }

  get state() {
    return this.store.get();
  }

  /** Show an image by its id, or where that is null the first that is to be done. */
  async open(imageId, returnTo) {
    this.store.set({ returnTo });
    if (imageId === null) return this.goOn(null);
    const item = await this.load(async () => (await get("item", { id: imageId })).item);
    return item && this.show(item);
  }

  close() {
    this.visit++;
    this.store.set({ selected: -1 });
  }

  /** Wait for an image; undefined where there is none, or the person went elsewhere in the meantime. */
  async load(ask) {
    const visit = ++this.visit;
    const item = await this.follow(ask);
    return visit === this.visit ? item : undefined;
  }

  // --- an image comes and goes ---

  async show(item) {
    this.shell.showScreen(item ? "review" : "done");
    this.store.set({ item, boxes: item?.faces ?? [], past: [], future: [], selected: -1, hidden: false });
    if (!item) return history.replaceState(null, "", "#review");
    history.replaceState(null, "", `#image=${encodeURIComponent(item.image_id)}`);
    this.store.set({ flagged: item.state === "flagged", lives: item.lives });
    this.comment.value = item.comment;
    if (document.activeElement === this.comment) this.stage.focus();
    this.clock.restart();
    say("");
    await this.takeUp(readDraft(item.image_id));
    byId("live").textContent = `${placed(item)}, ${counted(this.state.boxes)}`;
    await this.showPicture(item);
    if (!this.state.returnTo) lookAhead(item.image_id);
    return undefined;
  }

  async showPicture(item) {
    this.stage.picture.removeAttribute("src");
    this.stage.fit();
    try {
      const url = await picture(item.image_id);
      if (this.state.item === item) this.stage.picture.src = url;
    } catch (error) {
      say(`The image cannot be shown: ${error.message}. Flag it, or skip it.`);
    }
  }

  /** Unsent work of an earlier visit: put it back, or ask where the image was saved since. */
  async takeUp(draft) {
    const { item } = this.state;
    if (!draft) return;
    if (draft.base !== item.base && !sameBoxes(draft.boxes, item.faces)) {
      const choice = await chooseVersion(item, draft.boxes, item.faces);
      if (choice !== "mine") return dropDraft(item.image_id);
    }
    this.comment.value = draft.comment;
    this.store.set({ ...changed(this.state, draft.boxes), flagged: draft.flagged });
    say("Work that was not sent yet is back.");
  }

  keepIfEdited(now) {
    const { last } = this;
    this.last = now;
    if (now.item === last.item && (now.boxes !== last.boxes || now.flagged !== last.flagged)) this.keep();
  }

  /** Keep what was done so far in this browser. */
  keep() {
    const { item, boxes, past, flagged } = this.state;
    if (!item) return;
    const comment = this.comment.value;
    if (past.length || this.saysMore) keepDraft(item.image_id, { base: item.base, boxes, comment, flagged });
    else dropDraft(item.image_id);
  }

  get saysMore() {
    const { item, flagged } = this.state;
    return this.comment.value !== item.comment || flagged !== (item.state === "flagged");
  }

  /** Whether this was saved already, just so; where lives can be lost, everything is asked for again. */
  get isSaved() {
    const { item, boxes } = this.state;
    return item.state !== null && item.lives === null && !this.saysMore && sameBoxes(boxes, item.faces);
  }

  /** Wait for the server; undefined where it does not answer as hoped. */
  async follow(load) {
    this.store.set({ busy: true });
    try {
      return await load();
    } catch (error) {
      this.shell.warn(`${error.message}. Nothing is lost: unsent work is kept in this browser.`);
      return undefined;
    } finally {
      this.store.set({ busy: false });
    }
  }

  async goOn(after) {
    const { returnTo, start } = this.state;
    if (returnTo) return this.shell.go(returnTo);
    if (start.set_aside) return this.when_set_aside();
    const item = await this.load(() => nextItem(after));
    return item === undefined ? undefined : this.show(item);
  }

  async goBack() {
    const { item, busy } = this.state;
    if (!item || busy) return;
    const earlier = await this.load(() => previousItem(item.image_id));
    if (earlier) await this.show(earlier);
    else if (earlier === null) say("This is the first image.");
  }

  // --- saving ---

  /** Save, and go on; `verdict` is "skipped", or null for what the buttons say. */
  async leave(verdict) {
    const { item, busy, start, flagged } = this.state;
    if (!item || busy) return undefined;
    if (start.read_only || (verdict === null && this.isSaved)) return this.goOn(item.image_id);
    return this.submit(verdict ?? (flagged ? "flagged" : "done"));
  }

  async submit(verdict) {
    const { item, boxes } = this.state;
    const work = {
      image_id: item.image_id,
      base: item.base,
      faces: boxes.map(({ box, kind, source }) => [...box, kind, source]),
      state: verdict,
      comment: this.comment.value,
      seconds: this.clock.seconds,
    };
    const waiting = () => this.shell.warn("The server does not answer. Your work is kept here and sent again.");
    const { visit } = this;
    const outcome = await this.follow(() => send("save", work, waiting));
    if (!outcome) return undefined;
    if (outcome.lives !== null) this.store.set({ lives: outcome.lives });
    if (visit !== this.visit) return this.savedElsewhere(item, outcome);
    this.shell.warn("");
    return this[`when_${outcome.kind}`](outcome, verdict);
  }

  /** The answer came when the person was somewhere else already: what is shown there stays as it is. */
  savedElsewhere(item, { kind }) {
    if (kind === "saved") return dropDraft(item.image_id);
    forgetAhead();
    return this.shell.warn(`${item.image_id} was not saved: open it again. Your boxes are kept in this browser.`);
  }

  async when_saved() {
    const { item } = this.state;
    dropDraft(item.image_id);
    await this.goOn(item.image_id);
  }

  async when_stale(outcome, verdict) {
    const { item, boxes } = this.state;
    // The same boxes: an answer was lost on its way, and this is our own save.
    if (sameBoxes(boxes, outcome.theirs)) return this.when_saved();
    const choice = await chooseVersion(item, boxes, outcome.theirs);
    if (choice === null) return say("Not saved yet.");
    this.store.set({ item: { ...item, base: outcome.base, faces: outcome.theirs } });
    if (choice === "mine") return this.submit(verdict);
    this.store.set({ ...changed(this.state, outcome.theirs), selected: -1 });
    return say("Their boxes. Change them, or go on.");
  }

  async when_taken() {
    const { item } = this.state;
    await this.goOn(item.image_id);
    this.shell.warn(`Somebody else has ${item.image_id} now. Your boxes were not sent; they stay in this browser.`);
  }

  async when_gold_failed(outcome) {
    await showAnswer(this.state.item, this.state.boxes, outcome);
    say("Please correct the boxes, then go on.");
    this.stage.focus();
  }

  async when_restart(outcome) {
    await showAnswer(this.state.item, this.state.boxes, outcome);
    dropAllDrafts();
    forgetAhead();
    this.store.set({ returnTo: null });
    await this.goOn(null);
  }

  async when_set_aside() {
    dropAllDrafts();
    await this.show(null);
    this.shell.warn("Your work is set aside, and there is nothing more for you. Please ask whoever sent you the link.");
  }
}
