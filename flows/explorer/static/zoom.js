// Zoom of the image: the wheel about the pointer, dragging, z to see all of it again.

import { $ } from "./dom.js";

const MOST = 16;
const DRAGGED = 4; // pixels from which a press is a drag and no click
const zoom = { scale: 1, x: 0, y: 0 };
let drag = null;
let dragged = false;

export function start() {
  const stage = $("#stage");
  $("#frame").addEventListener("wheel", wheeled, { passive: false });
  stage.addEventListener("pointerdown", (event) => {
    dragged = false;
    if (zoom.scale > 1 && event.button === 0)
      drag = { x: event.clientX - zoom.x, y: event.clientY - zoom.y, from: [event.clientX, event.clientY] };
  });
  window.addEventListener("pointermove", (event) => {
    if (!drag) return;
    dragged ||= Math.hypot(event.clientX - drag.from[0], event.clientY - drag.from[1]) > DRAGGED;
    if (dragged) transform(zoom.scale, event.clientX - drag.x, event.clientY - drag.y);
  });
  window.addEventListener("pointerup", () => (drag = null));
}

/** Whether the last press was a drag. */
export const moved = () => dragged;

/** See the whole image. */
export const fitted = () => transform(1, 0, 0);

function wheeled(event) {
  event.preventDefault();
  const box = $("#stage").getBoundingClientRect();
  const scale = Math.min(Math.max(zoom.scale * Math.exp(-event.deltaY / 400), 1), MOST);
  const grown = scale / zoom.scale - 1;
  const from = [event.clientX - (box.left + box.width / 2), event.clientY - (box.top + box.height / 2)];
  transform(scale, zoom.x - from[0] * grown, zoom.y - from[1] * grown);
}

/** Scale and shift, so that no more than half of the stage leaves its own place. */
function transform(scale, x, y) {
  const stage = $("#stage");
  const room = [stage.offsetWidth, stage.offsetHeight].map((side) => (side * (scale - 1)) / 2);
  const inside = (value, most) => Math.min(Math.max(value, -most), most);
  Object.assign(zoom, { scale, x: inside(x, room[0]), y: inside(y, room[1]) });
  stage.style.transform = scale === 1 ? "" : `translate(${zoom.x}px, ${zoom.y}px) scale(${scale})`;
  stage.style.setProperty("--zoom", scale);
}
