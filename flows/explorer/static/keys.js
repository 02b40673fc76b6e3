// Keyboard shortcuts, and the overlay that lists them.

import { $, el } from "./dom.js";
import { pinAt, undo } from "./classes.js";
import { parsed } from "./route.js";
import { pin, setOpacity, store, toggleMask } from "./store.js";
import * as teach from "./teach.js";
import { back, step, toggle } from "./view.js";
import { fitted } from "./zoom.js";

const OPACITIES = [0.25, 0.55, 0.8, 1];
const SHOWN = [
  ["← →", "previous, next image"],
  ["1 … 9", "keep a class highlighted; again: let go"],
  ["m", "mask"],
  ["h", "heat: correspondences of the clicked pixel"],
  ["c", "doubt: where the mask is unsure"],
  ["l", "true labels"],
  ["t", "teach: clicks say what is there; x: the other class, 1 … 9: which class"],
  ["Enter", "choose the point, with the image focused"],
  ["o", "opacity: 25, 55, 80, 100 %"],
  ["wheel, drag, z", "zoom, move, see the whole image"],
  ["Shift + arrows", "move the point, with the image focused"],
  ["u, Ctrl+Z", "undo the last change of the classes"],
  ["/", "filters"],
  ["Esc", "back: from the point to the image, to the gallery"],
  ["?", "this list"],
];

const ACTIONS = {
  ArrowLeft: () => step(-1),
  ArrowRight: () => step(1),
  m: () => (parsed().view === "image" ? toggle("mask") : toggleMask()),
  h: () => toggle("heat"),
  c: () => toggle("margins"),
  l: () => toggle("labels"),
  o: () => setOpacity(OPACITIES.find((each) => each > store.opacity + 0.001) ?? OPACITIES[0]),
  t: () => parsed().view === "image" && teach.toggle(),
  u: undo,
  z: fitted,
  "?": () => $("#help").showModal(),
  "/": filter,
  Escape: () => (store.pinned !== null ? pin(store.pinned) : back()),
};

export function start() {
  $("#keys").replaceChildren(
    ...SHOWN.flatMap(([keys, what]) => [el("dt", {}, el("kbd", {}, keys)), el("dd", {}, what)]),
  );
  $("#help-open").addEventListener("click", ACTIONS["?"]);
  document.addEventListener("keydown", pressed);
}

function filter() {
  if (parsed().view !== "gallery") back();
  $("#filter-class").focus();
}

function pressed(event) {
  const typing = event.target.closest("input:not([type=range], [type=checkbox]), textarea");
  if (typing || $("dialog[open]")) return;
  const control = event.ctrlKey || event.metaKey;
  if (control && event.key.toLowerCase() === "z" && !event.shiftKey) {
    event.preventDefault();
    return undo();
  }
  if (control || event.altKey) return;
  const steers = event.target.closest("select, input[type=range]");
  if (steers && event.key !== "Escape") return;
  if (steers) return event.target.blur();
  const action = /^[1-9]$/.test(event.key) ? () => pinAt(Number(event.key) - 1) : ACTIONS[event.key];
  if (!action || (event.shiftKey && event.key.startsWith("Arrow"))) return;
  event.preventDefault();
  action();
}
