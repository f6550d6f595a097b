// From 2D landmarks to 3D, by the exported network.

import * as ort from "./vendor/onnxruntime-web/ort.wasm.bundle.min.mjs";

// Threads need headers that not every file server sends.
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = {
  wasm: new URL("./vendor/onnxruntime-web/ort-wasm-simd-threaded.wasm", import.meta.url).href,
};

const VAGUE = 0.5; // mean standard deviation, in sizes of the face
const DEGREES = 180 / Math.PI;

/**
 * Opens exported weights.
 * @param urls of the files by the name of their topology.
 * @returns a function that lifts the points ([x, y], or null where hidden) of a topology, to a
 *   face: `topology`, `x2d`, `visible`; `points` and `std` (N rows of 3 numbers) and `rotation`
 *   (3 rows of 3), of the head frame, x right, y down, z away from the viewer; `yaw`, `pitch` and
 *   `roll`, and their standard deviations `angle_std`, in degrees; `converged`; and `doubt`, what
 *   is wrong, if anything.
 */
export async function openLifter(urls) {
  const sessions = {};
  for (const [topology, url] of Object.entries(urls)) {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
    sessions[topology] = await ort.InferenceSession.create(
      new Uint8Array(await response.arrayBuffer()),
      { logSeverityLevel: 3 }); // errors only, not all that it simplifies
  }
  return async (topology, x2d) => {
    const face = await run(sessions[topology], x2d);
    const doubt = face.converged ? vague(face) : await likeness(sessions[topology], x2d);
    return { topology, x2d, visible: x2d.map(Boolean), ...face, doubt };
  };
}

async function run(session, x2d) {
  // Around their middle: float32 has no digits for a small face far from the origin.
  const seen = x2d.filter(Boolean);
  const middle = [0, 1].map(k => seen.reduce((sum, p) => sum + p[k], 0) / seen.length);
  const near = x2d.flatMap(p => p ? [p[0] - middle[0], p[1] - middle[1]] : [0, 0]);
  const found = await session.run({
    x2d: new ort.Tensor("float32", near, [1, x2d.length, 2]),
    visible: new ort.Tensor("bool", x2d.map(Boolean), [1, x2d.length]),
  });
  const rotation = rows(found.rotation.data);
  return {
    points: rows(found.points.data), std: rows(found.std.data), rotation,
    angle_std: Array.from(found.angle_std.data),
    converged: Boolean(found.converged.data[0]), ...angles(rotation),
  };
}

function rows(numbers) {
  return Array.from({ length: numbers.length / 3 },
    (_, i) => Array.from(numbers.subarray(3 * i, 3 * i + 3)));
}

/** Yaw is positive to the image's right, pitch upward, roll clockwise; the head turns by yaw
 * first, then by pitch, then by roll. */
function angles(rotation) {
  return {
    yaw: DEGREES * Math.atan2(rotation[2][0], rotation[2][2]),
    pitch: -DEGREES * Math.asin(Math.max(-1, Math.min(1, rotation[2][1]))),
    roll: DEGREES * Math.atan2(-rotation[0][1], rotation[1][1]),
  };
}

/** The mean standard deviation, in sizes of the face. */
export function meanStd(face) {
  const all = face.std.flat();
  return all.reduce((sum, s) => sum + s, 0) / all.length;
}

function vague(face) {
  return meanStd(face) > VAGUE ? `The shape is known to ${(100 * meanStd(face)).toFixed(0)} % of ` +
    "its size only; too few landmarks, or too noisy?" : null;
}

/** What landmarks that are no face's look like: those of a mirrored one, if they then are. */
async function likeness(session, x2d) {
  const flipped = await run(session, x2d.map(p => p && [-p[0], p[1]]));
  const roll = Math.abs(flipped.roll);
  const like = !flipped.converged ? "in another order?" : roll < 45 ? "mirrored?" :
    roll > 135 ? "with y upward?" : "with x and y exchanged?";
  return `These are not the landmarks of a face seen from the front; ${like}`;
}
