// Everything that is asked of the server.

/** The server could not be reached: unsent work stays, and is sent again. */
export class Unreachable extends Error {}

/** The server said no, and why. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch {
    throw new Unreachable("the server does not answer");
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  throw new Refused(response.status, told.error ?? `the server answered ${response.status}`);
}

const withQuery = (path, query) => `${path}?${new URLSearchParams(query)}`;

export async function get(name, query = {}) {
  return (await request(withQuery(`/api/${name}`, query), {})).json();
}

export async function post(name, body) {
  const options = {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  return (await request(`/api/${name}`, options)).json();
}

export const cropAddress = (crop) => withQuery("/crop", { id: crop.image_id, box: crop.box.join(",") });
export const thumbnailAddress = (imageId) => withQuery("/thumbnail", { id: imageId });

const KEPT_PICTURES = 6;
const pictures = new Map(); // image id to a promise of an object URL, oldest first

/** Address of an image's picture in this page's memory; asked for once, kept for a while. */
export function picture(imageId) {
  const known = pictures.get(imageId);
  if (known) return known;
  const loading = request(withQuery("/image", { id: imageId }), {})
    .then((response) => response.blob())
    .then((blob) => URL.createObjectURL(blob));
  pictures.set(imageId, loading);
  loading.catch(() => pictures.delete(imageId));
  for (const [old, url] of pictures) {
    if (pictures.size <= KEPT_PICTURES) break;
    pictures.delete(old);
    url.then(URL.revokeObjectURL, () => {});
  }
  return loading;
}
