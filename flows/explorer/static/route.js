// The address holds what is shown: view, filters, image, clicked point.

const FILTERS = ["dump", "class", "labelled", "order"];
let arrived = () => {};

/** Call this with the address wherever it leads. */
export function onRoute(listener) {
  arrived = listener;
}

export const announce = () => arrived(parsed());

/** The address as {view, dump, row, point, filters}. */
export function parsed(hash = location.hash) {
  const [path, search] = hash.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").map(decoded);
  const parameters = new URLSearchParams(search || "");
  const filters = Object.fromEntries(FILTERS.map((name) => [name, parameters.get(name) || ""]));
  if (parts[0] === "image" && parts.length === 3 && /^\d+$/.test(parts[2])) {
    const point = [parameters.get("y"), parameters.get("x")];
    return {
      view: "image",
      dump: parts[1],
      row: Number(parts[2]),
      point: point.every((each) => /^\d+$/.test(each ?? "")) ? point.map(Number) : null,
      filters,
    };
  }
  const view = ["home", "codes"].includes(parts[0]) ? parts[0] : "gallery";
  return { view, filters, point: null };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return "";
  }
}

/** A link to something, filters kept. */
export function link({ view, dump, row, point, filters = parsed().filters }) {
  const parameters = new URLSearchParams();
  if (point) {
    parameters.set("y", point[0]);
    parameters.set("x", point[1]);
  }
  for (const [name, value] of Object.entries(filters)) if (value) parameters.set(name, value);
  const path = view === "image" ? `image/${encodeURIComponent(dump)}/${row}` : view;
  const search = parameters.toString();
  return `#/${path}${search ? `?${search}` : ""}`;
}

/** Go somewhere; `replace` leaves no step behind. */
export function go(target, replace = false) {
  const hash = link(target);
  if (hash === location.hash) return;
  history[replace ? "replaceState" : "pushState"](null, "", hash);
  announce();
}

window.addEventListener("hashchange", announce);
