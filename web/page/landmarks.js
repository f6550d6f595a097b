// Landmarks: taken from MediaPipe's mesh, or read from text.
//
// Points are pairs [x, y], x right and y down; a hidden one is null.

const MIN_VISIBLE = 6;
const HIDDEN = /^(nan|null|none|na)?$/i;

/**
 * The landmarks of a topology on MediaPipe's mesh, as mesh_landmarks.to_landmarks of the Python
 * package takes them.
 * @param mesh 468 points [x, y, z], all in one unit.
 * @param places where they are: `inner`, points of the mesh, and `right_jaw` and `left_jaw`, lines
 *   of points from the temple to the chin and on to the other temple.
 * @param count how many landmarks: those of `inner` come last, before them the jaw, if any.
 */
export function toLandmarks(mesh, places, count) {
  const inner = places.inner.map(i => mesh[i]);
  const jaw = count - inner.length;
  if (jaw <= 0) return inner;
  const half = Math.floor(jaw / 2) + 1; // the chin is in both
  const [right, left] = [places.right_jaw, places.left_jaw].map(
    line => spread(line.map(i => mesh[i]), half));
  return [...right, ...left.slice(1), ...inner];
}

/** `count` points at equal steps along a line, its ends among them. */
function spread(line, count) {
  const length = [0];
  for (let i = 1; i < line.length; i++) {
    length.push(length[i - 1] + Math.hypot(...line[i].map((x, k) => x - line[i - 1][k])));
  }
  return Array.from({ length: count }, (_, step) => {
    const at = length.at(-1) * (step / (count - 1));
    const i = Math.max(1, length.findIndex(l => l >= at));
    const part = (at - length[i - 1]) / (length[i] - length[i - 1]);
    return line[i].map((x, k) => line[i - 1][k] + part * (x - line[i - 1][k]));
  });
}

/**
 * Landmarks from text: a line each of x and y, CSV with or without a header, .pts, or JSON.
 * @param text what was pasted.
 * @param topologies by name, each with its `landmarks`.
 * @returns {{topology: string, points: Array}}
 * @throws Error, in a line, if the text has no landmarks or not those of a topology.
 */
export function parseLandmarks(text, topologies) {
  const clean = text.replace(/^\uFEFF/, "").trim();
  if (!clean) throw new Error("there is no text");
  const points = /^[[{]/.test(clean) ? fromJson(clean) : fromLines(clean);
  const fitting = Object.entries(topologies).find(([, t]) => t.landmarks.length === points.length);
  if (!fitting) {
    const counts = Object.values(topologies).map(t => t.landmarks.length).join(" or ");
    throw new Error(`got ${points.length} landmarks, expected ${counts}`);
  }
  const seen = points.filter(Boolean);
  if (seen.length < MIN_VISIBLE) {
    throw new Error(`${seen.length} landmarks are visible, expected at least ${MIN_VISIBLE}`);
  }
  if (seen.every(p => p[0] === seen[0][0] && p[1] === seen[0][1])) {
    throw new Error("all landmarks are equal");
  }
  return { topology: fitting[0], points };
}

function fromLines(text) {
  const lines = text.split(/\r\n|\r|\n/).map((line, i) => [i + 1, line.trim()]);
  const isPts = lines.some(([, line]) => /^n_points\s*:/i.test(line));
  const points = [];
  for (const [number, line] of lines) {
    if (!line || /^(#|\/\/)/.test(line) || isPts && /^[{}]|:/.test(line)) continue;
    const cells = split(line);
    const values = cells.map(cell => HIDDEN.test(cell) ? null : Number(cell));
    if (!points.length && values.every(Number.isNaN)) continue; // a header
    if (cells.length !== 2 || values.some(Number.isNaN)) {
      throw new Error(`line ${number}: expected x and y, got "${line.slice(0, 40)}"`);
    }
    points.push(toPoint(values, `line ${number}`, isPts ? 1 : 0)); // .pts counts pixels from 1
  }
  return points;
}

/** Where cells are separated by semicolons or tabs, a comma is that of a decimal number. */
function split(line) {
  if (/[;\t]/.test(line)) return line.split(/[;\t]/).map(cell => cell.trim().replace(",", "."));
  return line.includes(",") ? line.split(",").map(cell => cell.trim()) : line.split(/\s+/);
}

function fromJson(text) {
  let content;
  try {
    content = JSON.parse(text);
  } catch (error) {
    throw new Error(`no JSON: ${error.message}`);
  }
  const list = Array.isArray(content) ? content : content.landmarks ?? content.points;
  if (!Array.isArray(list)) throw new Error('expected a list of [x, y], or {"landmarks": [...]}');
  return list.map((entry, i) => {
    const values = Array.isArray(entry) ? entry : entry === null ? [null, null] :
      [entry.x, entry.y];
    const isPoint = values.length === 2 && values.every(
      value => value === null || typeof value === "number");
    if (!isPoint) {
      throw new Error(`landmark ${i}: expected [x, y], got ${JSON.stringify(entry).slice(0, 40)}`);
    }
    return toPoint(values, `landmark ${i}`, 0);
  });
}

function toPoint(values, where, origin) {
  if (values.some(value => value === null)) return null;
  if (!values.every(Number.isFinite)) throw new Error(`${where}: expected finite numbers`);
  return values.map(value => value - origin);
}
