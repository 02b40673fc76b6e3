// Ids, margins and similarities as colours on a canvas. Masks arrive as stored cluster ids, so that
// another name, colour or merge needs no other picture.

import { VOID, store } from "./store.js";

const KEPT = 160; // decoded pictures that are remembered
const VEIL = [10, 12, 16, 190]; // over what is not highlighted
const decoded = new Map();

/** Grey values of a PNG: {width, height, values: Uint8Array}. */
export async function greys(url) {
  const picture = decoded.get(url) ?? read(url);
  decoded.delete(url);
  decoded.set(url, picture); // used last
  picture.catch(() => decoded.delete(url));
  if (decoded.size > KEPT) decoded.delete(decoded.keys().next().value);
  return picture;
}

async function read(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error((await response.json().catch(() => ({}))).error || "no picture");
  const bitmap = await createImageBitmap(await response.blob(), {
    colorSpaceConversion: "none",
    premultiplyAlpha: "none",
  });
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const pixels = context.getImageData(0, 0, width, height).data;
  const values = new Uint8Array(width * height);
  for (let at = 0; at < values.length; at++) values[at] = pixels[4 * at];
  return { width, height, values };
}

/** Paint values through a table of 256 RGBA colours. */
function paint(canvas, { width, height, values }, table) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const context = canvas.getContext("2d");
  const target = context.createImageData(width, height);
  const words = new Uint32Array(target.data.buffer);
  const packed = Uint32Array.from(table, ([r, g, b, a]) => ((a << 24) | (b << 16) | (g << 8) | r) >>> 0);
  for (let at = 0; at < words.length; at++) words[at] = packed[values[at]];
  context.putImageData(target, 0, 0);
}

/** A mask in the classes' colours; where one is highlighted, the others lie under a veil. */
export function paintMask(canvas, ids) {
  const table = Array.from({ length: 256 }, (_, id) => {
    const cls = store.classOf[id];
    if (store.highlighted !== null && cls !== store.highlighted) return VEIL;
    return cls === VOID ? [0, 0, 0, 0] : [...store.rgb[id], 255];
  });
  paint(canvas, ids, table);
}

/** A veil over all that is not of one class. */
export function paintOnly(canvas, ids, cls) {
  const table = Array.from(store.classOf, (shown) => (shown === cls ? [0, 0, 0, 0] : VEIL));
  paint(canvas, ids, table);
}

/** Labels in colours of their own; void is clear. */
export function paintLabels(canvas, ids, colours) {
  const table = Array.from({ length: 256 }, (_, id) =>
    colours[id] ? [...colours[id], 235] : [0, 0, 0, 0],
  );
  paint(canvas, ids, table);
}

const SURE = 250; // margins from here on are no doubt: SURE of stego_core/masks/margins.py
const DOUBT = Array.from({ length: 256 }, (_, value) => {
  // On a logarithmic scale, as the doubt of an image is.
  const doubt = Math.max(0, Math.log((256 - value) / (256 - SURE)) / Math.log(256 / (256 - SURE)));
  return [255, Math.round(70 + 120 * (1 - doubt)), 40, Math.round(230 * doubt)];
});

/** Margins, 0 to 255: the less sure, the redder; sure pixels stay clear. */
export const paintMargins = (canvas, margins) => paint(canvas, margins, DOUBT);

// Perceptually even, dark to light (after matplotlib's inferno), at similarities 0, 1/8, …, 1.
const STOPS = [
  [0, 0, 4], [31, 12, 72], [85, 15, 109], [136, 34, 106], [186, 54, 85],
  [227, 89, 51], [249, 140, 10], [249, 201, 50], [252, 255, 164],
]; // prettier-ignore

function warm(share) {
  const at = Math.min(Math.max(share, 0), 1) * (STOPS.length - 1);
  const low = Math.min(Math.floor(at), STOPS.length - 2);
  return STOPS[low].map((c, channel) => Math.round(c + (at - low) * (STOPS[low + 1][channel] - c)));
}

/** Cosines as heat, from their image's mean on: patches of one image are all alike to some degree.
 * Drawn small; the browser smooths it. */
export function paintHeat(canvas, cosines) {
  const floor = cosines.mean;
  const table = Array.from({ length: 256 }, (_, byte) => {
    const share = Math.max(cosine(byte) - floor, 0) / Math.max(1 - floor, 1e-6);
    return [...warm(share), Math.round(255 * (0.66 + 0.26 * share))];
  });
  paint(canvas, cosines, table);
}

/** The cosine that a byte stands for. */
export const cosine = (byte) => (2 * byte) / 255 - 1;

/** Cosines as the server packs them. */
export function unpacked({ width, height, mean, values }) {
  const bytes = Uint8Array.from(atob(values), (character) => character.charCodeAt(0));
  return { width, height, mean, values: bytes };
}

/** Shares of the shown classes in a mask: Map of id → share. */
export function sharesOf({ values }) {
  const counts = new Float64Array(256);
  for (const id of values) counts[store.classOf[id]]++;
  const shares = [...counts].map((count, id) => [id, count / values.length]);
  return new Map(shares.filter(([, share]) => share > 0));
}

/** A colour for the n-th of things that have none; golden steps never come back to a hue. */
export function hue(n) {
  const at = (6 * n * 0.618034) % 6;
  return [5, 3, 1].map((shift) => {
    const k = (shift + at) % 6;
    return Math.round(235 * (1 - 0.65 * Math.max(0, Math.min(k, 4 - k, 1))));
  });
}
