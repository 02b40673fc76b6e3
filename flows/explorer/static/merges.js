// Suggested merges: which classes are alike, each with a picture of it; taken with one button.

import * as api from "./api.js";
import { $, debounce, el, percent, tell, toast } from "./dom.js";
import { thumbnail } from "./gallery.js";
import { greys, paintOnly } from "./paint.js";
import { change, store } from "./store.js";

const TYPING_MS = 120; // after the last move of the slider
let count = null; // of the groups that are shown

export function start() {
  $("#merges-open").addEventListener("click", () => tell(open));
  $("#merges-close").addEventListener("click", () => $("#merges").close());
  $("#merges-take").addEventListener("click", take);
  const slider = $("#merges-count");
  const look = debounce(TYPING_MS, () => tell(() => show(Number(slider.value))));
  slider.addEventListener("input", () => {
    $("#merges-shown").textContent = slider.value;
    $("#merges-take").disabled = true; // until the groups are those of the slider
    look();
  });
}

async function open() {
  await show();
  $("#merges").showModal();
}

/** Show this many groups, or as many as are suggested. */
async function show(groups = null) {
  const found = await api.get("merges", { groups });
  ({ count } = found);
  const { fewest, most, suggested, why } = found;
  Object.assign($("#merges-count"), { min: fewest, max: most, value: count, disabled: fewest === most });
  $("#merges-shown").textContent = String(count);
  $("#merges-why").textContent = `${suggested} of ${most} classes are suggested: ${why}.`;
  const joined = found.groups.filter((group) => group.ids.length);
  $("#merges-groups").replaceChildren(...joined.map((group) => row(group, found.images)));
  const alone = count - joined.length;
  const rows = joined.length ? "Each row becomes one class, with the name and colour of the outlined one. " : "";
  $("#merges-rest").textContent = `${rows}${alone} ${alone === 1 ? "class stays as it is" : "classes stay as they are"}.`;
  $("#merges-take").textContent = `Merge ${most} into ${count}`;
  $("#merges-take").disabled = !joined.length || !store.overview.editable;
}

function row({ into, ids }, images) {
  return el("li", {}, [into, ...ids].map((id) => portrait(id, images[id], id === into)));
}

/** A class as it looks in an image, all else dimmed; its colour, name and share. */
function portrait(id, image, stays) {
  const cls = store.classes[id];
  const parts = store.classes.filter((each) => each.shown === id);
  const share = percent(parts.reduce((sum, each) => sum + each.share, 0));
  const canvas = el("canvas");
  if (image) greys(api.picture("thumbmask", image)).then((ids) => paintOnly(canvas, ids, id), () => {});
  const picture = image ? thumbnail(image, cls.name, canvas) : el("div", { class: "layers" });
  const name = el("span", { class: "name", title: cls.name }, cls.name);
  const colour = el("span", { class: "dot", style: { "--colour": cls.colour } });
  return el("figure", { class: stays ? "stays" : "", data: { id } }, picture,
    el("figcaption", {}, colour, name, el("span", {}, share))); // prettier-ignore
}

async function take() {
  const groups = count;
  $("#merges").close();
  if (await change("classes/merge-suggested", { groups })) toast(`Merged into ${groups} classes; Undo goes back.`);
}
