// The one place where the page's state lives. Whoever draws subscribes; whoever acts calls `set`.

export function createStore(initial) {
  let state = Object.freeze({ ...initial });
  const listeners = new Set();
  return {
    get: () => state,
    set(change) {
      state = Object.freeze({ ...state, ...change });
      for (const listener of listeners) listener(state);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

export const store = createStore({
  start: null, // what the server said at first: reviewer, settings, instructions
  lives: null,
  item: null, // the image on the stage, as the server gave it
  boxes: [], // [{box: [x0, y0, x1, y1], kind, source, score}], pixels of the upright image
  past: [], // earlier lists of boxes, for undo
  future: [], // later ones, for redo
  selected: -1,
  kind: "face", // of the next box
  flagged: false,
  busy: false, // while work is being sent
  panning: false,
  hidden: false,
  returnTo: null, // the grid that an image was opened from
});
