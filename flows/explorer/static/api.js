// What the server answers, and where its pictures lie.

let version = "";

const UNKNOWN = 401;
let refused = () => {};

/** Call this where the server does not know this page: it was started again. */
export function onRefused(listener) {
  refused = listener;
}

const failure = (message, status) => Object.assign(new Error(message), { status });

/** Parameters as a query; empty ones are left out. */
export function query(parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== "" && value != null);
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

async function answer(request) {
  let response;
  try {
    response = await request;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw failure("the server does not answer; is `stego explore` still running?", 0);
  }
  const body = await response.json().catch(() => ({}));
  if (response.status === UNKNOWN) refused();
  if (!response.ok) throw failure(body.error || `the server answers ${response.status}`, response.status);
  return body;
}

export const get = (path, parameters = {}, signal = undefined) =>
  answer(fetch(`/api/${path}${query(parameters)}`, { signal }));

export const post = (path, body = {}, signal = undefined) =>
  answer(
    fetch(`/api/${path}`, {
      method: "POST",
      signal,
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    }),
  );

/** Send a file. */
export const upload = (path, file) =>
  answer(fetch(`/api/${path}`, { method: "POST", headers: { "content-type": "application/octet-stream" }, body: file }));

/** What the workspace holds; pictures that are asked for later are of this state. */
export async function overview() {
  const answered = await get("overview");
  ({ version } = answered);
  return answered;
}

/** Path of something of an image: item, prepare, or one of the pictures. */
export const path = (kind, { dump, row }) => `${kind}/${encodeURIComponent(dump)}/${row}`;

/** Address of a picture of an image: thumb, thumbmask, image, mask, margins, labels. */
export const picture = (kind, image) => `/api/${path(kind, image)}${query({ v: version })}`;
