// What every part of the page shares: the overview, the classes as shown, what is highlighted.

import * as api from "./api.js";
import { toast } from "./dom.js";

export const VOID = 255;
const IGNORED_COLOUR = [0, 0, 0];
const events = new EventTarget();

export const store = {
  overview: null,
  classes: [], // {id, name, colour, merged_into, ignored, share}
  shown: new Uint8Array(256).fill(VOID), // stored cluster id → shown class id
  rgb: [], // shown colour of each stored id, [r, g, b]
  highlighted: null, // class id
  pinned: null, // class id that stays highlighted
  opacity: 0.55,
  mask: true,
};

export const on = (name, listener) => events.addEventListener(name, (event) => listener(event.detail));
export const emit = (name, detail) => events.dispatchEvent(new CustomEvent(name, { detail }));

/** Read what the workspace holds, anew. */
export async function reload() {
  take(await api.overview());
}

function take(overview) {
  store.overview = overview;
  adopt(overview);
  emit("overview");
}

/** Take over classes as the server has them: {classes, stamp, revision, note, undo}. */
export function adopt(named) {
  const shares = new Map(store.classes.map((each) => [each.id, each.share]));
  Object.assign(store.overview, {
    stamp: named.stamp,
    revision: named.revision,
    note: named.note,
    undo: named.undo,
  });
  store.classes = named.classes.map((each) => ({ share: shares.get(each.id), ...each }));
  const ids = store.classes.map((each) => root(each.id));
  store.shown.fill(VOID);
  store.rgb = Array.from({ length: 256 }, () => IGNORED_COLOUR);
  ids.forEach((id, number) => {
    if (store.classes[id].ignored) return;
    store.shown[number] = id;
    store.rgb[number] = channels(store.classes[id].colour);
  });
  for (const name of ["highlighted", "pinned"])
    if (store.shown[store[name] ?? VOID] !== store[name]) store[name] = null;
  emit("classes");
}

/** The class that one is merged into in the end. */
export function root(id) {
  let last = id;
  for (let step = 0; step < 256 && store.classes[last].merged_into != null; step++)
    last = store.classes[last].merged_into;
  return last;
}

/** Classes that are shown, ids ascending. */
export const kept = () => store.classes.filter((each) => store.shown[each.id] === each.id);

export function nameOf(id) {
  return id === VOID || !store.classes[id] ? "ignored" : store.classes[id].name;
}

export function channels(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

/** Highlight a class while the pointer is on it; null ends it. */
export function highlight(id) {
  const wanted = id ?? store.pinned;
  if (wanted === store.highlighted) return;
  store.highlighted = wanted;
  emit("highlight");
}

/** Keep a class highlighted, or let go of it. */
export function pin(id) {
  store.pinned = store.pinned === id ? null : id;
  store.highlighted = store.pinned;
  emit("highlight");
}

export function setOpacity(value) {
  store.opacity = Math.min(Math.max(value, 0), 1);
  document.documentElement.style.setProperty("--mask-opacity", store.mask ? store.opacity : 0);
  emit("opacity");
}

export function toggleMask(shown = !store.mask) {
  store.mask = shown;
  setOpacity(store.opacity);
}

/** Change classes on the server; where somebody else did meanwhile, say so and show theirs. */
export async function change(path, body = {}) {
  try {
    adopt(await api.post(path, { stamp: store.overview.stamp, ...body }));
    return true;
  } catch (error) {
    toast(error.message, "error");
    if (error.status === 409) await reload();
    return false;
  }
}
