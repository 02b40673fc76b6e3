// What every part of the page shares: the overview, the classes as shown, what is highlighted.

import * as api from "./api.js";
import { toast } from "./dom.js";

export const VOID = 255;
const IGNORED_COLOUR = [0, 0, 0];
const events = new EventTarget();

export const store = {
  overview: null,
  classes: [], // {id, name, colour, merged_into, ignored, shown, share}
  classOf: new Uint8Array(256).fill(VOID), // stored cluster id → id of the class that it counts as
  rgb: [], // colour of each stored id's class, [r, g, b]
  highlighted: null, // class id
  pinned: null, // class id that stays highlighted
  opacity: 0.55,
  mask: true,
};

export const on = (name, listener) => events.addEventListener(name, () => listener());
export const emit = (name) => events.dispatchEvent(new Event(name));

/** Read what the workspace holds, anew. */
export async function reload() {
  adopt(await api.overview());
  emit("overview");
}

/** Take over what the server has now; the answer to a change leaves out what no change concerns. */
function adopt(overview) {
  store.overview = { ...store.overview, ...overview };
  store.classes = overview.classes;
  store.classOf.fill(VOID);
  store.rgb = Array(256).fill(IGNORED_COLOUR);
  for (const { id, shown } of store.classes) {
    if (shown === null) continue;
    store.classOf[id] = shown;
    store.rgb[id] = channels(store.classes[shown].colour);
  }
  for (const name of ["highlighted", "pinned"])
    if (store.classOf[store[name] ?? VOID] !== store[name]) store[name] = null;
  emit("classes");
}

/** Classes that are shown, ids ascending. */
export const kept = () => store.classes.filter((each) => store.classOf[each.id] === each.id);

export function nameOf(id) {
  return id === VOID || !store.classes[id] ? "ignored" : store.classes[id].name;
}

export function channels(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

/** Highlight a class while the pointer is on it; null ends it. */
export function highlight(id) {
  const highlighted = id ?? store.pinned;
  if (highlighted === store.highlighted) return;
  store.highlighted = highlighted;
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

export function toggleMask() {
  store.mask = !store.mask;
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
