// Elements, toasts, small helpers. Text is always set as text: nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";
const TOAST_MS = 6000;

export const $ = (selector, root = document) => root.querySelector(selector);

/** An element with properties, attributes (those with a dash, `role`, `for`) and children. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else if (name === "style") for (const [k, v] of Object.entries(value)) node.style.setProperty(k, v);
    else if (name === "data") Object.assign(node.dataset, value);
    else if (name in node && !name.includes("-")) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** An icon of the sprite in the page. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** Say something for a few seconds; errors stay until they are closed. */
export function toast(message, kind = "note") {
  const box = $("#toasts");
  for (const other of box.children) if (other.dataset.text === message) other.remove();
  const close = el("button", { class: "quiet", "aria-label": "Close", onclick: () => note.remove() }, "×");
  const note = el("div", { class: `toast ${kind}`, data: { text: message } }, el("span", {}, message), close);
  box.append(note);
  while (box.children.length > 4) box.firstChild.remove();
  if (kind !== "error") setTimeout(() => note.remove(), TOAST_MS);
}

/** Run what the user asked for; what goes wrong is said. True if it went well. */
export async function tell(work) {
  try {
    await work();
    return true;
  } catch (error) {
    if (error.name !== "AbortError") toast(error.message, "error");
    return false;
  }
}

export function debounce(milliseconds, work) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...values), milliseconds);
  };
}

export function percent(share) {
  if (share > 0 && share < 0.0005) return "< 0.1 %";
  return `${(100 * share).toFixed(share > 0 && share < 0.0995 ? 1 : 0)} %`;
}
/** A value as an index of that many: rounded down, within 0 to `count` - 1. */
export const toIndex = (value, count) => Math.min(Math.max(Math.floor(value), 0), count - 1);
export const number = (value) => value.toLocaleString("en-GB");
export const stem = (path) => path.split("/").pop().replace(/\.[^.]+$/, "");
