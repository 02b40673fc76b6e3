// Label one image that is dropped or chosen here; it is kept nowhere.

import * as api from "./api.js";
import { $, el, percent } from "./dom.js";
import { greys, paintMask, sharesOf } from "./paint.js";
import { nameOf, on, store } from "./store.js";

const LARGEST = 64 * 2 ** 20; // bytes: LARGEST_UPLOAD of flows/explorer/guard.py
let ids = null; // of the mask that is shown

export function start() {
  const drop = $("#loose-drop");
  $("#loose-file").addEventListener("change", (event) => send(event.target.files[0]));
  for (const name of ["dragenter", "dragover"])
    $("#home").addEventListener(name, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      drop.classList.add("over");
    });
  $("#home").addEventListener("dragleave", (event) => event.relatedTarget || drop.classList.remove("over"));
  $("#home").addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (!$("#loose").hidden) send(event.dataTransfer.files[0]);
  });
  for (const name of ["classes", "highlight"]) on(name, paint);
}

async function send(file) {
  if (!file) return;
  if (file.size > LARGEST) return say(`${file.name} is larger than 64 MB; label it with stego segment`, "problem");
  say(`Labelling ${file.name} …`, "muted");
  $("#loose-drop").classList.add("busy");
  try {
    const { number } = await api.upload("loose", file);
    const shown = $("#loose-shown img");
    shown.src = `/api/loose/${number}/image`;
    shown.alt = file.name;
    ids = await greys(`/api/loose/${number}/mask`);
    await shown.decode();
    const mask = el("a", { href: `/api/loose/${number}/file`, download: `${file.name.replace(/\.[^.]+$/, "")}.png` }, "Save the mask");
    $("#loose-shown .save").replaceChildren(mask);
    $("#loose-shown").hidden = false;
    say(file.name, "");
    paint();
  } catch (error) {
    say(`${file.name}: ${error.message}`, "problem");
  } finally {
    $("#loose-drop").classList.remove("busy");
    $("#loose-file").value = ""; // the same one may be chosen again
  }
}

function paint() {
  if (!ids || !store.overview) return;
  paintMask($("#loose-shown canvas"), ids);
  const shares = [...sharesOf(ids)].filter(([id]) => store.classOf[id] === id).sort((a, b) => b[1] - a[1]);
  $("#loose-shown ul").replaceChildren(...shares.map(([id, share]) =>
    el("li", {}, el("span", { class: "dot", style: { "--colour": store.classes[id].colour } }), ` ${nameOf(id)} ${percent(share)}`))); // prettier-ignore
}

function say(text, kind) {
  $("#loose-said").textContent = text;
  $("#loose-said").className = kind;
}
