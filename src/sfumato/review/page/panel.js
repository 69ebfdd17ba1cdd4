// What stands around the stage: where one is, the kinds, the buttons.

import { byId, make } from "./dom.js";

const EDITING = ["undo", "redo", "add", "remove", "flag", "skip"];

export const counted = (boxes) => (boxes.length === 1 ? "1 box" : `${boxes.length} boxes`);
export const placed = (item) => (item.position ? `Image ${item.position} of ${item.total}` : "Image");

function described({ box, kind, source, score }, index, count) {
  const size = `${Math.round(box[2] - box[0])} × ${Math.round(box[3] - box[1])} px`;
  const origin = source ? `, ${source} ${score.toFixed(2)}` : "";
  return `Box ${index + 1} of ${count}: ${kind}, ${size}${origin}`;
}

function nextLabel({ busy, returnTo, start }) {
  if (busy) return "Saving …";
  if (returnTo) return start.read_only ? "Back ›" : "Save, back ›";
  return "Next ›";
}

/** The choice of a kind; `choose` is called with the one that was chosen. */
export function fillKinds(kinds, choose) {
  const choices = kinds.map((kind, index) => {
    const radio = make("input", { type: "radio", name: "kind", value: kind, onchange: () => choose(kind) });
    const swatch = make("span", { className: `swatch kind-${index}` });
    return make("label", {}, radio, swatch, ` ${kind} `, make("kbd", {}, `${index + 1}`));
  });
  byId("kinds").append(...choices);
}

function drawTexts({ item, boxes, selected, kind }) {
  const one = boxes[selected];
  byId("position").textContent = placed(item);
  byId("category").textContent = item.category;
  byId("image-id").textContent = item.image_id;
  byId("selection").textContent = one
    ? described(one, selected, boxes.length)
    : `${counted(boxes)}. Drag to draw one.`;
  for (const radio of byId("kinds").querySelectorAll("input")) radio.checked = radio.value === (one?.kind ?? kind);
}

function drawButtons({ past, future, boxes, selected, flagged, panning, hidden, start }) {
  const pressed = { flag: flagged, pan: panning, hide: hidden };
  const isOff = { undo: !past.length, redo: !future.length, remove: !boxes[selected] };
  for (const button of byId("review-screen").querySelectorAll("[data-do]")) {
    const name = button.dataset.do;
    if (name in pressed) button.setAttribute("aria-pressed", pressed[name]);
    button.ariaDisabled = String(Boolean(isOff[name] || (start.read_only && EDITING.includes(name))));
  }
}

export function drawPanel(state) {
  if (!state.item) return;
  drawTexts(state);
  drawButtons(state);
  byId("next").textContent = nextLabel(state);
  byId("review-screen").setAttribute("aria-busy", state.busy);
  byId("stage").classList.toggle("panning", state.panning);
}
