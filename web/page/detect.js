// Finds faces in pictures, by MediaPipe's Face Mesh.

const FOLDER = "vendor/face_mesh/";
const MAX_FACES = 5;

/** What can be said of a picture, or of a browser, in a line. */
export class DetectionError extends Error {}

/**
 * Loads the detector.
 * @returns an object with `photograph(canvas)` and `frame(video)`, which give the meshes found,
 *   from left to right: 468 points [x, y, z] in pixels, z in the same unit. A frame has one face
 *   at most, followed from the last one.
 * @throws DetectionError if this browser cannot run it.
 */
export async function openDetector() {
  // It reads pictures through WebGL, and without one it fails at the first of them.
  if (!document.createElement("canvas").getContext("webgl2")) {
    throw new DetectionError("no WebGL here, which finding landmarks in pictures needs");
  }
  await new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = `${FOLDER}face_mesh.js`;
    script.onload = resolve;
    script.onerror = () => reject(new DetectionError(`${script.src} cannot be loaded`));
    document.head.append(script);
  });
  const mesh = new globalThis.FaceMesh({ locateFile: name => FOLDER + name });
  let found = [];
  mesh.onResults(results => { found = results.multiFaceLandmarks ?? []; });
  // Any other option asks for models that are not in the package.
  let most = MAX_FACES;
  mesh.setOptions({ maxNumFaces: most });
  await mesh.initialize();
  // Without a face in it, so that the next is looked for anywhere, not where the last one was: as
  // mesh.reset() does, which takes a second.
  const blank = document.createElement("canvas");
  blank.width = blank.height = 64;
  await mesh.send({ image: blank }); // the first picture takes long

  async function detect(image, width, height, count) {
    if (count !== most) mesh.setOptions({ maxNumFaces: most = count });
    found = [];
    await mesh.send({ image });
    const middle = face => face.reduce((sum, p) => sum + p[0], 0);
    return found
      .map(face => face.map(p => [p.x * width, p.y * height, p.z * width]))
      .sort((a, b) => middle(a) - middle(b));
  }
  return {
    async photograph(canvas) {
      await mesh.send({ image: blank });
      return detect(canvas, canvas.width, canvas.height, MAX_FACES);
    },
    frame: video => detect(video, video.videoWidth, video.videoHeight, 1),
  };
}
