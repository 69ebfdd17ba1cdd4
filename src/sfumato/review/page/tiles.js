// Tiles of the grids: a crop of a face, or a small picture of an image.

import { cropAddress, thumbnailAddress } from "./api.js";
import { make, placeInPercent } from "./dom.js";

const CROP_PER_BOX = 1.5; // side of a crop, as sfumato.review.crops makes it, by the longer side of its box
const SIDE = 112;

export const imageHash = (imageId) => `#image=${encodeURIComponent(imageId)}`;

/** Where the box lies in its crop. */
function frameOf([x0, y0, x1, y1]) {
  const side = Math.max(x1 - x0, y1 - y0, 2) * CROP_PER_BOX;
  const left = (side - (x1 - x0)) / 2;
  const top = (side - (y1 - y0)) / 2;
  const frame = make("span", { className: "mark thin" });
  return placeInPercent(frame, [left, top, side - left, side - top], side, side);
}

/** A face that can be marked; the first one is reached by the Tab key. */
export function faceTile(cell, index) {
  const score = cell.score.toFixed(2);
  const gone = cell.rejected ? ", thrown out" : "";
  const image = make("img", { src: cropAddress(cell), alt: "", loading: "lazy", draggable: false, width: SIDE, height: SIDE });
  return make(
    "div",
    {
      role: "option",
      className: cell.rejected ? "tile rejected" : "tile",
      tabIndex: index ? -1 : 0,
      ariaLabel: `${cell.kind} in ${cell.category || cell.image_id}, score ${score}${gone}`,
      title: cell.image_id,
    },
    make("div", { className: "crop" }, image, frameOf(cell.box)),
    make("span", { className: "note" }, cell.rejected ? "thrown out" : score),
  );
}

/** An image that leads to the review screen. */
export function imageTile(cell, onclick) {
  const picture = make("img", { src: thumbnailAddress(cell.image_id), alt: "", loading: "lazy" });
  const properties = { href: imageHash(cell.image_id), className: "tile", title: cell.image_id, onclick };
  return make("a", properties, picture, make("span", { className: "note" }, cell.category || cell.image_id));
}
