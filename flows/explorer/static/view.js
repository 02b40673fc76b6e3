// One image: mask, labels, margins and heat over it, what lies under the pointer, the clicked point.

import * as api from "./api.js";
import { $, debounce, percent, stem, tell, toast, toIndex } from "./dom.js";
import { showShares } from "./classes.js";
import { ask, clear as forget } from "./correspondence.js";
import { beside } from "./gallery.js";
import { cosine, greys, paintHeat, paintLabels, paintMargins, paintMask, sharesOf, hue } from "./paint.js";
import { go, parsed } from "./route.js";
import { fitted, moved } from "./zoom.js";
import { VOID, channels, kept, nameOf, on, store, toggleMask } from "./store.js";

const STEPS = 40; // a key moves the point by so small a part of the image
const view = { key: null, item: null, ids: null, margins: null, labels: null, heat: null, point: null };
let taken = () => false; // whether a chosen pixel is for somebody else
let opened = () => {};
const layers = { margins: false, labels: false, heat: true };
let stage;

export function start() {
  stage = $("#stage");
  stage.addEventListener("click", (event) => moved() || choose(pixel(event)));
  stage.addEventListener("pointermove", (event) => read(pixel(event)));
  stage.addEventListener("pointerleave", () => read(null));
  stage.addEventListener("keydown", steered);
  new ResizeObserver(fit).observe($("#frame"));
  for (const button of document.querySelectorAll("#layers button"))
    button.addEventListener("click", () => toggle(button.dataset.layer));
  $("#before").addEventListener("click", () => step(-1));
  $("#after").addEventListener("click", () => step(1));
  on("classes", painted);
  on("highlight", () => view.ids && paintMask($("#mask"), view.ids));
  on("opacity", pressed);
}

/** Call this with the image and the pixel that is chosen; true: it needs no correspondences. */
export function onChoose(listener) {
  taken = listener;
}

/** Call this with each image that is opened. */
export function onOpen(listener) {
  opened = listener;
}

const teaching = () => document.body.classList.contains("teaching");

/** The image in view, or null. */
export const current = () => (view.key ? view.item : null);

/** Show an image, and where its point's like is. */
export async function show(route) {
  const key = `${route.dump}/${route.row}/${store.overview.version}`; // new masks open it anew
  if (view.key !== key) await open(route, key);
  if (view.key === key && view.item) await pointed(route.point);
}

/** Nothing of an image is in view any more. */
export function leave() {
  view.key = null;
  opened(null);
  showShares(null);
  forget();
}

async function open(route, key) {
  Object.assign(view, { key, item: null, ids: null, margins: null, labels: null, heat: null, point: null });
  forget();
  read(null);
  const { dump, row } = route;
  const item = await api.get(api.path("item", route));
  if (view.key !== key) return;
  const photo = $("#photo");
  photo.alt = `${item.path}, ${item.width}×${item.height}`;
  const ended = new Promise((end) => (photo.onload = photo.onerror = end));
  photo.src = api.picture("image", route);
  view.item = item;
  opened(item);
  $("#title").textContent = item.path;
  $("#title").title = `${dump}, row ${row}`;
  const facts = [dump, `${item.width}×${item.height}`];
  if (item.doubt != null) {
    const margin = `margin ${item.margin.toFixed(2)}`;
    facts.push(`doubt ${percent(item.doubt)}`, margin, `${percent(item.doubtful)} doubtful`);
  }
  $("#facts").textContent = facts.join(" · ");
  document.title = `${stem(item.path)} · stego explore`;
  for (const name of ["mask", "margins", "labels", "heat"]) $(`#${name}`).hidden = true;
  fit();
  const ids = await greys(api.picture("mask", route));
  if (view.key !== key) return;
  view.ids = ids;
  if ((await ended).type === "error" && view.key === key) toast(`${item.path} cannot be shown`, "error");
  painted();
  api.get(api.path("prepare", route)).catch(() => null); // a click will tell what is wrong
  await extras();
}

/** Margins and labels, where they are switched on. */
async function extras() {
  const { key, item } = view;
  for (const name of ["margins", "labels"]) {
    if (!layers[name] || view[name] || (name === "labels" && !item.labelled)) continue;
    const picture = await greys(api.picture(name, item));
    if (view.key !== key) return;
    view[name] = picture;
  }
  painted();
}

function painted() {
  if (!view.ids) return;
  paintMask($("#mask"), view.ids);
  if (view.margins) paintMargins($("#margins"), view.margins);
  if (view.labels) paintLabels($("#labels"), view.labels, labelColours());
  if (view.heat) paintHeat($("#heat"), view.heat);
  showShares(sharesOf(view.ids));
  pressed();
}

/** A label has the colour of the class of its name, else one of its own. */
function labelColours() {
  const own = new Map(kept().map((each) => [each.name.toLowerCase(), channels(each.colour)]));
  return labelNames().map((name, at) => own.get(name.toLowerCase()) ?? hue(at));
}

/** Names of the true classes of the image's dump. */
function labelNames() {
  return store.overview.dumps.find((dump) => dump.name === view.item.dump)?.taxonomy ?? [];
}

function pressed() {
  const item = view.item ?? {};
  const can = { mask: true, heat: Boolean(view.heat), margins: true, labels: Boolean(item.labelled) };
  const state = { ...layers, mask: store.mask && !heated() };
  for (const button of document.querySelectorAll("#layers button")) {
    const name = button.dataset.layer;
    button.setAttribute("aria-pressed", String(state[name] && can[name]));
    button.disabled = !can[name];
    const canvas = $(`#${name}`);
    canvas.hidden = !(state[name] && can[name] && (name === "mask" ? view.ids : view[name]));
  }
  $("#marker").hidden = !view.point;
}

/** Heat lies on the image alone: colours of classes beneath would be read as heat. */
const heated = () => layers.heat && Boolean(view.heat);

export function toggle(name) {
  if (!view.item || $(`#layers [data-layer=${name}]`).disabled) return;
  if (name === "mask" && heated()) {
    layers.heat = false;
    return store.mask ? painted() : toggleMask();
  }
  if (name === "mask") return toggleMask();
  layers[name] = !layers[name];
  tell(extras);
}

/** The frame's largest box of the image's shape. */
function fit() {
  if (!view.item) return;
  const frame = $("#frame").getBoundingClientRect();
  const scale = Math.min(frame.width / view.item.width, frame.height / view.item.height);
  stage.style.width = `${Math.floor(view.item.width * scale)}px`;
  stage.style.height = `${Math.floor(view.item.height * scale)}px`;
  fitted();
}

function pixel(event) {
  if (!view.item) return null;
  const box = stage.getBoundingClientRect();
  const { height, width } = view.item;
  return [
    toIndex(((event.clientY - box.top) / box.height) * height, height),
    toIndex(((event.clientX - box.left) / box.width) * width, width),
  ];
}

/** Value of a picture at a pixel of the image, whatever the picture's size. */
function at(picture, [y, x], { height, width }) {
  const row = Math.floor(((y + 0.5) * picture.height) / height);
  return picture.values[row * picture.width + Math.floor(((x + 0.5) * picture.width) / width)];
}

/** Tell what lies under the pointer. */
function read(point) {
  const { item, ids } = view;
  const parts = [];
  if (point && ids) {
    const id = at(ids, point, item);
    parts.push(`x ${point[1]}, y ${point[0]}`, id === VOID ? "no data" : nameOf(store.classOf[id]));
    if (view.margins && id !== VOID) parts.push(`margin ${(at(view.margins, point, item) / 255).toFixed(2)}`);
    const label = view.labels && at(view.labels, point, item);
    if (view.labels) parts.push(`label ${label === VOID ? "void" : (labelNames()[label] ?? label)}`);
    if (view.heat && layers.heat) parts.push(`similarity ${cosine(at(view.heat, point, item)).toFixed(2)}`);
  }
  const hint = teaching() ? "Click a pixel that shows the class." : "Click a pixel to see where its like is.";
  $("#readout").textContent = parts.join("   ") || hint;
}

function choose(point) {
  if (point && !taken(view.item, point)) go({ view: "image", dump: view.item.dump, row: view.item.row, point }, Boolean(view.point));
}

const settle = debounce(350, choose);

function steered(event) {
  if (event.key === "Enter") return choose(view.point);
  const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (!move || !event.shiftKey || !view.item) return;
  event.preventDefault();
  event.stopPropagation();
  const { height, width } = view.item;
  const stride = Math.max(Math.round(Math.max(height, width) / STEPS), 1);
  const from = view.point ?? [Math.floor(height / 2), Math.floor(width / 2)];
  mark([toIndex(from[0] + stride * move[0], height), toIndex(from[1] + stride * move[1], width)]);
  if (!teaching()) settle(view.point); // there Enter chooses it
}

function mark(point) {
  view.point = point;
  const marker = $("#marker");
  marker.hidden = !point;
  if (!point) return;
  marker.style.top = `${(100 * (point[0] + 0.5)) / view.item.height}%`;
  marker.style.left = `${(100 * (point[1] + 0.5)) / view.item.width}%`;
}

async function pointed(point) {
  const { key, item } = view;
  mark(point);
  if (!point) {
    view.heat = null;
    forget();
    return painted();
  }
  if (point[0] >= item.height || point[1] >= item.width) {
    mark(null);
    return toast(`there is no pixel (${point[1]}, ${point[0]}) in ${item.path}`, "error");
  }
  const cluster = view.ids && at(view.ids, point, item);
  await ask(item, point, cluster, (heat) => {
    if (view.key !== key || view.point?.join() !== point.join()) return;
    view.heat = heat;
    layers.heat = true;
    painted();
  });
}

/** The image before or after this one in the gallery's order. */
export async function step(by) {
  const route = parsed();
  if (route.view !== "image") return;
  await tell(async () => {
    const next = await beside(route, by);
    if (next) go({ view: "image", dump: next.dump, row: next.row }, true);
    else toast(by > 0 ? "This is the last image." : "This is the first image.");
  });
}

/** From the point to the image, from the image to the gallery. */
export function back() {
  const { view: name, dump, row, point } = parsed();
  if (point) go({ view: "image", dump, row }, true);
  else if (name !== "gallery") go({ view: "gallery" });
}

