// Figures of the whole review, asked for again and again while they are looked at.

import { get } from "./api.js";
import { byId, make } from "./dom.js";

const EVERY = 3000;
const NONE = "–";

const whole = (value) => (value === null ? NONE : Math.round(value).toLocaleString("en"));

function percent(value) {
  if (value === null) return NONE;
  const digits = value > 0 && value < 0.0995 ? 2 : 3;
  return `${Number((100 * value).toPrecision(digits))} %`;
}

/** A share with its interval. */
const within = (value, low, high) => (value === null ? NONE : `${percent(value)} (${percent(low)} to ${percent(high)})`);

const seconds = (value) => (value === null ? NONE : `${value.toPrecision(2)} s`);

const GOLD = [
  ["Known answers right", (row) => (row.gold_asked ? `${row.gold_right} of ${row.gold_asked}` : NONE)],
  ["Accuracy", (row) => within(row.gold_accuracy, row.gold_ci_low, row.gold_ci_high)],
];

/** Columns of the people; what they said of images with a known answer is for the owner and arbiters only. */
const columnsOf = (rows) => [
  ["Name", (row) => row.name],
  ["Images", (row) => whole(row.saved)],
  ...(rows.some((row) => "gold_asked" in row) ? GOLD : []),
  ["Agreement", (row) => percent(row.agreement)],
  ["Time an image", (row) => seconds(row.median_seconds)],
  ["Restarts", (row) => whole(row.restarts)],
  ["", (row) => (row.set_aside ? "set aside" : row.arbiter ? "arbiter" : "")],
];

const ESTIMATES = [
  ["Images", (row) => row.group],
  ["Review", (row) => row.stage],
  ["Sampled", (row) => whole(row.n_images)],
  ["Faces", (row) => whole(row.n_faces)],
  ["False alarms", (row) => whole(row.false_positives)],
  ["Missed", (row) => whole(row.false_negatives)],
  ["Precision", (row) => within(row.precision, row.precision_ci_low, row.precision_ci_high)],
  ["Recall", (row) => within(row.recall, row.recall_ci_low, row.recall_ci_high)],
];

function table(title, columns, rows) {
  const cell = (tag, text) => make(tag, {}, text);
  const head = make("tr", {}, ...columns.map(([name]) => cell("th", name)));
  const body = rows.map((row) => make("tr", {}, ...columns.map(([, shown]) => cell("td", shown(row)))));
  const element = make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
  const frame = make("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: title }, element);
  return make("section", {}, make("h3", {}, title), frame);
}

function progress({ done, images }) {
  const bar = make("progress", { max: Math.max(images, 1), value: done, ariaLabel: "Images done" });
  return make("p", { className: "done" }, bar, ` ${whole(done)} of ${whole(images)} images`);
}

/** What is known of faces that are still missed, in a sentence, and whether one may stop. */
function verdict({ n_images, n_faces, n_missed, upper, target, confidence, reached, next_look }) {
  if (!n_images) return ["Nothing is known yet of faces that are still missed: no image of the random sample was looked at."];
  const bound =
    upper < 1
      ? `With ${percent(confidence)} confidence at most ${percent(upper)} of the faces are still missed.`
      : "Too little is known yet to say how many faces are still missed.";
  const goal = reached
    ? `The target of ${percent(target)} is met: you may stop.`
    : `The target is ${percent(target)}: go on. The next look at the sample is at ${whole(next_look)} images.`;
  const basis = `${whole(n_images)} images of the random sample were looked at; they hold ${whole(n_faces)} faces, of which ${whole(n_missed)} are missed.`;
  return [bound, goal, basis];
}

/** What an estimate is worth of which people looked twice themselves. */
function sameEyes(count, { n_images }) {
  const some = count === n_images ? "these images" : `${whole(count)} of these images`;
  return make("p", {}, `In ${some} the second look was by the person who had reviewed the image: there the estimate only measures what a second look by the same eyes finds. Let somebody else take the random sample.`);
}

function twoPasses({ n_images, total, low, high }) {
  return make(
    "p",
    {},
    `Two people looked at ${whole(n_images)} images independently: beyond the boxes that both were shown, these hold about ${whole(total)} faces (${whole(low)} to ${whole(high)}), by capture and recapture.`,
  );
}

function facts(status) {
  const rows = [
    ["Records", status.records],
    ["Disagreements for an arbiter", status.disagreements],
    ["Images with a known answer", status.gold_images],
    ["Images that were not examined", status.not_examined],
  ];
  return make("dl", {}, ...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, whole(value))]));
}

function figures(status) {
  const [bound, ...rest] = verdict(status.missed);
  return [
    progress(status),
    make("p", { className: "verdict" }, bound),
    ...rest.map((text) => make("p", {}, text)),
    ...(status.same_eyes ? [sameEyes(status.same_eyes, status.missed)] : []),
    ...(status.two_passes ? [twoPasses(status.two_passes)] : []),
    facts(status),
    table("People", columnsOf(status.reviewers), status.reviewers),
    ...(status.missed.n_images ? [table("The annotation, by the random sample", ESTIMATES, status.estimates)] : []),
  ];
}

export class Status {
  constructor() {
    Object.assign(this, { timer: null, actions: {}, bindings: [] });
  }

  open() {
    this.timer = setInterval(() => document.hidden || this.refresh(), EVERY);
    return this.refresh();
  }

  close() {
    clearInterval(this.timer);
  }

  async refresh() {
    try {
      const status = await get("status");
      // A table that somebody scrolls or reads with the keyboard is left alone.
      if (!byId("figures").contains(document.activeElement)) byId("figures").replaceChildren(...figures(status));
      byId("fresh").textContent = `As of ${new Date().toLocaleTimeString()}; renewed while you look.`;
    } catch (error) {
      byId("fresh").textContent = `Not renewed: ${error.message}.`;
    }
  }
}
