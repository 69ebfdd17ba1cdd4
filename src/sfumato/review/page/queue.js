// The way through the queue: one image ahead, and work that is sent until it has arrived.

import { get, picture, post, Unreachable } from "./api.js";

const FIRST_WAIT = 500;
const LONGEST_WAIT = 4000;
const FRESH = 60_000; // milliseconds that an image asked for ahead is used for

let ahead = null; // {after, item, at}: a promise of the image that follows

const nextOf = async (after) => (await get("next", after === null ? {} : { after })).item;

/** The image that follows another; null where the queue is done. */
export async function nextItem(after) {
  const known = ahead;
  ahead = null;
  if (known?.after === after && after !== null && performance.now() - known.at < FRESH) {
    const item = await known.item;
    // Where there was none there may be one by now; and a server that was started anew may have said the same.
    if (item && item.image_id !== after) return item;
  }
  return nextOf(after);
}

export const previousItem = async (before) => (await get("previous", { before })).item;

/** Ask for the image after this one, and its picture, before it is needed. */
export function lookAhead(after) {
  const item = nextOf(after).catch(() => null);
  ahead = { after, item, at: performance.now() };
  item.then((found) => found && picture(found.image_id).catch(() => {}));
}

export function forgetAhead() {
  ahead = null;
}

/** Send work; while the server cannot be reached, again and again. */
export async function send(name, body, whileUnreachable) {
  for (let wait = FIRST_WAIT; ; wait = Math.min(2 * wait, LONGEST_WAIT)) {
    try {
      return await post(name, body);
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error;
      whileUnreachable();
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}
