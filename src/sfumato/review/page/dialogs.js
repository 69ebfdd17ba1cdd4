// Questions that hold everything else until they are answered.

import { picture } from "./api.js";
import { byId, make, placeInPercent } from "./dom.js";
import { counted } from "./panel.js";

const TALLEST = 46; // percent of the window's height
const LOWER = 28; // where two stand below each other

/** Show a dialog; resolves to the value of the choice, or of `dismiss` where it is closed otherwise. */
export function ask({ title, body, choices, dismiss }) {
  const dialog = byId("dialog");
  return new Promise((resolve) => {
    let answer = dismiss;
    dialog.onclose = () => resolve(answer);
    const buttons = choices.map(([label, value], index) =>
      make(
        "button",
        {
          type: "button",
          className: index ? "" : "main",
          onclick: () => {
            answer = value;
            dialog.close();
          },
        },
        label,
      ),
    );
    dialog.replaceChildren(
      make("h2", { id: "dialog-title" }, title),
      make("div", { className: "body" }, ...body),
      make("div", { className: "choices" }, ...buttons),
    );
    dialog.showModal();
    buttons[0].focus({ preventScroll: true });
    dialog.scrollTop = 0;
  });
}

/** An image with boxes upon it, and a caption: layers are [name of a style, boxes]. */
export function figure(item, layers, caption, tallest = TALLEST) {
  const image = make("img", { alt: "" });
  picture(item.image_id).then((url) => (image.src = url), () => {});
  const frame = make("div", { className: "framed" }, image);
  frame.style.width = `min(100%, ${(tallest * item.width) / item.height}dvh)`;
  for (const [style, boxes] of layers) {
    for (const box of boxes) {
      const mark = make("span", { className: `mark ${style}` });
      frame.append(placeInPercent(mark, box, item.width, item.height));
    }
  }
  return make("figure", {}, frame, make("figcaption", {}, caption));
}

const plain = (boxes) => boxes.map(({ box }) => box);

/** A gold question was missed: the right answer, and how many lives are left. */
export function showAnswer(item, mine, { right, lives, kind }) {
  const over = kind === "restart";
  const left = lives === 1 ? "one life is left" : `${lives} lives are left`;
  const caption = right.length ? "Solid: the right answer. Dashed: your boxes." : "There is nothing to cover here.";
  return ask({
    title: over ? "No life is left" : "Not quite right",
    body: [
      make("p", {}, over ? "Start again from the first image." : `Please look again; ${left}.`),
      figure(item, [["right", plain(right)], ["mine", plain(mine)]], caption),
    ],
    choices: [[over ? "Restart" : "Try again", true]],
    dismiss: true,
  });
}

/** Two versions of the boxes of one image: resolves to "mine", "theirs" or null. */
export function chooseVersion(item, mine, theirs) {
  return ask({
    title: "This image was saved in the meantime",
    body: [
      make("p", {}, "Which boxes are right? Either can be changed afterwards."),
      make(
        "div",
        { className: "versions" },
        figure(item, [["right", plain(theirs)]], `Theirs: ${counted(theirs)}`, LOWER),
        figure(item, [["mine", plain(mine)]], `Yours: ${counted(mine)}`, LOWER),
      ),
    ],
    choices: [
      ["Keep theirs", "theirs"],
      ["Keep mine", "mine"],
    ],
    dismiss: null,
  });
}
