// Starts the page: views by address, the top bar, the index's progress.

import * as api from "./api.js";
import * as classes from "./classes.js";
import * as codes from "./codes.js";
import * as correspondence from "./correspondence.js";
import * as exporting from "./export.js";
import * as folders from "./folders.js";
import * as gallery from "./gallery.js";
import * as home from "./home.js";
import * as loose from "./loose.js";
import * as keys from "./keys.js";
import * as merges from "./merges.js";
import * as teach from "./teach.js";
import * as view from "./view.js";
import * as zoom from "./zoom.js";
import { $, tell } from "./dom.js";
import { announce, go, link, onRoute } from "./route.js";
import { emit, on, reload, setOpacity, store } from "./store.js";

const LOOK_MS = 1500; // between looks at the index while it is made
const SECTIONS = { home: "#home", gallery: "#gallery", image: "#viewer", codes: "#codes" };

async function start() {
  theme();
  api.onRefused(() => $("#refused").open || $("#refused").showModal());
  $("#reload").addEventListener("click", () => location.reload());
  for (const part of [home, folders, loose, gallery, view, zoom, correspondence, classes, merges, codes, exporting, teach, keys]) part.start();
  $("#up").addEventListener("click", () => go({ view: "gallery" }));
  $("#opacity").addEventListener("input", (event) => setOpacity(event.target.value / 100));
  on("opacity", () => {
    const percentage = Math.round(100 * store.opacity);
    $("#opacity").value = percentage;
    $("#opacity-shown").textContent = store.mask ? `${percentage} %` : "off";
  });
  on("overview", top);
  onRoute((route) => tell(() => display(route)));
  setOpacity(store.opacity);
  home.onReady(async () => (await tell(reload)) && announce());
  await home.look();
  if (home.isReady()) await tell(reload);
  if (!location.hash) history.replaceState(null, "", home.isReady() ? "#/gallery" : "#/home");
  if (store.overview || !home.isReady()) announce();
  document.body.classList.add("ready");
  indexed();
}

function top() {
  const { workspace, backbone } = store.overview;
  const name = workspace.replace(/\/$/, "").split("/").pop();
  $("#workspace").textContent = name;
  $("#workspace").title = backbone ? `${workspace}, backbone ${backbone}` : workspace;
}

async function display(route) {
  if (!home.isReady() && route.view !== "home") return go({ view: "home" }, true);
  document.body.classList.toggle("bare", !home.isReady());
  for (const [name, selector] of Object.entries(SECTIONS)) $(selector).hidden = name !== route.view;
  document.body.dataset.view = route.view;
  for (const each of document.querySelectorAll("nav a")) {
    const name = each.dataset.view;
    each.href = link({ view: name });
    if (name === route.view) each.setAttribute("aria-current", "page");
    else each.removeAttribute("aria-current");
  }
  $("#scope").textContent = route.view === "image" ? "share of this image" : "share of all pixels";
  if (route.view !== "image") {
    view.leave();
    document.title = "stego explore";
  }
  if (route.view === "home") home.show();
  if (!store.overview) return;
  if (route.view === "gallery") await gallery.show(route.filters);
  if (route.view === "image") await view.show(route);
  if (route.view === "codes") await codes.show();
}

/** How far the index is; once it is ready, nothing more is asked. */
async function indexed() {
  const index = await api.get("index").catch(() => null);
  const pill = $("#index");
  pill.hidden = !index || index.state === "ready";
  if (index) {
    const before = store.index;
    store.index = index;
    pill.textContent = short(index);
    pill.title = index.sentence;
    pill.className = `pill ${index.state}`;
    if (JSON.stringify(index) !== JSON.stringify(before)) emit("index");
  }
  if (index?.state !== "ready") setTimeout(indexed, LOOK_MS);
}

function short({ state, share }) {
  if (state === "building") return share ? `index ${Math.round(100 * share)} %` : "index …";
  return state === "none" ? "no index" : `index ${state}`;
}

/** Dark or light as the system says, or as chosen here. */
function theme() {
  const kept = localStorage.getItem("stego-theme");
  if (kept) document.documentElement.dataset.theme = kept;
  $("#theme").addEventListener("click", () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = document.documentElement.dataset.theme || (dark ? "dark" : "light");
    const next = now === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    localStorage.setItem("stego-theme", next);
    emit("classes");
  });
}

if (location.search) history.replaceState(null, "", `${location.pathname}${location.hash}`);
start();
