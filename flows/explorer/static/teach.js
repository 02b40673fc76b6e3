// Teach: clicks say which class a pixel is; what they would change is shown before it is done.

import * as api from "./api.js";
import * as ask from "./ask.js";
import { $, debounce, el, number, percent, stem, tell, toast } from "./dom.js";
import { middle } from "./codes.js";
import { MATCHES } from "./correspondence.js";
import * as home from "./home.js";
import { link } from "./route.js";
import { kept, on, store } from "./store.js";
import * as shown from "./teach_preview.js";
import { current, onChoose, onOpen } from "./view.js";

const LOOK_MS = 700; // between looks at the preparation
const SOON_MS = 40;
const MOST = 400; // points at once: MOST_POINTS of flows/explorer/teaching/teaching_routes.py
const points = []; // not taught yet: {dump, row, x, y, name, path, width, height}
let open = false;
let state = null; // what /api/teach answered last
let asked = null; // aborts the preview under way
let stale = true; // whether the preview is of other points than there are
let run = null;

export function start() {
  $("#teach-open").addEventListener("click", toggle);
  $("#teach-close").addEventListener("click", toggle);
  $("#teach-accept").addEventListener("click", accept);
  $("#teach-undo").addEventListener("click", undo);
  $("#teach-learn").addEventListener("click", () => begin("learn", {}));
  $("#matches-teach").addEventListener("click", teachMatches);
  $("#slots").addEventListener("change", said);
  for (const button of document.querySelectorAll("#moments button"))
    button.addEventListener("click", () => shown.choose(button.dataset.moment));
  document.addEventListener("keydown", keyed, true); // before the keys of the page
  ask.start(begunAsking, () => tell(look));
  onChoose((item, point) => open && (ask.isAsking() || add(item, [point])));
  onOpen(() => open && renew());
  home.onRun(follow);
  on("classes", names);
  on("overview", () => open && tell(look));
}

/** Questions take the image; afterwards the points are shown again. */
function begunAsking(asking) {
  for (const part of ["#slots", "#teach-points", "#teach-accept"]) $(part).hidden = asking;
  document.body.classList.toggle("asking", asking);
  $("#teach-changes").hidden = true;
  render();
  renew();
}

/** Begin to teach, or end it; points that are not taught yet stay. */
export function toggle() {
  open = !open;
  $("#teach").hidden = !open;
  $("#teach-open").setAttribute("aria-pressed", String(open));
  $("#viewer").classList.toggle("teaching", open);
  document.body.classList.toggle("teaching", open);
  shown.clear();
  if (!open) {
    ask.end();
    return $("#stage").focus();
  }
  render();
  tell(async () => take(await api.post("teach/prepare")));
  if (!active().value) active().focus();
}

/** Names on offer, as the classes are now. */
function names() {
  $("#class-names").replaceChildren(...kept().map(({ name }) => el("option", { value: name })));
}

const radios = () => [...document.querySelectorAll("#slots [name=slot]")];
const active = () => $(radios()[0].checked ? "#class-a" : "#class-b");

function otherSlot() {
  radios().find((each) => !each.checked).checked = true;
  if (!active().value) active().focus();
  said();
}

/** Add pixels [y, x] of an image with the class that clicks mean; true. */
function add(item, pixels) {
  const name = active().value.trim();
  if (!name) {
    active().focus();
    toast("Say first which class it is.");
    return true;
  }
  const { dump, row, path, width, height } = item;
  for (const [y, x] of pixels) {
    const at = points.findIndex((each) => each.dump === dump && each.row === row && each.x === x && each.y === y);
    if (at >= 0) points.splice(at, 1); // said again: the last counts
    if (points.length >= MOST) return toast(`${MOST} points are the most at once; accept these first.`), true;
    points.push({ dump, row, x, y, name, path, width, height });
  }
  stale = true;
  render();
  renew();
  return true;
}

function teachMatches() {
  if (!open) toggle();
  for (const match of [...MATCHES]) {
    if (!active().value.trim()) return add(match, []);
    add(match, [middle(match.patch, match)]);
  }
}

function remove(point) {
  points.splice(points.indexOf(point), 1);
  stale = true;
  render();
  renew();
}

const renew = debounce(SOON_MS, () => tell(preview));

/** Ask what the points change, and show it. */
async function preview() {
  asked?.abort();
  stale = true;
  shown.marks(points, current());
  if (ask.isAsking()) return;
  if (!open || !state?.usable || !(points.length || current())) return;
  asked = new AbortController();
  const item = current();
  const image = item && { dump: item.dump, row: item.row };
  const sent = points.map(({ dump, row, x, y, name }) => ({ dump, row, x, y, name }));
  try {
    const answered = await api.post("teach/preview", { points: sent, image }, asked.signal);
    shown.show(answered, points.length > 0);
    stale = false;
  } catch (error) {
    if (error.name === "AbortError") return;
    shown.clear();
    $("#teach-said").textContent = error.message;
    return;
  }
  shown.marks(points, current());
  render();
}

async function accept() {
  const sent = points.map(({ dump, row, x, y, name }) => ({ dump, row, x, y, name }));
  if (!(await begin("accept", { points: sent }))) return;
  points.length = 0;
  shown.clear();
  render();
  renew();
}

async function undo() {
  $("#teach-undo").disabled = true;
  const answered = await begin("undo", {});
  if (answered) toast(`Taken back: ${answered.undone}`);
}

/** Have lessons stored or taken back, and the images labelled; what cannot be is told. */
async function begin(what, body) {
  let answered = null;
  $("#teach-accept").disabled = true;
  await tell(async () => {
    answered = await api.post(`teach/${what}`, body);
    if (answered.sentence) toast(answered.sentence);
  });
  await tell(look);
  await home.look();
  render();
  return answered;
}

async function look() {
  take(await api.get("teach"));
}

function take(answered) {
  const before = state;
  state = answered;
  const { prepared, usable } = state;
  if (open && ["working", "waiting"].includes(prepared.state)) setTimeout(() => open && tell(look), LOOK_MS);
  render();
  if (usable && (!before?.usable || before.lessons !== state.lessons || before.learned !== state.learned)) renew();
}

/** The run that labels anew: how far it is, and what it said at its end. */
function follow(now) {
  const ended = run?.state === "running" && now.state !== "running";
  run = now.kind === "teach" ? now : null;
  if (!open) return;
  if (ended) tell(look);
  render();
}

function render() {
  const going = run?.state === "running";
  $("#teach-points").replaceChildren(...points.map(pointLine));
  $("#teach-accept").disabled = !points.length || going;
  $("#teach-accept").textContent = points.length ? `Accept ${count(points.length, "point")}` : "Accept";
  $("#teach-undo").disabled = !state?.last || going;
  $("#teach-undo").title = state?.last ? `Take back: ${state.last}` : "Nothing was taught yet";
  $("#teach-learn").hidden = !state || state.learned || going || (points.length > 0 && !ask.isAsking());
  $("#ask-open").disabled = !state?.usable;
  const share = going ? runShare() : state && !state.usable && state.prepared.state === "working" ? state.prepared.share : null;
  $("#teach-progress").hidden = share === null;
  $("#teach-progress").value = share ?? 0;
  said();
}

function runShare() {
  const now = run.stages.at(-1);
  return now ? now.done / Math.max(now.total, 1) : 0;
}

/** One sentence on how things are. */
function said() {
  const text = sentence();
  if ($("#teach-said").textContent !== text) $("#teach-said").textContent = text;
}

function sentence() {
  if (run?.state === "running") return `Labelling again: ${run.stages.at(-1)?.title ?? "starting"}. You can go on teaching.`;
  if (!state) return "…";
  if (state.prepared.state === "failed") return capital(state.prepared.sentence);
  if (!state.usable) return `${capital(state.prepared.sentence || "Teaching is being prepared")} …`;
  const preview = shown.last();
  if (points.length && preview && !stale && !ask.isAsking()) {
    const { changed, nodes, problems } = preview;
    const left = problems.length ? ` ${count(problems.length, "lesson")} left out: ${problems[0]}.` : "";
    return `${count(points.length, "point")}: ${number(changed)} of ${number(nodes)} sampled patches would change (${percent(changed / nodes)}).${left}`;
  }
  if (points.length && !ask.isAsking()) return `${count(points.length, "point")} …`;
  if (run?.state === "failed") return capital(run.sentence);
  if (run?.state === "done" && run.said.length && state.learned) return `${run.said.at(-1)}.`;
  const taught = state.lessons ? `${count(state.lessons, "lesson")} so far${state.learned ? "" : ", not all of them in the masks"}. ` : "";
  if (ask.isAsking()) return `${taught}Each answer is a lesson; “Label again” brings them into the masks.`;
  return `${taught}Name a class, then click pixels that show it, on any image.`;
}

const count = (many, what) => `${number(many)} ${what}${many === 1 ? "" : "s"}`;
const capital = (text) => text.slice(0, 1).toUpperCase() + text.slice(1);

function pointLine(point) {
  const where = `${stem(point.path)} (${point.x}, ${point.y})`;
  const href = link({ view: "image", dump: point.dump, row: point.row, point: null });
  return el("li", {},
    el("span", { class: "dot", style: { "--colour": shown.colourOf(point.name) } }),
    el("b", {}, point.name), el("a", { href, title: point.path }, where),
    el("button", { class: "quiet", "aria-label": `Remove the point ${point.name} at ${where}`, onclick: () => remove(point) }, "×")); // prettier-ignore
}

function keyed(event) {
  if (!open || event.ctrlKey || event.altKey || event.metaKey || $("dialog[open]")) return;
  if (event.target.closest("input[type=text], textarea, select") || !$("#teach").checkVisibility()) return;
  if (ask.keyed(event)) return;
  const cls = /^[1-9]$/.test(event.key) ? kept()[Number(event.key) - 1] : null;
  if (cls) active().value = cls.name;
  else if (event.key === "x") otherSlot();
  else if (event.key === "Escape") toggle();
  else return;
  event.preventDefault();
  event.stopPropagation();
}
