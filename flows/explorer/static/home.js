// Point at images: what lies there, and the run on it.

import * as api from "./api.js";
import { $, debounce, el, number } from "./dom.js";
import * as retrain from "./retrain.js";
import { showRun } from "./run.js";

const LOOK_MS = 1000; // between looks at a run under way
const IDLE_MS = 4000; // between looks while somebody else writes the workspace
const CHECK_MS = 350;
const ESTIMATE_MS = 700; // between looks at a trial
const MEGA = 1e6;
const SECRET = /:\/\/[^/@:]*:(?!\d+(?:\/|$))[^@]*@|[?&](sig|signature|x-amz-signature|token)=/i; // as in tasks/storage/storage.py
let state = null; // what /api/home answered last
let checked = null; // aborts the check under way
let timer = null;
let ready = () => {};
let followed = () => {};

export const isReady = () => Boolean(state?.ready);

/** Call this when there are masks to show, or more of them. */
export function onReady(listener) {
  ready = listener;
}

/** Call this with the run as it is, whenever it was looked at. */
export function onRun(listener) {
  followed = listener;
}

export function start() {
  const form = $("#home-form");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    act(() => api.post("home/start", request()));
  });
  const checkSoon = debounce(CHECK_MS, check);
  form.addEventListener("input", (event) => {
    clearSecret(event.target);
    looking();
    checkSoon();
  });
  $("#home-count").addEventListener("focus", () => ($("#home-classes [value=number]").checked = true));
  retrain.start((asked) => act(() => api.post("home/start", asked)));
  $("#resume").addEventListener("click", goOn);
  $("#run-again").addEventListener("click", goOn);
  $("#run-stop").addEventListener("click", () => act(() => api.post("home/stop")));
}

const goOn = () => act(() => api.post("home/resume"));

/** See how things are, now and, while something goes on, again. */
export async function look() {
  clearTimeout(timer);
  try {
    take(await api.get("home"));
    $("#home-error").dataset.away = "";
  } catch (error) {
    refuse(error.message);
    timer = setTimeout(look, IDLE_MS);
  }
}

/** Show the view: the form as it was left. */
export function show() {
  document.title = isReady() ? "Add images · stego explore" : "stego explore";
  if (state) render();
}

/** Do what a button says; what goes wrong stands below the form. */
async function act(work) {
  refuse("");
  $("#home-secret").hidden = true;
  $("#home-start").disabled = true;
  try {
    take(await work());
    $("#run").scrollIntoView({ block: "nearest" });
  } catch (error) {
    refuse(error.message);
    $("#home-error").scrollIntoView({ block: "nearest" });
  } finally {
    enable();
  }
}

function take(answered) {
  const before = state;
  state = answered;
  if (!before) prepare();
  render();
  const ended = before && underWay(before) && !underWay(state);
  if (ended && state.run.state === "done") empty();
  if (state.ready && before && (!before.ready || ended)) ready();
  followed(state.run);
  clearTimeout(timer);
  if (underWay(state)) timer = setTimeout(look, LOOK_MS);
  else if (state.writer) timer = setTimeout(look, IDLE_MS);
}

const underWay = ({ run }) => run.state === "running" || run.state === "stopping";

/** Once: the backbones on offer, and the form as it was when something was begun. */
function prepare() {
  const another = { name: null, title: "Another one", text: "any vision transformer of timm, by its name" };
  $("#home-backbones").append(...[...state.backbones, another].map(backboneChoice));
  const asked = state.request;
  if (!asked?.images) return;
  for (const name of ["images", "labels", "taxonomy", "dump"]) $(`#home-form [name=${name}]`).value = asked[name];
  if (typeof asked.classes === "number") $("#home-count").value = asked.classes;
  const how = typeof asked.classes === "number" ? "number" : (asked.classes ?? "");
  $(`#home-classes [name=how][value="${how}"]`).checked = true;
  const known = state.backbones.findIndex(({ name, weights }) => name === asked.backbone && weights === asked.weights);
  const radios = document.querySelectorAll("#home-backbones [name=which]");
  radios[known < 0 ? radios.length - 1 : known].checked = true;
  if (known < 0) [$("#home-backbone").value, $("#home-weights").value] = [asked.backbone, asked.weights];
  check();
}

/** What was asked for is done: the form is for other images. */
function empty() {
  for (const name of ["images", "labels", "taxonomy", "dump"]) $(`#home-form [name=${name}]`).value = "";
  $("#found").replaceChildren();
  $("#estimate").replaceChildren();
}

function backboneChoice({ name, title, text }, at) {
  const radio = el("input", { type: "radio", name: "which", value: String(at), checked: at === 0 });
  if (name !== null)
    return el("label", { class: "choice" }, radio, el("span", {}, el("b", {}, title), el("small", {}, text)));
  const choose = () => (radio.checked = true);
  const typed = (id, label, placeholder) =>
    el("input", { type: "text", id, maxLength: 2000, spellcheck: false, placeholder, "aria-label": label, onfocus: choose });
  return el("div", { class: "choice" }, radio,
    el("div", {}, el("b", {}, title), el("small", {}, text),
      typed("home-backbone", "Name of the backbone", "vit_base_patch16_224.dino"),
      typed("home-weights", "Its weights", "a file of weights; empty: downloaded"))); // prettier-ignore
}

/** What the form asks for. */
function request() {
  const form = new FormData($("#home-form"));
  const asked = { kind: isReady() ? "backfill" : "run" };
  for (const name of ["images", "labels", "taxonomy", "dump"]) asked[name] = form.get(name).trim();
  if (isReady()) return asked;
  const how = form.get("how");
  asked.classes = how === "number" ? Number(form.get("count")) : how || null;
  const known = state.backbones[Number(form.get("which"))];
  asked.backbone = known ? known.name : $("#home-backbone").value.trim();
  asked.weights = known ? known.weights : $("#home-weights").value.trim();
  return asked;
}

/** A secret that was typed is taken away again before anything is sent, and that is said. */
function clearSecret(field) {
  if (field.type !== "text" || !SECRET.test(field.value)) return;
  field.value = field.value.replace(/(:\/\/)[^/@:]*:[^@]*@/, "$1").replace(/[?&].*/, "");
  $("#home-secret").hidden = false;
}

/** Look where the form points. */
export async function check() {
  if (!looking()) return;
  checked = new AbortController();
  const { signal } = checked;
  try {
    const found = await api.post("home/check", request(), signal);
    $("#found").replaceChildren(...description(found));
    if (!found.problems.length) await estimate(signal);
  } catch (error) {
    if (error.name === "AbortError") return;
    $("#found").replaceChildren(el("p", { class: "problem" }, sentence(error.message)));
  }
}

/** How long it will take, as soon as that is known. */
async function estimate(signal) {
  let told;
  do {
    told = await api.get("home/estimate", {}, signal);
    const parts = told.parts.map(([name, time]) => `${name} ${time}`).join(" · ");
    const lines = [told.sentence, parts].filter(Boolean);
    $("#estimate").replaceChildren(...lines.map((line, at) => el("p", { class: at || told.state !== "known" ? "muted" : "" }, line)));
    if (told.state === "measuring") await new Promise((done) => setTimeout(done, ESTIMATE_MS));
  } while (told.state === "measuring" && !signal.aborted);
}

/** What was found no longer holds; true where there is something to look at. */
function looking() {
  checked?.abort();
  $("#estimate").replaceChildren();
  refuse("");
  const pointed = Boolean($("#home-images").value.trim() && state?.allowed);
  $("#found").replaceChildren(...(pointed ? [el("p", { class: "muted" }, "Looking …")] : []));
  return pointed;
}

function description(found) {
  const parts = [];
  const count = (what, one, many) => what && parts.push(`${number(what)} ${what === 1 ? one : many}`);
  count(found.images, "image", "images");
  count(found.videos, "video", "videos");
  const forms = found.forms.map(([form, many]) => `${form} ${number(many)}`).join(", ");
  const size = found.bytes < MEGA ? "below 1 MB" : `${number(Math.round(found.bytes / MEGA))} MB`;
  if (found.name_taken) $("#home-form details").open = true;
  const lines = [];
  if (parts.length) lines.push(el("p", { class: "good" }, `${parts.join(" and ")} found`,
    el("span", { class: "muted" }, ` · ${[forms, size].filter(Boolean).join(" · ")}`))); // prettier-ignore
  if (found.labelled !== null) lines.push(el("p", {}, `${number(found.labelled)} of them have a label`));
  if (found.named) lines.push(el("p", {}, `${number(found.named)} classes are in the labels' list`));
  lines.push(...found.problems.map((each) => el("p", { class: "problem" }, sentence(each))));
  lines.push(...[...found.left_out, ...found.remarks].map((each) => el("p", { class: "muted" }, sentence(each))));
  return lines;
}

/** As a sentence begins; the name of a place stays as it is. */
const sentence = (text) => (/^\w+:\/\//.test(text) ? text : text.slice(0, 1).toUpperCase() + text.slice(1));

function refuse(message) {
  $("#home-error").hidden = !message;
  $("#home-error").textContent = sentence(message);
}

const enable = () => ($("#home-start").disabled = !state?.allowed || underWay(state));

function render() {
  const { request: asked, run, writer, allowed } = state;
  const going = underWay(state);
  $("#home-title").textContent = isReady() ? "Add images" : "Point me at images";
  $("#home-lead").textContent = lead();
  $("#home-writer").hidden = !writer;
  $("#home-writer").textContent = `${state.workspace} is being written by ${writer}; a run can start when that has ended.`;
  const left = asked && allowed && !going && run.state === "none" && !writer;
  $("#unfinished").hidden = !left;
  const what = asked?.images ? `The run on ${asked.images}` : asked?.kind === "teach" ? "Labelling by what was taught" : "A new training";
  if (left) $("#unfinished p").textContent = `${what} was begun and is not done. What is finished is kept; it goes on from there.`;
  retrain.showRetrain(state.retrain, { allowed, going: going || writer, asked });
  $("#home-form").hidden = going || !allowed || (asked && !asked.images && !isReady());
  $("#loose").hidden = !isReady() || !allowed;
  for (const id of ["#home-classes", "#home-backbones"]) {
    $(id).hidden = isReady();
    $(id).disabled = isReady();
  }
  showRun(run, { asked, ready: isReady(), allowed });
  enable();
}

function lead() {
  if (!state.allowed)
    return "Runs are not started from here: this server is reached from other machines. Start it without --host, and use an SSH tunnel from others.";
  if (isReady())
    return "New images are labelled with the classes that are there, names included; that costs their own size only.";
  return "Every pixel of every image gets a class, without a single label. Say where the images are; the rest has defaults. " +
    `All that is made goes to ${state.workspace}.`; // prettier-ignore
}
