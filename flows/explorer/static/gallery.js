// The gallery: images of the workspace by filter, loaded as they come into sight.

import * as api from "./api.js";
import { $, el, number, percent, stem, tell } from "./dom.js";
import { greys, paintMask } from "./paint.js";
import { go, link, parsed } from "./route.js";
import { kept, on, store } from "./store.js";

const PAGE = 60;
const LOCATED_AT_ONCE = 200;
const listOf = (key) => ({ key, items: [], loading: null, ended: false });
let list = listOf(null); // what the gallery shows; other filters begin another one
let grid;

export function start() {
  grid = $("#grid");
  const form = $("#filters");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", () => {
    go({ view: "gallery", filters: Object.fromEntries(new FormData(form)) });
  });
  const more = new IntersectionObserver(([entry]) => entry.isIntersecting && tell(loadMore), {
    root: $("#gallery"),
    rootMargin: "600px",
  });
  more.observe($("#more"));
  on("classes", offerClasses);
  on("classes", repaint);
  on("highlight", repaint);
  on("overview", offerDumps);
}

function offerDumps() {
  const select = $("#filter-dump");
  const names = store.overview.dumps.map((dump) => [dump.name, `${dump.name} (${number(dump.images)})`]);
  fill(select, [["", "all dumps"], ...names], parsed().filters.dump);
  list = listOf(null);
}

function offerClasses() {
  const names = kept().map((each) => [String(each.id), each.name]);
  fill($("#filter-class"), [["", "any class"], ...names], parsed().filters.class);
}

function fill(select, options, value) {
  select.replaceChildren(...options.map(([id, text]) => el("option", { value: id }, text)));
  select.value = value;
}

/** Show the images of these filters. */
export async function show(filters) {
  for (const [name, value] of Object.entries(filters)) {
    const control = $(`#filters [name=${name}]`);
    control.value = value;
    if (control.value !== value) control.value = ""; // no such dump or class here
  }
  await listed(filters);
}

async function listed(filters) {
  const key = JSON.stringify(filters);
  if (list.key === key) return;
  list = listOf(key);
  grid.replaceChildren();
  $("#count").textContent = "…";
  await loadMore();
}

function loadMore(limit = PAGE) {
  const asked = list;
  if (asked.key === null || asked.ended) return Promise.resolve();
  asked.loading ??= load(asked, limit).finally(() => (asked.loading = null));
  return asked.loading;
}

async function load(asked, limit) {
  const { dump, class: cls, labelled, order } = JSON.parse(asked.key);
  const offset = asked.items.length;
  const page = await api.get("page", { dump, cls, labelled, order, offset, limit });
  if (list !== asked) return; // other filters meanwhile
  list.items.push(...page.items);
  list.ended = !page.items.length || list.items.length >= page.total;
  grid.append(...page.items.map(tile));
  $("#count").textContent = `${number(page.total)} ${page.total === 1 ? "image" : "images"}`;
  $("#empty").hidden = page.total > 0;
  $("#more").hidden = list.ended;
}

const seen = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) if (entry.isIntersecting) tell(() => overlay(entry.target));
  },
  { rootMargin: "300px" },
);

/** A canvas for an image's mask, still empty. */
export const maskOf = ({ dump, row }) => el("canvas", { class: "mask", data: { dump, row } });

/** A small picture of an image under a canvas and marks; `about` is said of it besides its path. */
export function thumbnail(image, about, canvas, ...marks) {
  const picture = el("img", {
    src: api.picture("thumb", image),
    alt: [image.path, about].filter(Boolean).join(", "),
    loading: "lazy",
    decoding: "async",
  });
  const style = { "--ratio": image.width / image.height };
  return el("div", { class: "layers", style }, picture, canvas, ...marks);
}

function tile(item) {
  const canvas = maskOf(item);
  seen.observe(canvas);
  const unsure = item.doubt == null ? "" : `doubt ${percent(item.doubt)}, ${percent(item.doubtful)} of its pixels are doubtful`;
  const caption = el(
    "figcaption",
    { title: `${item.dump}/${item.path}, ${item.width}×${item.height}` },
    el("span", { class: "name" }, stem(item.path)),
    item.labelled ? el("span", { class: "tag", title: "has labels" }, "L") : null,
    item.doubt == null ? null : el("span", { class: "doubt", title: unsure }, percent(item.doubt)),
  );
  const href = link({ view: "image", dump: item.dump, row: item.row });
  return el("a", { class: "tile", href, data: { row: item.row } },
    el("figure", {}, thumbnail(item, unsure, canvas), caption)); // prettier-ignore
}

/** Paint a mask over a picture of the same size, if it is not there yet. */
export async function overlay(canvas) {
  seen.unobserve(canvas);
  canvas.ids = await greys(api.picture("thumbmask", canvas.dataset));
  canvas.classList.add("painted");
  paintMask(canvas, canvas.ids);
}

function repaint() {
  for (const canvas of document.querySelectorAll("canvas.mask.painted")) paintMask(canvas, canvas.ids);
}

/** The image `step` places after one in the filtered list; null at its ends. */
export async function beside(route, step) {
  await listed(route.filters);
  const position = () =>
    list.items.findIndex((each) => each.dump === route.dump && each.row === route.row);
  while (!list.ended && (position() < 0 || position() + step >= list.items.length))
    await loadMore(LOCATED_AT_ONCE);
  const at = position();
  return at < 0 ? null : (list.items[at + step] ?? null);
}
