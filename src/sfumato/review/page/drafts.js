// Work that was not sent yet, kept in this browser: reloading or a crash loses nothing.

let prefix = "sfumato:";

/** Keep drafts of different reviews and people apart. */
export function openDrafts(review, reviewer) {
  prefix = `sfumato:${review}:${reviewer}:`;
}

function attempt(action) {
  try {
    return action();
  } catch {
    return null; // storage is full or forbidden: the page works, without this safety
  }
}

export const readDraft = (imageId) => attempt(() => JSON.parse(localStorage.getItem(prefix + imageId)));

export function keepDraft(imageId, draft) {
  attempt(() => localStorage.setItem(prefix + imageId, JSON.stringify(draft)));
}

export function dropDraft(imageId) {
  attempt(() => localStorage.removeItem(prefix + imageId));
}

export function dropAllDrafts() {
  attempt(() => {
    const keys = Object.keys(localStorage).filter((key) => key.startsWith(prefix));
    for (const key of keys) localStorage.removeItem(key);
  });
}
