// Elements made from plain values. Names of others (images, categories, people) only ever become text.

export const byId = (id) => document.getElementById(id);

/** An element with properties and children; strings become text, never markup. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Instructions as text: lines that begin with "# " are headings, with "- " items of a list. */
export function prose(text) {
  const parts = [];
  let list = null;
  for (const line of text.split("\n").map((each) => each.trim())) {
    if (line.startsWith("- ")) {
      if (!list) parts.push((list = make("ul")));
      list.append(make("li", {}, line.slice(2)));
      continue;
    }
    list = null;
    if (line.startsWith("# ")) parts.push(make("h3", {}, line.slice(2)));
    else if (line) parts.push(make("p", {}, line));
  }
  return parts;
}

/** Place an element by shares of its parent, in percent. */
export function placeInPercent(element, [x0, y0, x1, y1], width, height) {
  element.style.left = `${(100 * x0) / width}%`;
  element.style.top = `${(100 * y0) / height}%`;
  element.style.width = `${(100 * (x1 - x0)) / width}%`;
  element.style.height = `${(100 * (y1 - y0)) / height}%`;
  return element;
}
