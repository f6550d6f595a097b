// The 3D face, to turn; and the same without WebGL, flat.

import * as three from "three";
import { OrbitControls } from "./vendor/three/OrbitControls.js";

export const COLOURS = { right: "#f0803c", left: "#4a94ee", middle: "#9aa3ad" };
const LANDMARK = 0.024, EDGE = 0.011; // radii, of a face whose size is 1
const VEIL = 2; // standard deviations
const DISTANCE = 5.8, STEP = 0.1;
const UP = new three.Vector3(0, 1, 0);

/** Whose right or left a landmark is, by its partner: right ones come first. */
export function sides(topology) {
  return topology.landmarks.map(name => /_right$/.test(name) ? "right" :
    /_left$/.test(name) ? "left" : "middle");
}

/** three has y up and z toward the viewer: half a turn about x, which mirrors nothing. */
const toScene = ([x, y, z]) => new three.Vector3(x, -y, -z);

/**
 * Draws faces on a canvas.
 * @returns an object with `show(face, topology)`, `clear()`, `turn("seen" | "front" | "side")` and
 *   `setUncertainty(bool)`.
 * @throws Error without WebGL.
 */
export function openView(canvas) {
  const renderer = new three.WebGLRenderer({ canvas, antialias: true, alpha: true });
  const scene = new three.Scene(), head = new three.Group(), veil = new three.Group();
  const camera = new three.PerspectiveCamera(30, 1, 0.1, 100);
  const light = new three.DirectionalLight("white", 1.8);
  light.position.set(-1, 2, 4);
  camera.add(light);
  head.add(veil);
  scene.add(head, camera, new three.AmbientLight("white", 1.6));
  const controls = new OrbitControls(camera, canvas);
  Object.assign(controls, { enablePan: false, minDistance: 2, maxDistance: 20 });
  const ball = new three.SphereGeometry(1, 20, 14);
  const rod = new three.CylinderGeometry(EDGE, EDGE, 1, 8);
  const meshes = [];
  let view = "seen", rotation = null, pending = 0;

  function draw() {
    pending ||= requestAnimationFrame(() => {
      pending = 0;
      renderer.render(scene, camera);
    });
  }

  function fit() {
    const { clientWidth: width, clientHeight: height } = canvas;
    if (!width || !height) return;
    renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
    renderer.setSize(width, height, false);
    camera.aspect = width / height;
    camera.updateProjectionMatrix();
    draw();
  }

  function orient() {
    head.quaternion.identity();
    if (view === "side") head.rotation.y = -Math.PI / 2;
    if (view === "seen" && rotation) {
      // In the scene it is the same with half a turn about x before and after it.
      const flip = [1, -1, -1];
      const m = rotation.flatMap((row, i) => [...row.map((r, k) => flip[i] * r * flip[k]), 0]);
      head.quaternion.setFromRotationMatrix(new three.Matrix4().set(...m, 0, 0, 0, 1));
    }
    draw();
  }

  function turn(to) {
    view = to;
    camera.position.set(0, 0, DISTANCE / Math.min(1, camera.aspect));
    controls.update();
    orient();
  }

  function clear() {
    for (const mesh of meshes.splice(0)) {
      mesh.removeFromParent();
      mesh.material.dispose();
      mesh.dispose();
    }
    draw();
  }

  function show(face, topology) {
    clear();
    const points = face.points.map(toScene), side = sides(topology);
    const colour = i => new three.Color(COLOURS[side[i]]);
    const spot = new three.Matrix4(), still = new three.Quaternion();

    const balls = new three.InstancedMesh(ball, new three.MeshLambertMaterial(), points.length);
    const clouds = new three.InstancedMesh(
      ball, new three.MeshLambertMaterial({ transparent: true, opacity: 0.25, depthWrite: false }),
      points.length);
    points.forEach((point, i) => {
      const size = new three.Vector3().setScalar(LANDMARK);
      balls.setMatrixAt(i, spot.compose(point, still, size));
      size.set(...face.std[i]).multiplyScalar(VEIL);
      clouds.setMatrixAt(i, spot.compose(point, still, size));
      for (const mesh of [balls, clouds]) mesh.setColorAt(i, colour(i));
    });

    const rods = new three.InstancedMesh(
      rod, new three.MeshLambertMaterial(), topology.edges.length);
    topology.edges.forEach(([a, b], i) => {
      const along = points[b].clone().sub(points[a]), length = along.length();
      const between = points[a].clone().lerp(points[b], 0.5);
      const lean = new three.Quaternion().setFromUnitVectors(UP, along.normalize());
      rods.setMatrixAt(i, spot.compose(between, lean, new three.Vector3(1, length, 1)));
      rods.setColorAt(i, colour(side[a] === "middle" ? b : a));
    });

    meshes.push(balls, clouds, rods);
    if (face.converged) veil.add(clouds); // else nothing is known of it
    head.add(balls, rods);
    rotation = face.rotation;
    orient();
  }

  controls.addEventListener("change", draw);
  canvas.addEventListener("keydown", event => {
    const act = {
      ArrowLeft: () => controls.rotateLeft(-STEP), ArrowRight: () => controls.rotateLeft(STEP),
      ArrowUp: () => controls.rotateUp(-STEP), ArrowDown: () => controls.rotateUp(STEP),
      "+": () => controls.dollyIn(1.1), "-": () => controls.dollyOut(1.1),
    }[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
    controls.update();
  });
  new ResizeObserver(fit).observe(canvas);
  fit();
  turn(view);
  return {
    show, clear, turn,
    setUncertainty(visible) {
      veil.visible = visible;
      draw();
    },
  };
}

/** The face as seen from the front and from its left side, as SVG, in an element. */
export function drawFlat(element, face, topology) {
  const size = 2.8, side = sides(topology);
  const views = [([x, y]) => [x - size / 2, y], ([, y, z]) => [size / 2 + z, y]];
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `${-size} ${-size / 1.4} ${2 * size} ${2 * size / 1.4}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "The face from the front and from the side");
  for (const view of views) {
    for (const [a, b] of topology.edges) {
      const line = document.createElementNS(svg.namespaceURI, "line");
      const [[x1, y1], [x2, y2]] = [view(face.points[a]), view(face.points[b])];
      Object.entries({ x1, y1, x2, y2 }).forEach(([key, value]) => line.setAttribute(key, value));
      line.setAttribute("stroke", COLOURS[side[side[a] === "middle" ? b : a]]);
      svg.append(line);
    }
  }
  element.replaceChildren(svg);
}
