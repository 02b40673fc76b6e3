// STEGO's own question: where else is what lies here? Heat on the image, its neighbours, the corpus.

import * as api from "./api.js";
import { $, el, stem, tell } from "./dom.js";
import { middle } from "./codes.js";
import { maskOf, overlay, thumbnail } from "./gallery.js";
import { paintHeat, unpacked } from "./paint.js";
import { link } from "./route.js";
import { nameOf, on, store } from "./store.js";

export const MATCHES = []; // that are shown, best first
let current = null; // the question on the page: {item, point, abort}

export function start() {
  on("index", () => {
    if (current?.waits) tell(() => matches(current));
  });
}

/** Nothing is asked any more. */
export function clear() {
  current?.abort.abort();
  current = null;
  MATCHES.length = 0;
  $("#matches-teach").hidden = true;
  $("#answers").hidden = true;
  $("#viewer").classList.remove("asked");
}

/** Ask for a pixel's correspondences; `heated` is called with the heat of its own image. */
export async function ask(item, point, cluster, heated) {
  const same = current && current.item === item && current.point.join() === point.join();
  if (same) return;
  clear();
  const question = { item, point, abort: new AbortController(), waits: false };
  current = question;
  $("#answers").hidden = false;
  $("#viewer").classList.add("asked");
  $("#asked").textContent = `Correspondences of (${point[1]}, ${point[0]})`;
  for (const list of ["#neighbours", "#matches"]) answer(list, "comparing patches …");
  if (cluster !== null) $("#asked").textContent += ` · ${nameOf(store.classOf[cluster])}`;
  const heat = unpacked(await request("heat", question));
  if (current !== question) return;
  heated(heat);
  await Promise.all([tell(() => neighbours(question)), tell(() => matches(question))]);
}

function request(path, { item, point, abort }) {
  const y = (point[0] + 0.5) / item.height;
  const x = (point[1] + 0.5) / item.width;
  return api.get(path, { dump: item.dump, row: item.row, y, x }, abort.signal);
}

/** Show tiles in a list; a text where there are none. */
function answer(list, text, tiles = []) {
  $(list).replaceChildren(...(tiles.length ? tiles : [el("li", { class: "waiting" }, text)]));
}

async function neighbours(question) {
  const { items } = await request("neighbours", question);
  if (current !== question) return;
  const missing = "No table of neighbours: an imported head has none, else run `stego neighbors`.";
  if (!items) return answer("#neighbours", missing);
  const tiles = items.map((each) => {
    const heat = el("canvas", { class: "heat" });
    paintHeat(heat, unpacked(each.heat));
    return tile(each, heat);
  });
  answer("#neighbours", "This image has no neighbours here.", tiles);
}

async function matches(question) {
  const { index } = store;
  question.waits = !index?.searchable;
  if (question.waits) return answer("#matches", index?.sentence ?? "…");
  const { items } = await request("matches", question);
  if (current !== question) return;
  const tiles = items.map((each) => {
    const mask = maskOf(each);
    tell(() => overlay(mask));
    const box = { top: each.patch.y, left: each.patch.x, height: each.patch.height, width: each.patch.width };
    const sides = Object.entries(box).map(([side, share]) => [side, `${100 * share}%`]);
    const patch = el("span", { class: "patch", style: Object.fromEntries(sides) });
    return tile(each, mask, middle(each.patch, each), patch);
  });
  MATCHES.push(...items);
  $("#matches-teach").hidden = !items.length || !store.overview.editable;
  answer("#matches", "Nothing else is like it.", tiles);
}

function tile(image, canvas, point = null, ...marks) {
  const similarity = image.similarity.toFixed(2);
  const layers = thumbnail(image, `similarity ${similarity}`, canvas, ...marks);
  const href = link({ view: "image", dump: image.dump, row: image.row, point });
  const caption = el("span", { class: "caption" }, el("span", { class: "name" }, stem(image.path)), el("b", {}, similarity));
  return el("li", {}, el("a", { href, title: image.path }, layers, caption));
}
