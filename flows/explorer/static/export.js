// The export's dialog: format, folder, dumps, progress.

import * as api from "./api.js";
import { $, el, tell } from "./dom.js";
import { store } from "./store.js";

const LOOK_MS = 700;
const NOT_ALLOWED = "Nothing is exported from here: this server is reached from other machines. " +
  "Start it with --export-root or --allow-changes, or without --host.";
let timer = null;
let roots = [];
let allowed = true; // by how the server was started
let suggested = ""; // the folder's name, until another one is typed

export function start() {
  const dialog = $("#export");
  $("#export-open").addEventListener("click", open);
  $("#export-close").addEventListener("click", () => dialog.close());
  for (const name of ["kind", "root", "name"]) $(`#export [name=${name}]`).addEventListener("input", target);
  dialog.addEventListener("close", () => clearTimeout(timer));
  $("#export-form").addEventListener("submit", (event) => {
    event.preventDefault();
    tell(send).then((sent) => !sent && say({ state: "failed", sentence: "" }));
  });
}

function open() {
  const dumps = store.overview.dumps.filter((dump) => dump.masks);
  const boxes = dumps.map(({ name }) =>
    el("label", {}, el("input", { type: "checkbox", name: "dump", value: name, checked: true }), ` ${name}`));
  $("#export-dumps").replaceChildren(el("legend", {}, "Dumps"), ...boxes);
  $("#export").showModal();
  tell(async () => {
    const state = await api.get("export");
    const formats = Object.entries(state.formats);
    $("#export-kind").replaceChildren(
      ...formats.map(([name, what]) => el("option", { value: name }, `${name}: ${what}`)),
    );
    ({ roots, allowed } = state);
    $("#export-root").replaceChildren(...roots.map((uri, at) => el("option", { value: String(at) }, uri)));
    $("#export-roots").hidden = roots.length < 2;
    target();
    say(allowed ? state : { state: "failed", sentence: NOT_ALLOWED });
  });
}

/** Say where the export goes; its folder is called as its format, unless it is given a name. */
function target() {
  const name = $("#export-name");
  const kind = $("#export-kind").value;
  if (name.value === suggested && document.activeElement !== name) name.value = suggested = kind;
  const root = roots[Number($("#export-root").value)] ?? "";
  $("#export-target").textContent = `goes to ${root}/${name.value.trim()} of the machine that serves this page`;
}

async function send() {
  const form = new FormData($("#export-form"));
  const name = form.get("name").trim();
  const root = Number(form.get("root"));
  say(await api.post("export", { kind: form.get("kind"), name, root, dumps: form.getAll("dump") }));
  timer = setTimeout(look, LOOK_MS);
}

/** See how far the export is, until it has ended. */
function look() {
  clearTimeout(timer);
  tell(async () => say(await api.get("export")));
}

function say({ state, sentence, done, total }) {
  const running = state === "running";
  const bar = $("#export-progress");
  bar.hidden = !running;
  if (total) [bar.max, bar.value] = [total, done];
  else bar.removeAttribute("value");
  $("#export-said").textContent = running && total ? `${sentence}, ${done} of ${total}` : sentence;
  $("#export-said").className = state;
  $("#export-form [type=submit]").disabled = running || !allowed;
  if (running) timer = setTimeout(look, LOOK_MS);
}
