// The page: what is chosen is found, lifted, drawn and written.

import { DetectionError, openDetector } from "./detect.js";
import { save, toJson, toObj } from "./files.js";
import { parseLandmarks, toLandmarks } from "./landmarks.js";
import { meanStd, openLifter } from "./lift.js";
import { COLOURS, drawFlat, openView, sides } from "./scene.js";

const MAX_SIDE = 1600; // of the picture that is searched and drawn, in pixels
const page = Object.fromEntries([...document.querySelectorAll("[id]")].map(e => [e.id, e]));
const all = selector => [...document.querySelectorAll(selector)];

let topologies, mesh, lifter, detector, view;
let shown = null; // the name and the face that the files to save are of
let picture = null; // the canvas behind the landmarks, and how many pixels of the file one has
let faces = []; // the meshes found in the photograph
let stream = null; // of the camera

function say(text, isError = false) {
  if (page.message.textContent !== text) page.message.textContent = text;
  page.message.classList.toggle("error", isError);
}

async function attempt(act, what) {
  try {
    await act();
  } catch (error) {
    console.warn(error);
    say(`${what}: ${error.message}`, true);
  }
}

/** One thing after the other: the networks and the page have one state. */
let last = Promise.resolve();
function queue(act, what) {
  last = last.then(() => attempt(act, what));
  return last;
}

// --- the picture

/** The landmarks and edges of the face over its picture, or alone. */
function drawPicture(face) {
  const topology = topologies[face.topology], side = sides(topology);
  const canvas = page.picture, context = canvas.getContext("2d");
  let place;
  if (picture) {
    [canvas.width, canvas.height] = [picture.canvas.width, picture.canvas.height];
    context.drawImage(picture.canvas, 0, 0);
    place = p => p.map(value => value / picture.ratio);
  } else {
    const seen = face.x2d.filter(Boolean), room = 640;
    const low = [0, 1].map(k => Math.min(...seen.map(p => p[k])));
    const high = [0, 1].map(k => Math.max(...seen.map(p => p[k])));
    const extent = Math.max(high[0] - low[0], high[1] - low[1]);
    canvas.width = canvas.height = room;
    place = p => p.map((v, k) =>
      room / 2 + 0.85 * room * (v - (low[k] + high[k]) / 2) / extent);
  }
  page.hint.hidden = true;
  // Lines as thick on the screen, whatever the picture's size.
  const pixel = Math.max(canvas.width / canvas.clientWidth, canvas.height / canvas.clientHeight);
  context.lineWidth = 2 * pixel;
  const at = face.x2d.map(p => p && place(p));
  for (const [a, b] of topology.edges) {
    if (!at[a] || !at[b]) continue;
    context.strokeStyle = COLOURS[side[side[a] === "middle" ? b : a]];
    context.beginPath();
    context.moveTo(...at[a]);
    context.lineTo(...at[b]);
    context.stroke();
  }
  at.forEach((p, i) => {
    if (!p) return;
    context.fillStyle = COLOURS[side[i]];
    context.beginPath();
    context.arc(...p, 2.6 * pixel, 0, 2 * Math.PI);
    context.fill();
  });
  const count = at.filter(Boolean).length;
  canvas.setAttribute("aria-label", `${count} landmarks${picture ? " in the picture" : ""}`);
}

function drawPictureAlone() {
  [page.picture.width, page.picture.height] = [picture.canvas.width, picture.canvas.height];
  page.picture.getContext("2d").drawImage(picture.canvas, 0, 0);
  page.picture.setAttribute("aria-label", "A picture without a face");
  page.hint.hidden = true;
}

function copy(image, width, height) {
  const ratio = Math.max(1, width / MAX_SIDE, height / MAX_SIDE);
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(width / ratio);
  canvas.height = Math.round(height / ratio);
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return { canvas, ratio: width / canvas.width };
}

// --- the face

async function showFace(name, topology, points, milliseconds = []) {
  const start = performance.now();
  const face = await lifter(topology, points);
  const times = [...milliseconds, performance.now() - start];
  if (!face.points.flat().every(Number.isFinite)) {
    clearFace();
    throw new Error("the reconstruction is not finite");
  }
  shown = { name, face };
  drawPicture(face);
  view.show(face, topologies[topology]);
  ["yaw", "pitch", "roll"].forEach((angle, i) => {
    page[angle].textContent =
      `${face[angle].toFixed(1).replace("-", "−")}° ± ${face.angle_std[i].toFixed(1)}`;
  });
  page.std.textContent = `${(100 * meanStd(face)).toFixed(1)} %`;
  page.time.textContent = `${times.map(t => Math.ceil(t)).join(" + ")} ms`;
  page.verdict.textContent = face.doubt ?? "";
  page.verdict.hidden = !face.doubt;
  page.numbers.classList.toggle("doubtful", !face.converged);
  for (const button of all("[data-save]")) button.disabled = false;
}

function clearFace() {
  shown = null;
  view.clear();
  for (const id of ["yaw", "pitch", "roll", "std", "time"]) page[id].textContent = "–";
  page.verdict.hidden = true;
  for (const button of all("[data-save]")) button.disabled = true;
}

function showFound(name, found, milliseconds) {
  const topology = page.jaw.checked ? "ibug68" : "flame51";
  const inFile = found.map(p => p.map(value => value * picture.ratio));
  const points = toLandmarks(inFile, mesh, topologies[topology].landmarks.length);
  const places = points.map(p => p.slice(0, 2).map(value => Math.round(1000 * value) / 1000));
  return showFace(name, topology, places, milliseconds);
}

// --- photographs

async function photograph(name, blob) {
  stopCamera();
  say(`Looking at ${name} …`);
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob); // turned as its EXIF data say
  } catch {
    throw new Error("no picture that this browser can read");
  }
  picture = copy(bitmap, bitmap.width, bitmap.height);
  bitmap.close();
  const start = performance.now();
  faces = await detector.photograph(picture.canvas);
  const time = performance.now() - start;
  page.which.hidden = faces.length < 2;
  page.face.replaceChildren(...faces.map((_, i) => new Option(`${i + 1} of ${faces.length}`, i)));
  picture.name = name.replace(/\.[^.]*$/, "");
  if (!faces.length) {
    clearFace();
    drawPictureAlone();
    throw new Error("no face was found");
  }
  await showFound(picture.name, faces[0], [time]);
  say(`${name}: ${faces.length > 1 ? `${faces.length} faces, ` : ""}landmarks by MediaPipe`);
}

/** Again, of another face of the photograph or with other landmarks. */
async function again() {
  if (stream || !picture || !faces.length) return;
  const face = Number(page.face.value);
  await showFound(faces.length > 1 ? `${picture.name}#${face}` : picture.name, faces[face], []);
}

async function landmarks(name, text) {
  const { topology, points } = parseLandmarks(text, topologies);
  stopCamera();
  picture = null;
  faces = [];
  page.which.hidden = true;
  await showFace(name, topology, points);
  page.lifted.scrollIntoView({ block: "nearest" });
  say(`${name}: ${points.length} landmarks, ${topology}`);
}

function open(file) {
  if (!file) return;
  const isText = /\.(pts|json|csv|tsv|txt)$/i.test(file.name);
  queue(async () => {
    if (isText) await landmarks(file.name.replace(/\.[^.]*$/, ""), await file.text());
    else if (detector) await photograph(file.name, file);
    else throw new Error("pictures cannot be searched here, landmarks can be lifted");
  }, file.name);
}

// --- the camera

function stopCamera() {
  stream?.getTracks().forEach(track => track.stop());
  stream = null;
  page.camera.textContent = "Camera";
}

async function startCamera() {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Error("browsers give it to pages from https or localhost only");
  }
  page.camera.disabled = true; // while the browser asks
  try {
    stream = await navigator.mediaDevices.getUserMedia(
      { video: { facingMode: "user", width: { ideal: 640 } } });
  } catch (error) {
    const reasons = { NotFoundError: "there is none", NotAllowedError: "it is not allowed",
      NotReadableError: "another program has it" };
    throw new Error(reasons[error.name] ?? error.message);
  } finally {
    page.camera.disabled = false;
  }
  const current = stream, video = document.createElement("video");
  Object.assign(video, { srcObject: stream, muted: true, playsInline: true });
  await video.play();
  page.camera.textContent = "Stop";
  page.which.hidden = true;
  faces = [];
  say("The camera runs; its pictures stay here, and are not mirrored");
  follow(video, current);
}

/** Frame by frame, until another thing is chosen. */
async function follow(video, current) {
  while (stream === current && current.active) {
    await new Promise(requestAnimationFrame);
    await queue(async () => {
      if (stream !== current || !video.videoWidth) return;
      const start = performance.now();
      const found = await detector.frame(video);
      const time = performance.now() - start;
      picture = { ...copy(video, video.videoWidth, video.videoHeight), name: "camera" };
      if (found.length) await showFound("camera", found[0], [time]);
      else drawPictureAlone();
    }, "Camera");
  }
  if (stream === current) stopCamera(); // it was taken away
}

// --- the page

function listLoaded(items) {
  const megabytes = bytes => bytes < 1e5 ? `${Math.ceil(bytes / 1e3)} kB` :
    `${(bytes / 1e6).toFixed(1)} MB`;
  const link = (text, href) => {
    const element = document.createElement("a");
    Object.assign(element, { href, rel: "noreferrer", textContent: text });
    return element;
  };
  page.loaded.tBodies[0].replaceChildren(...items.map(item => {
    const row = document.createElement("tr");
    row.insertCell().append([item.name, item.version, `(${item.what})`].filter(Boolean).join(" "));
    row.insertCell().append(link(item.from.replace(/^https:\/\/|\/$/g, ""), item.from));
    row.insertCell().append(item.text ? link(item.licence, item.text) : item.licence);
    row.insertCell().append(megabytes(item.bytes));
    return row;
  }));
}

function connect() {
  page.choose.onclick = () => page.file.click();
  page.file.onchange = () => {
    open(page.file.files[0]);
    page.file.value = ""; // the same file can be chosen again
  };
  for (const type of ["dragover", "dragleave", "drop"]) {
    addEventListener(type, event => {
      event.preventDefault();
      document.body.classList.toggle("dropping", type === "dragover");
      if (type === "drop") open(event.dataTransfer.files[0]);
    });
  }
  page.camera.onclick = () => stream ? stopCamera() : attempt(startCamera, "Camera");
  page.face.onchange = page.jaw.onchange = () => queue(again, "Face");
  page.lift.onclick = () => queue(() => landmarks("pasted", page.text.value), "Landmarks");
  page.uncertainty.onchange = () => view.setUncertainty(page.uncertainty.checked);
  for (const button of all("[data-view]")) {
    button.onclick = () => {
      view.turn(button.dataset.view);
      for (const other of all("[data-view]")) {
        other.setAttribute("aria-pressed", String(other === button));
      }
    };
  }
  for (const button of all("[data-save]")) {
    button.onclick = () => {
      const write = { obj: toObj, json: toJson }[button.dataset.save];
      const { name, face } = shown;
      save(`${name}.${button.dataset.save}`, write(name, face, topologies[face.topology]));
    };
  }
}

/** The drawing of faces; without WebGL a flat one. */
function openDrawing() {
  try {
    view = openView(page.view);
    for (const button of all("[data-view]")) button.disabled = false;
  } catch (error) {
    console.warn(error);
    page.view.hidden = page.how.hidden = true;
    page.flat.hidden = false;
    page.uncertainty.disabled = true;
    view = {
      show: (face, topology) => drawFlat(page.flat, face, topology),
      clear: () => page.flat.replaceChildren(),
    };
  }
}

async function fetched(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
  return response;
}

async function main() {
  connect();
  openDrawing();
  const loaded = await (await fetched("data/loaded.json")).json();
  listLoaded(loaded);
  const size = loaded.reduce((sum, item) => sum + item.bytes, 0) / 1e6;
  say(`Loading ${size.toFixed(0)} MB …`);
  ({ topologies, mesh } = await (await fetched("data/landmarks.json")).json());
  // All is fetched now, so that the page needs no network later.
  const examples = {};
  for (const { dataset: { photograph: name } } of all("[data-photograph]")) {
    examples[name] = await (await fetched(`examples/${name}`)).blob();
  }
  const placed = await (await fetched("examples/hopper.json")).text();
  page.example.onclick = () => { page.text.value = placed; };
  lifter = await openLifter(Object.fromEntries(
    Object.keys(topologies).map(name => [name, `weights/${name}.onnx`])));
  page.lift.disabled = false;
  try {
    detector = await openDetector();
  } catch (error) {
    if (!(error instanceof DetectionError)) console.warn(error);
    page.pasted.open = true;
    page.hint.textContent = "Pictures cannot be searched here; landmarks can be lifted, below";
    say(`Ready for landmarks that you have; ${error.message}`);
    return;
  }
  page.choose.disabled = page.camera.disabled = false;
  for (const button of all("[data-photograph]")) {
    const name = button.dataset.photograph;
    button.disabled = false;
    button.onclick = () => queue(() => photograph(name, examples[name]), name);
  }
  say("Ready");
}

main().catch(error => {
  console.warn(error);
  say(`This page cannot run here: ${error.message}`, true);
}).finally(() => { document.body.dataset.loaded = "true"; });
