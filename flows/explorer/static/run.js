// How far a run is: its stages as in the terminal, what it said, how it ended.

import { $, el, number } from "./dom.js";

const MEANING = {
  frames: "frames are cut from the videos",
  corpus: "each image is opened once and listed",
  features: "the backbone looks at pieces of the images",
  neighbors: "each piece finds those that look like it",
  head: "a small network learns what belongs together",
  codes: "it looks at the pieces again",
  "k-means": "its answers are sorted into classes",
  clusters: "the best of several sortings is kept",
  masks: "each pixel gets its class",
  scores: "masks are compared with the labels",
};
const TITLES = { running: "Under way", stopping: "Stopping", stopped: "Stopped", failed: "The run has ended early", done: "Done" };

/** Show a run, or nothing where there was none. */
export function showRun(run, { asked, ready, allowed }) {
  const going = run.state === "running" || run.state === "stopping";
  $("#run").hidden = run.state === "none";
  $("#run").className = run.state;
  $("#run-title").textContent = `${TITLES[run.state] ?? ""}${run.kind ? `: ${run.dump || (run.kind === "teach" ? "labelling by what was taught" : "training again")}` : ""}`;
  const said = sentence(run);
  if ($("#run-said").textContent !== said) $("#run-said").textContent = said;
  $("#run-stages").replaceChildren(...rows(run).map((each) => row(each, run)));
  $("#run-notes").replaceChildren(...run.said.map((text) => el("li", {}, text)));
  $("#run-stop").hidden = !going || !allowed;
  $("#run-stop").disabled = run.state === "stopping";
  $("#run-again").hidden = going || run.state === "done" || !asked || !allowed;
  $("#run-again").textContent = run.state === "failed" && !run.later ? "Try again" : "Go on";
  $("#run-look").hidden = run.state !== "done" || !ready;
  pill(run, going);
}

function sentence(run) {
  if (run.state === "stopping") return "What is being computed is finished first.";
  if (run.state === "stopped") return "What is finished is kept: it goes on from there, now or later.";
  if (run.state === "failed") return run.sentence.slice(0, 1).toUpperCase() + run.sentence.slice(1);
  if (run.state === "done") {
    const done = ["retrain", "teach"].includes(run.kind) ? "All images have new masks" : "Every pixel has a class";
    return `${done}, after ${duration(run.seconds)}. Next: look at the masks, give the classes names, export.`;
  }
  if (!run.stages.length) return "Starting, which takes some seconds. This page may be closed meanwhile.";
  const left = run.left ? `${run.left.slice(0, 1).toUpperCase() + run.left.slice(1)} left. ` : "How much time all that is left takes is not known. ";
  return `${left}This page may be closed meanwhile; the run goes on as long as stego explore does.`;
}

/** The stages: those to come, those kept from before, those that were seen. */
function rows(run) {
  const titles = run.planned;
  const seen = new Map(run.stages.map((stage) => [stage.title, stage]));
  const latest = titles.reduce((last, title, at) => (seen.has(title) ? at : last), -1);
  const all = titles.map((title, at) => seen.get(title) ?? { title, state: at < latest || run.state === "done" ? "kept" : "coming" });
  for (const [at, stage] of run.stages.entries()) {
    if (titles.includes(stage.title)) continue;
    const before = all.findIndex((each) => each.title === run.stages[at - 1]?.title);
    all.splice(before + 1, 0, stage);
  }
  return all;
}

function row(stage, run) {
  const name = stage.title.split(" ")[0];
  const active = stage.state === undefined && !stage.finished && run.state === "running";
  const bar = el("progress", { max: 1, "aria-label": stage.title });
  bar.value = stage.state ? Number(stage.state === "kept") : stage.finished ? 1 : stage.done / Math.max(stage.total, 1);
  return el("li", { class: stage.state ?? (stage.finished ? "finished" : "begun") },
    el("span", { class: "title", title: stage.title }, stage.title), bar, el("span", { class: "count" }, counts(stage, active)),
    active && MEANING[name] ? el("small", {}, [MEANING[name], stage.note].filter(Boolean).join(" · ")) : null); // prettier-ignore
}

function counts(stage, active) {
  if (stage.state) return stage.state === "kept" ? "done before" : "";
  const done = `${number(stage.done)} of ${number(stage.total)} ${stage.unit}`;
  if (stage.finished) return `${number(stage.total)} ${stage.unit}, ${duration(stage.seconds)}`;
  return active && stage.left !== null ? `${done}, ${duration(stage.left)} left` : done;
}

export function duration(seconds) {
  if (seconds < 0.95) return "below 1 s";
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** In the top bar, while the gallery is open. */
function pill(run, going) {
  const now = run.stages.at(-1);
  $("#run-pill").hidden = !going;
  $("#run-pill").textContent = now ? `${now.title} ${Math.floor((100 * now.done) / Math.max(now.total, 1))} %` : "starting …";
}
