// STEGO's own question: where else is what lies here? Heat on the image, its neighbours, the corpus.

import * as api from "./api.js";
import { $, el, stem, tell } from "./dom.js";
import { overlay } from "./gallery.js";
import { paintHeat, unpacked } from "./paint.js";
import { link } from "./route.js";
import { VOID, nameOf, on, store } from "./store.js";

let asked = null; // the question on the page: {item, point, abort}

export function start() {
  on("index", () => {
    if (asked?.waits) tell(() => matches(asked));
  });
}

/** Nothing is asked any more. */
export function clear() {
  asked?.abort.abort();
  asked = null;
  $("#answers").hidden = true;
  $("#viewer").classList.remove("asked");
}

/** Ask for a pixel's correspondences; `heated` is called with the heat of its own image. */
export async function ask(item, point, heated) {
  const same = asked && asked.item === item && asked.point.join() === point.join();
  if (same) return;
  clear();
  const question = { item, point, abort: new AbortController(), waits: false };
  asked = question;
  $("#answers").hidden = false;
  $("#viewer").classList.add("asked");
  $("#asked").textContent = `Correspondences of (${point[1]}, ${point[0]})`;
  for (const list of [$("#neighbours"), $("#matches")]) list.replaceChildren(waiting("…"));
  const heat = await request("heat", question);
  if (asked !== question) return;
  heated(unpacked(heat));
  describe(heat);
  await Promise.all([tell(() => neighbours(question)), tell(() => matches(question))]);
}

function describe({ cluster }) {
  const name = cluster == null ? null : nameOf(store.shown[cluster] ?? VOID);
  if (name) $("#asked").textContent += ` · ${name}`;
}

function request(path, { item, point, abort }) {
  const [y, x] = point;
  return api.get(path, { dump: item.dump, row: item.row, y, x }, abort.signal);
}

const waiting = (text) => el("li", { class: "waiting" }, text);

async function neighbours(question) {
  const { items } = await request("neighbours", question);
  if (asked !== question) return;
  const tiles = items.map((each) => {
    const heat = el("canvas", { class: "heat" });
    paintHeat(heat, unpacked(each.heat));
    return found(each, heat, each.similarity, null);
  });
  $("#neighbours").replaceChildren(...(tiles.length ? tiles : [waiting("This image has no neighbours here.")]));
}

async function matches(question) {
  const { index } = store;
  question.waits = index?.state !== "ready";
  if (question.waits) {
    $("#matches").replaceChildren(waiting(index?.sentence ?? "…"));
    return;
  }
  const { items } = await request("matches", question);
  if (asked !== question) return;
  const tiles = items.map((each) => {
    const mask = el("canvas", { class: "mask", data: { dump: each.dump, row: each.row } });
    tell(() => overlay(mask));
    const [top, left, bottom, right] = each.box;
    const patch = el("span", {
      class: "patch",
      style: {
        top: `${(100 * top) / each.height}%`,
        left: `${(100 * left) / each.width}%`,
        height: `${(100 * (bottom - top)) / each.height}%`,
        width: `${(100 * (right - left)) / each.width}%`,
      },
    });
    return found(each, mask, each.similarity, [each.y, each.x], patch);
  });
  $("#matches").replaceChildren(...(tiles.length ? tiles : [waiting("Nothing else is like it.")]));
}

function found(each, canvas, similarity, point, ...marks) {
  const shown = similarity == null ? "" : similarity.toFixed(2);
  const picture = el("img", {
    src: api.picture("thumb", each.dump, each.row),
    alt: `${each.path}${shown && `, similarity ${shown}`}`,
    loading: "lazy",
  });
  const href = link({ view: "image", dump: each.dump, row: each.row, point });
  const box = el("div", { class: "layers", style: { "--ratio": each.width / each.height } }, picture, canvas, ...marks);
  const caption = el("span", { class: "caption" }, el("span", { class: "name" }, stem(each.path)), el("b", {}, shown));
  return el("li", {}, el("a", { href, title: each.path }, box, caption));
}
