// The export's dialog: format, place, dumps, progress.

import * as api from "./api.js";
import { $, el, tell } from "./dom.js";
import { store } from "./store.js";

const LOOK_MS = 700;
let timer = null;

export function start() {
  const dialog = $("#export");
  $("#export-open").addEventListener("click", open);
  $("#export-close").addEventListener("click", () => dialog.close());
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
    say(state);
  });
}

async function send() {
  const form = new FormData($("#export-form"));
  say(await api.post("export", { kind: form.get("kind"), out: form.get("out"), dumps: form.getAll("dump") }));
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
  $("#export-form [type=submit]").disabled = running;
  if (running) timer = setTimeout(look, LOOK_MS);
}
