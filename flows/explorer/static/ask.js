// "Ask me": one place after the other where an answer changes most; every answer is a lesson.

import * as api from "./api.js";
import { $, number, percent, tell, toast } from "./dom.js";
import { go } from "./route.js";
import { kept } from "./store.js";
import * as shown from "./teach_preview.js";
import { current } from "./view.js";

let asking = false;
let question = null;
let busy = false;
let begun = () => {};
let answered = () => {};

/** `onAsking` is called with whether questions are asked; `onAnswered` after every answer. */
export function start(onAsking, onAnswered) {
  [begun, answered] = [onAsking, onAnswered];
  $("#ask-open").addEventListener("click", () => (asking ? end() : begin()));
  $("#ask-yes").addEventListener("click", () => answer(question?.name));
  $("#ask-no").addEventListener("click", which);
  $("#ask-skip").addEventListener("click", () => answer(null));
  $("#ask-which").addEventListener("submit", (event) => {
    event.preventDefault();
    named($("#ask-name").value.trim());
  });
}

export const isAsking = () => asking;

async function begin() {
  asking = true;
  pressed();
  begun(true);
  $("#ask-said").textContent = "";
  await tell(async () => show(await api.post("teach/question")));
}

export function end() {
  if (!asking) return;
  asking = false;
  question = null;
  shown.ask(null);
  pressed();
  begun(false);
}

function pressed() {
  $("#ask-open").setAttribute("aria-pressed", String(asking));
  $("#ask-open").textContent = asking ? "Enough questions" : "Ask me";
  $("#ask-shown").hidden = !asking;
}

/** Open the image of a question, and draw what it is about. */
function show(told) {
  if (!asking) return;
  question = told.question;
  $("#ask-which").hidden = true;
  $("#ask-name").value = "";
  for (const name of ["yes", "no", "skip"]) $(`#ask-${name}`).disabled = !question;
  shown.ask(question);
  if (!question) {
    $("#ask-text").textContent = "No question is left: every kind of place was asked about.";
    return shown.marks([], current());
  }
  $("#ask-text").textContent = `Is the marked place ${question.name}?`;
  go({ view: "image", dump: question.dump, row: question.row, point: null }, true);
  shown.marks([], question);
}

/** Ask which class it is instead. */
function which() {
  $("#ask-which").hidden = false;
  $("#ask-name").focus();
}

/** A class by its number in the legend, or by its name. */
function named(text) {
  const numbered = /^\d+$/.test(text) ? kept()[Number(text) - 1] : null;
  if (!text || (/^\d+$/.test(text) && !numbered)) return toast(`There is no class ${text || "without a name"} in the list.`);
  answer(numbered?.name ?? text);
}

async function answer(name) {
  if (!question || busy || name === undefined) return;
  busy = true;
  const went = await tell(async () => {
    const told = await api.post("teach/answer", { node: question.node, name });
    said(told, name);
    show(told);
  });
  busy = false;
  if (went) {
    $("#stage").focus({ preventScroll: true });
    answered();
  }
}

/** What the answer changed, and how many answers agreed: an estimate for hard places alone. */
function said({ changed, nodes, agreement }, name) {
  const did = name === null ? "Skipped." : `That changed ${number(changed)} of ${number(nodes)} sampled patches (${percent(changed / nodes)}).`;
  const agreed = agreement
    ? ` ${agreement.agreed} of the last ${agreement.answers} answers agreed with what was shown. ` +
      "You are asked about doubtful places, so elsewhere more of it should be right."
    : "";
  $("#ask-said").textContent = did + agreed;
}

/** A key while questions are asked; true if it was one of theirs. */
export function keyed(event) {
  if (!asking) return false;
  const cls = /^[1-9]$/.test(event.key) ? kept()[Number(event.key) - 1] : null;
  const acts = { y: () => answer(question?.name), n: which, s: () => answer(null), Escape: end };
  const act = cls ? () => answer(cls.name) : acts[event.key];
  if (!act) return false;
  event.preventDefault();
  event.stopPropagation();
  act();
  return true;
}
