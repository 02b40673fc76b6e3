// Train again where later images look unlike those that the classes were made from.

import { $ } from "./dom.js";

let chosen = ""; // for which suggestion the number of classes was filled in

/** Have `begin` called with what is asked for. */
export function start(begin) {
  $("#retrain").addEventListener("submit", (event) => {
    event.preventDefault();
    const how = new FormData(event.target).get("how");
    begin({ kind: "retrain", ...(how && { classes: $("#retrain-count").valueAsNumber }) });
  });
  $("#retrain-count").addEventListener("focus", () => ($("#retrain [value=number]").checked = true));
}

/** Show the suggestion, or nothing. */
export function showRetrain(suggestion, { allowed, going, asked }) {
  const shown = Boolean(suggestion && allowed && !going && !asked);
  $("#retrain").hidden = !shown;
  if (!shown) return;
  $("#retrain-why").textContent = why(suggestion);
  $("#retrain-figures").textContent = suggestion.drifted.map((each) => figures(each, suggestion.thresholds)).join("; ");
  $("#retrain-kept").textContent =
    `A new training on ${listed(suggestion.dumps)} makes other classes and labels all images anew, so names have to be ` +
    "given again. Your images, labels and exports stay as they are; the masks of now stay in the workspace, and are shown until the new classes are there.";
  $("#retrain-time").textContent = suggestion.time;
  const same = JSON.stringify(suggestion);
  if (same !== chosen) $("#retrain-count").value = suggestion.classes ?? 16;
  chosen = same;
}

function why({ drifted }) {
  const names = listed(drifted.map(({ dump }) => dump));
  return `${names} ${drifted.length === 1 ? "looks" : "look"} different from the images that the classes were made from: masks may be worse there. Look at some of them first.`;
}

function figures({ dump, ...values }, thresholds) {
  const named = { features: "distance of the features", shares: "of the classes' shares" };
  const parts = Object.entries(named).filter(([name]) => values[name] !== null);
  return `${dump}: ${parts.map(([name, text]) => `${text} ${values[name].toFixed(2)} (different above ${thresholds[name]})`).join(", ")}`;
}

const listed = (names) => (names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`);
