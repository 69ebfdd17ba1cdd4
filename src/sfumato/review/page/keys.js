// The keyboard: tables of keys, which are also what `?` lists.

import { make } from "./dom.js";

const SWITCH = "sfumato:single-keys";

/** Name of a key press, such as "ctrl+shift+z" or "ArrowLeft". */
export function nameOf(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const shift = event.shiftKey && (key.length > 1 || /[a-z]/.test(key)) ? "shift+" : "";
  return (event.ctrlKey || event.metaKey ? "ctrl+" : "") + shift + key;
}

const isTyping = (target) => target.matches("textarea, select, input:not([type=radio], [type=checkbox])");
const isPressed = (target, name) => target.matches("button:not(.box), a") && ["Enter", " "].includes(name);
const singleKeysAreOff = () => localStorage.getItem(SWITCH) === "off";

/** Listen to the keyboard; `tables` gives the bindings in force: [{keys, shows, says, run, when, typing}]. */
export function listen(tables) {
  document.addEventListener("keydown", (event) => {
    if (event.altKey || document.querySelector("dialog[open]")) return;
    const name = nameOf(event);
    const isAllowed = ({ keys, when, typing }) =>
      keys.includes(name) && (typing || !isTyping(event.target)) && (!when || when());
    if (isPressed(event.target, name) || (name.length === 1 && name !== "?" && singleKeysAreOff())) return;
    const binding = tables().find(isAllowed);
    if (!binding) return;
    event.preventDefault();
    binding.run(event);
  });
}

const SHOWN = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", " ": "Space", Escape: "Esc" };

function shownKey(name) {
  const parts = name === "+" ? ["+"] : name.split("+").filter(Boolean);
  const words = parts.map((part) => SHOWN[part] ?? part.charAt(0).toUpperCase() + part.slice(1));
  return make("kbd", {}, words.join(" + "));
}

const keyRow = ({ keys, shows, says }) => {
  const shown = (shows ?? keys).flatMap((key) => [shownKey(key), " "]);
  return make("tr", {}, make("th", { scope: "row" }, ...shown), make("td", {}, says));
};

/** Every key, as tables under headings, and the switch for single keys. */
export function keyTables(groups) {
  const parts = groups.flatMap(([title, bindings]) => [
    make("h3", {}, title),
    make(
      "table",
      { className: "keys" },
      ...bindings.map(keyRow),
    ),
  ]);
  const box = make("input", { type: "checkbox", checked: !singleKeysAreOff() });
  box.addEventListener("change", () => localStorage.setItem(SWITCH, box.checked ? "on" : "off"));
  return [...parts, make("label", {}, box, " Single keys without Ctrl act at once")];
}
