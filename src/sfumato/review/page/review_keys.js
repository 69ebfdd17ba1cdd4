// What buttons and keys of the review screen do.

import { byId } from "./dom.js";
import { DIRECTIONS } from "./editor.js";

const ZOOM = 1.25;
const PAN = 60; // pixels of the screen

/** Actions by the name that buttons have. */
export function reviewActions(store, stage, review, editor) {
  const toggle = (name) => () => store.set({ [name]: !store.get()[name] });
  return {
    next: () => review.leave(null),
    previous: () => review.goBack(),
    skip: () => review.leave("skipped"),
    flag: () => editor.canEdit && toggle("flagged")(),
    add: () => editor.add(),
    remove: () => editor.remove(),
    undo: () => editor.undo(),
    redo: () => editor.redo(),
    pan: toggle("panning"),
    hide: toggle("hidden"),
    zoomIn: () => stage.zoomBy(ZOOM),
    zoomOut: () => stage.zoomBy(1 / ZOOM),
    fit: () => stage.fit(),
  };
}

const ARROWS = Object.keys(DIRECTIONS);

function boxBindings(editor, actions) {
  const run = (event) => editor.nudge(event);
  const when = () => editor.hasBox;
  const near = [...ARROWS, ...ARROWS.map((key) => `ctrl+${key}`)];
  const size = ARROWS.flatMap((key) => [`shift+${key}`, `ctrl+shift+${key}`]);
  return [
    { keys: near, shows: ["Arrows", "ctrl+arrows"], says: "Move the selected box by 1 or 10 pixels", run, when },
    { keys: size, shows: ["shift+arrows", "ctrl+shift+arrows"], says: "Make the selected box larger or smaller", run, when },
    { keys: ["Tab", "shift+Tab"], says: "Select the next or previous box", when: () => false }, // as everywhere
    { keys: ["b"], says: "New box in the middle of what is in sight", run: actions.add },
    { keys: ["Delete", "Backspace", "x"], says: "Delete the selected box", run: actions.remove },
    { keys: ["ctrl+z", "z"], says: "Undo", run: actions.undo },
    { keys: ["ctrl+y", "ctrl+shift+z", "shift+z"], says: "Redo", run: actions.redo },
  ];
}

function imageBindings(actions, deselect) {
  return [
    { keys: ["d", "n", "ArrowRight"], says: "Save and go to the next image", run: actions.next },
    { keys: ["ctrl+Enter"], says: "The same, also while writing a comment", run: actions.next, typing: true },
    { keys: ["a", "p", "ArrowLeft"], says: "Previous image", run: actions.previous },
    { keys: ["s"], says: "Skip: save as not decided", run: actions.skip },
    { keys: ["f"], says: "Flag for somebody else to look at", run: actions.flag },
    { keys: ["c"], says: "Write a comment", run: () => byId("comment").focus() },
    { keys: ["Escape"], says: "Select nothing; leave the comment", run: deselect, typing: true },
  ];
}

function viewBindings(stage, actions) {
  const keys = ["ArrowUp", "ArrowDown", ...ARROWS.map((key) => `shift+${key}`)];
  const run = ({ key }) => stage.pan(-DIRECTIONS[key][0] * PAN, -DIRECTIONS[key][1] * PAN);
  return [
    { keys: ["+", "="], says: "Zoom in", run: actions.zoomIn },
    { keys: ["-"], says: "Zoom out", run: actions.zoomOut },
    { keys: ["0"], says: "Fit the image to the window", run: actions.fit },
    { keys, shows: ["ArrowUp", "ArrowDown", "shift+arrows"], says: "Move the image, while no box is selected", run },
    { keys: ["m"], says: "Drag moves the image, or draws again", run: actions.pan },
    { keys: ["h"], says: "Hide or show the boxes", run: actions.hide },
  ];
}

/** Keys of the review screen, for `listen` and for the list of keys. */
export function reviewBindings(store, stage, editor, actions) {
  const deselect = () => {
    byId("comment").blur();
    store.set({ selected: -1 });
    stage.focus();
  };
  const kinds = store.get().start.kinds.map((kind, index) => ({
    keys: [`${index + 1}`],
    says: `Kind: ${kind}`,
    run: () => editor.setKind(kind),
  }));
  return [...boxBindings(editor, actions), ...imageBindings(actions, deselect), ...viewBindings(stage, actions), ...kinds];
}
