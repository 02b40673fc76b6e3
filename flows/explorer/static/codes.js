// The code space: centroids and a sample of patches on two principal axes.

import * as api from "./api.js";
import { $, percent, tell, toIndex } from "./dom.js";
import { go } from "./route.js";
import { VOID, nameOf, on, store } from "./store.js";

const MARGIN = 28; // pixels around the points
const NEAR = 14; // pixels from which a point is hit
let space = null; // {points, centroids, explained}
let dots = []; // {x, y, point} of each point, in CSS pixels
let canvas;

export function start() {
  canvas = $("#cloud");
  new ResizeObserver(draw).observe($("#plane"));
  canvas.addEventListener("pointermove", (event) => point(hit(event)));
  canvas.addEventListener("pointerleave", () => point(null));
  canvas.addEventListener("click", (event) => tell(() => open(hit(event))));
  on("classes", draw);
  on("highlight", draw);
  on("overview", () => (space = null));
}

/** Show the code space; it is fetched once for a state of the workspace. */
export async function show() {
  if (!space) {
    $("#explained").textContent = "drawing a sample of patches …";
    space = await api.get("codes");
    const share = percent(space.explained);
    $("#explained").textContent =
      `${space.points.length} patches and ${space.centroids.length} centroids; ` +
      `these two principal axes hold ${share} of the codes' variance. A click opens the patch's image.`;
  }
  draw();
}

/** Where coordinates of codes come to lie, one scale for both axes. */
function projection(width, height) {
  const all = [...space.points.map(({ x, y }) => [x, y]), ...space.centroids];
  const bounds = [0, 1].map((axis) => {
    const values = all.map((each) => each[axis]);
    return [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
  });
  const span = bounds.map(([low, high]) => Math.max(high - low, 1e-9));
  const scale = Math.min((width - 2 * MARGIN) / span[0], (height - 2 * MARGIN) / span[1]);
  return ([x, y]) => [
    width / 2 + scale * (x - (bounds[0][0] + bounds[0][1]) / 2),
    height / 2 - scale * (y - (bounds[1][0] + bounds[1][1]) / 2),
  ];
}

function draw() {
  const { width, height } = $("#plane").getBoundingClientRect();
  if (!space || !width || !height) return;
  const dense = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * dense);
  canvas.height = Math.round(height * dense);
  const context = canvas.getContext("2d");
  context.scale(dense, dense);
  const project = projection(width, height);
  const { color: ink, backgroundColor: paper } = getComputedStyle(document.body);
  dots = space.points.map((point) => {
    const [x, y] = project([point.x, point.y]);
    return { x, y, point };
  });
  for (const { x, y, point } of dots) {
    context.globalAlpha = dimmed(point.cls) ? 0.08 : 0.75;
    context.fillStyle = colour(point.cls, ink);
    context.beginPath();
    context.arc(x, y, 2.6, 0, 7);
    context.fill();
  }
  centroids(context, project, ink, paper);
}

function centroids(context, project, ink, paper) {
  context.font = "600 12px system-ui, sans-serif";
  context.textBaseline = "middle";
  const spots = space.centroids.map(project);
  const taken = spots.map(([x, y]) => [x - 8, y - 8, x + 8, y + 8]);
  spots.forEach(([x, y], cluster) => {
    context.globalAlpha = dimmed(cluster) ? 0.25 : 1;
    context.fillStyle = colour(cluster, ink);
    disc(context, x, y, paper, 3);
    context.fill();
    disc(context, x, y, ink, 1.5);
  });
  spots.forEach((spot, cluster) => {
    const name = nameOf(store.classOf[cluster]);
    const [x, y] = room(spot, context.measureText(name).width, taken);
    context.globalAlpha = dimmed(cluster) ? 0.25 : 1;
    context.lineWidth = 4;
    context.strokeStyle = paper;
    context.strokeText(name, x, y);
    context.fillStyle = ink;
    context.fillText(name, x, y);
  });
  context.globalAlpha = 1;
}

function disc(context, x, y, style, width) {
  context.strokeStyle = style;
  context.lineWidth = width;
  context.beginPath();
  context.arc(x, y, 7, 0, 7);
  context.stroke();
}

/** Where a name of that width has room beside its spot; it takes it. */
function room([x, y], width, taken) {
  const beside = [[12, 0], [-12 - width, 0], [-width / 2, -17], [-width / 2, 17], [12, -15], [12, 15]]; // prettier-ignore
  const boxes = beside.map(([dx, dy]) => [x + dx, y + dy - 7, x + dx + width, y + dy + 7]);
  const free = (a) => taken.every((b) => a[2] < b[0] || b[2] < a[0] || a[3] < b[1] || b[3] < a[1]);
  const box = boxes.find(free) ?? boxes[0];
  taken.push(box);
  return [box[0], box[1] + 7];
}

const dimmed = (cluster) =>
  store.highlighted !== null && store.classOf[cluster] !== store.highlighted;

function colour(cluster, otherwise) {
  const id = store.classOf[cluster];
  return id === VOID ? otherwise : store.classes[id].colour;
}

function hit(event) {
  const box = canvas.getBoundingClientRect();
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  let nearest = null;
  let least = NEAR;
  for (const dot of dots) {
    const distance = Math.hypot(dot.x - x, dot.y - y);
    if (distance < least) [nearest, least] = [dot, distance];
  }
  return nearest;
}

function point(dot) {
  const tip = $("#tip");
  tip.hidden = !dot;
  canvas.style.cursor = dot ? "pointer" : "default";
  if (!dot) return;
  const { x, y, point } = dot;
  tip.textContent = `${nameOf(store.classOf[point.cls])} · ${point.dump}, image ${point.row}`;
  tip.style.left = `${x}px`;
  tip.style.top = `${y}px`;
}

async function open(dot) {
  if (!dot) return;
  const { dump, row, patch } = dot.point;
  const item = await api.get(api.path("item", dot.point));
  go({ view: "image", dump, row, point: middle(patch, item) });
}

/** The pixel in a patch's middle. */
export function middle({ y, x, height, width }, image) {
  const at = (share, count) => toIndex(share * count, count);
  return [at(y + height / 2, image.height), at(x + width / 2, image.width)];
}
