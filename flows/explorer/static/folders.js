// Choose a folder of the machine that serves the page.

import * as api from "./api.js";
import { $, el, number } from "./dom.js";

let target = null; // the field that gets the folder
let shown = null; // what the server answered

export function start() {
  for (const button of document.querySelectorAll(".browse"))
    button.addEventListener("click", () => {
      target = $(`#${button.dataset.for}`);
      $("#folders").showModal();
      open(target.value.includes("://") ? "" : target.value, "");
    });
  $("#folders-close").addEventListener("click", () => $("#folders").close());
  $("#folders-take").addEventListener("click", () => {
    target.value = shown.path;
    $("#folders").close();
    target.dispatchEvent(new Event("input", { bubbles: true }));
    target.focus();
  });
}

/** Show what a folder holds; where it cannot be opened, the other one. */
async function open(path, otherwise = null) {
  try {
    shown = await api.get("home/folders", { path });
  } catch (error) {
    if (otherwise !== null && path !== otherwise) await open(otherwise);
    return say(error.message, "problem");
  }
  $("#folders-path").textContent = shown.path;
  const up = shown.parent === null ? [] : [entry("One folder up", shown.parent, "up")];
  const below = shown.folders.map((name) => entry(name, `${shown.path.replace(/\/$/, "")}/${name}`));
  const none = below.length ? [] : [el("li", { class: "none" }, "There are no folders in it.")];
  $("#folders-list").replaceChildren(...up, ...below, ...none);
  const images = shown.images ? `${number(shown.images)} images or videos lie directly in it` : "No image lies directly in it; folders in it count, too";
  say(`${images}${shown.more ? ". It holds more than is listed here." : ""}`, "");
  $("#folders-list button")?.focus();
}

const entry = (name, path, kind = "") =>
  el("li", {}, el("button", { type: "button", class: `folder ${kind}`, onclick: () => open(path) }, name));

function say(text, kind) {
  $("#folders-said").textContent = text;
  $("#folders-said").className = kind || "muted";
}
