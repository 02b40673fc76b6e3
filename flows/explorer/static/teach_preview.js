// What points would change: on the open image, and on patches of all images.

import { $, el, percent, stem } from "./dom.js";
import { thumbnail } from "./gallery.js";
import { link } from "./route.js";
import { VOID, channels, store } from "./store.js";

const CELL = 8; // pixels of the canvas to a patch
const FILL = 205; // opacity of a patch of another class
const EDGES = [[10, 12, 16, 255], [255, 255, 255, 255]]; // the border's two sides
let preview = null;
let moment = "after";
let question = null; // whose region is drawn instead

export const last = () => preview;

/** Nothing is previewed. */
export function clear() {
  preview = null;
  $("#taught").hidden = true;
  $("#moments").hidden = true;
  $("#teach-changes").hidden = true;
  $("#points").replaceChildren();
}

/** Show what the server answered; `some`: whether there are points. */
export function show(answered, some) {
  preview = answered;
  if (answered.image) preview.image = { ...answered.image, before: bytes(answered.image.before), after: bytes(answered.image.after) };
  $("#moments").hidden = !answered.image || !some;
  $("#teach-changes").hidden = !answered.changed;
  $("#teach-certain").replaceChildren(...answered.certain.map(example));
  $("#teach-uncertain").replaceChildren(...answered.uncertain.map(example));
  draw();
}

/** Draw the region of a question instead of borders; null ends that. */
export function ask(asked) {
  question = asked && { ...asked, region: { ...asked.region, values: bytes(asked.region.values) } };
  $("#moments").hidden = true;
  draw();
}

/** Draw the border of now ("before"), or the one with the points ("after"). */
export function choose(which) {
  moment = which;
  draw();
}

const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

function draw() {
  for (const button of document.querySelectorAll("#moments button"))
    button.setAttribute("aria-pressed", String(button.dataset.moment === moment));
  const canvas = $("#taught");
  canvas.hidden = !(question || preview?.image);
  if (canvas.hidden) return;
  const { width, height, values, before = values } = question?.region ?? preview.image;
  const ids = values ?? preview.image[$("#moments").hidden ? "after" : moment];
  canvas.width = width * CELL;
  canvas.height = height * CELL;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(canvas.width, canvas.height);
  const put = (y, x, rgba) => picture.data.set(rgba, 4 * (y * canvas.width + x));
  for (let row = 0; row < height; row++)
    for (let column = 0; column < width; column++) {
      const at = row * width + column;
      if (ids[at] !== before[at]) fill(put, row, column, colours(ids[at]));
      if (column + 1 < width && ids[at] !== ids[at + 1]) side(put, row, column, true);
      if (row + 1 < height && ids[at] !== ids[at + width]) side(put, row, column, false);
    }
  context.putImageData(picture, 0, 0);
}

function fill(put, row, column, rgba) {
  for (let y = row * CELL; y < (row + 1) * CELL; y++)
    for (let x = column * CELL; x < (column + 1) * CELL; x++) put(y, x, rgba);
}

/** A line to the right of a patch, or below it: dark on this side, light on the other. */
function side(put, row, column, right) {
  const edge = (right ? column + 1 : row + 1) * CELL - 1;
  const from = (right ? row : column) * CELL;
  for (let along = from; along < from + CELL; along++)
    for (const [step, rgba] of EDGES.entries()) {
      if (right) put(along, edge + step, rgba);
      else put(edge + step, along, rgba);
    }
}

const classes = () => question?.classes ?? preview?.classes ?? store.classes;

function colours(id) {
  return id === VOID ? [0, 0, 0, FILL] : [...channels(classes()[id].colour), FILL];
}

/** The colour of a class by its name; grey of one that nobody has seen. */
export function colourOf(name) {
  const found = classes().find((each) => each.name.toLowerCase() === name.toLowerCase());
  return (found && classes()[found.shown ?? found.id].colour) ?? "#888888";
}

const nameOf = (id) => (id === VOID ? "none" : classes()[id].name);

/** A patch that would change, in its image. */
function example(item) {
  const box = { top: item.patch.y, left: item.patch.x, height: item.patch.height, width: item.patch.width };
  const sides = Object.entries(box).map(([name, share]) => [name, `${100 * share}%`]);
  const patch = el("span", { class: "patch", style: Object.fromEntries(sides) });
  const text = `${nameOf(item.before)} → ${nameOf(item.after)}`;
  const about = `${text}, margin ${item.margin.toFixed(2)}`;
  const href = link({ view: "image", dump: item.dump, row: item.row, point: null });
  const picture = thumbnail(item, about, patch);
  const [y, x] = [item.patch.y + item.patch.height / 2, item.patch.x + item.patch.width / 2];
  const near = { "transform-origin": `${100 * x}% ${100 * y}%` };
  picture.append(el("div", { class: "near", style: near }, ...picture.childNodes));
  return el("li", {}, el("a", { href, title: `${item.path}: ${about}` }, picture, el("span", { class: "caption" }, text))); // prettier-ignore
}

/** Mark the points of an image on it. */
export function marks(points, item) {
  if (question) {
    const here = item?.dump === question.dump && item.row === question.row;
    return $("#points").replaceChildren(...(here ? [pin({ ...question, name: "?" }, item, question.name)] : []));
  }
  const own = item ? points.filter(({ dump, row }) => dump === item.dump && row === item.row) : [];
  $("#points").replaceChildren(...own.map((each) => pin(each, item, each.name)));
}

function pin({ x, y, name }, item, cls) {
  const top = `${(100 * (y + 0.5)) / item.height}%`;
  const left = `${(100 * (x + 0.5)) / item.width}%`;
  return el("span", { class: "pin", style: { "--colour": colourOf(cls), top, left } }, el("b", {}, name));
}
