// The legend: names, colours, merged and ignored classes, edited in place.

import { $, el, icon, percent } from "./dom.js";
import { change, highlight, kept, nameOf, on, pin, store } from "./store.js";

const chosen = new Set(); // ids ticked for merging
let shares = null; // of the image in view; null: of the whole workspace

export function start() {
  on("classes", render);
  on("highlight", mark);
  $("#undo").addEventListener("click", undo);
  $("#merge").addEventListener("click", merge);
  $("#ignore").addEventListener("click", ignore);
  $("#unchoose").addEventListener("click", () => {
    chosen.clear();
    render();
  });
}

export function undo() {
  if (store.overview.undo && store.overview.editable) change("classes/undo");
}

/** Show these shares, of an image's classes; null for the workspace's. */
export function showShares(classes) {
  shares = classes;
  render();
}

function render() {
  if (!store.overview) return; // there are no masks yet
  const { revision, note, undo: undoable, editable } = store.overview;
  if ($("#legend input.rename")) return; // the list comes anew when the name is settled
  for (const id of chosen) if (store.classOf[id] !== id) chosen.delete(id);
  const focused = partOfLegend(document.activeElement);
  $("#revision").textContent = `revision ${revision}`;
  $("#revision").title = note || "";
  $("#undo").disabled = !undoable || !editable;
  $("#fixed").hidden = editable;
  document.body.classList.toggle("fixed", !editable);
  $("#legend").replaceChildren(...kept().map(row));
  const ignored = store.classes.filter((each) => each.ignored && each.merged_into == null);
  $("#ignored").hidden = !ignored.length;
  $("#ignored ul").replaceChildren(...ignored.map(ignoredRow));
  choices();
  mark();
  if (focused) $(`#legend li[data-id="${focused.id}"] .${focused.part}`)?.focus();
}

/** Class id and name of the control of the legend that an element is; null for others. */
function partOfLegend(element) {
  const part = ["name", "swatch", "tick", "edit"].find((each) => element.classList.contains(each));
  return part ? { id: element.closest("li").dataset.id, part } : null;
}

function row(cls, at) {
  const merged = store.classes.filter((each) => each.id !== cls.id && each.shown === cls.id);
  const all = [cls, ...merged].reduce((sum, each) => sum + each.share, 0);
  const share = shares ? (shares.get(cls.id) ?? 0) : all;
  const key = at < 9 ? String(at + 1) : "";
  const tick = el("input", {
    type: "checkbox",
    class: "tick",
    checked: chosen.has(cls.id),
    "aria-label": `Choose ${cls.name}`,
    onchange: (event) => {
      event.target.checked ? chosen.add(cls.id) : chosen.delete(cls.id);
      choices();
    },
  });
  const swatch = el("input", {
    type: "color",
    class: "swatch",
    value: cls.colour,
    disabled: !store.overview.editable,
    "aria-label": `Colour of ${cls.name}`,
    onchange: (event) => change("classes/recolour", { id: cls.id, colour: event.target.value }),
  });
  const name = el(
    "button",
    {
      class: "name",
      "aria-pressed": "false",
      title: "Click: keep highlighted. Double click: rename.",
      onclick: () => pin(cls.id),
      ondblclick: () => rename(cls.id),
      onfocus: () => highlight(cls.id),
      onblur: () => highlight(null),
    },
    el("span", { class: "text" }, cls.name),
    el("kbd", {}, key),
  );
  const edit = el(
    "button",
    { class: "edit quiet", "aria-label": `Rename ${cls.name}`, title: "Rename", onclick: () => rename(cls.id) },
    icon("pencil"),
  );
  const bar = el("span", { class: "bar", style: { "--share": share, "--colour": cls.colour } });
  const line = el("div", { class: "line" }, tick, swatch, name,
    el("span", { class: "share" }, percent(share)), edit, bar); // prettier-ignore
  return el(
    "li",
    {
      data: { id: cls.id },
      class: share === 0 ? "absent" : "",
      onpointerenter: () => highlight(cls.id),
      onpointerleave: () => highlight(null),
    },
    line,
    merged.length ? el("ul", { class: "parts" }, merged.map(part)) : null,
  );
}

function part(cls) {
  const apart = () => change("classes/merge", { ids: [cls.id], into: null });
  return el("li", {}, el("span", {}, `${cls.name} `, el("small", {}, `cluster ${cls.id}`)),
    el("button", { class: "quiet apart", "aria-label": `Take ${cls.name}, cluster ${cls.id}, apart`, onclick: apart },
      "take apart")); // prettier-ignore
}

function ignoredRow(cls) {
  const show = () => change("classes/ignore", { ids: [cls.id], ignored: false });
  return el("li", {}, el("span", {}, cls.name),
    el("button", { class: "quiet", "aria-label": `Show ${cls.name} again`, onclick: show }, "show again")); // prettier-ignore
}

/** Edit a name where it stands: Enter keeps it, Escape does not. */
export function rename(id) {
  const label = $(`#legend li[data-id="${id}"] .name`);
  if (!label || !store.overview.editable) return;
  const before = nameOf(id);
  const input = el("input", { class: "rename", value: before, maxLength: 100, "aria-label": `Name of ${before}` });
  let settled = false;
  const settle = async (keep) => {
    if (settled) return;
    settled = true;
    const name = input.value.trim();
    input.replaceWith(label);
    if (!keep || !name || name === before) return render();
    if (!(await change("classes/rename", { id, name }))) render();
  };
  input.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter" || event.key === "Escape") settle(event.key === "Enter");
  });
  input.addEventListener("blur", () => settle(true));
  label.replaceWith(input);
  input.focus();
  input.select();
}

function choices() {
  const actions = $("#chosen");
  actions.hidden = !chosen.size;
  $("#chosen output").textContent = `${chosen.size} chosen`;
  const into = $("#into");
  const largest = [...chosen].sort((a, b) => store.classes[b].share - store.classes[a].share);
  const before = into.value;
  into.replaceChildren(...largest.map((id) => el("option", { value: String(id) }, nameOf(id))));
  if (chosen.has(Number(before)) && before !== "") into.value = before;
  $("#merge").disabled = chosen.size < 2;
  for (const tick of document.querySelectorAll("#legend .tick"))
    tick.checked = chosen.has(Number(tick.closest("li").dataset.id));
}

function merge() {
  const into = Number($("#into").value);
  const ids = [...chosen].filter((id) => id !== into);
  changeChosen("classes/merge", { ids, into });
}

const ignore = () => changeChosen("classes/ignore", { ids: [...chosen], ignored: true });

async function changeChosen(path, body) {
  chosen.clear();
  if (!(await change(path, body))) render();
}

function mark() {
  for (const item of document.querySelectorAll("#legend > li")) {
    const id = Number(item.dataset.id);
    item.classList.toggle("dimmed", store.highlighted !== null && store.highlighted !== id);
    $(".name", item)?.setAttribute("aria-pressed", String(store.pinned === id));
  }
}

/** Keep the class at a place of the legend highlighted, counted from 0. */
export function pinAt(at) {
  const cls = kept()[at];
  if (cls) pin(cls.id);
}
