// The files to take away, as bin/reconstruct writes them.

const FRAME = "x right, y down, z away from the viewer";

/** A float32 with no more digits than it has. */
function plain(number) {
  for (let digits = 6; digits < 9; digits++) {
    const short = Number(number.toPrecision(digits));
    if (Math.fround(short) === Math.fround(number)) return short;
  }
  return Number(number.toPrecision(9));
}

/** The text of an .obj file: y up and z toward the viewer, which is half a turn about x. */
export function toObj(name, face, topology) {
  const token = name.replace(/[^\p{L}\p{N}._#-]/gu, "_");
  // Adding 0 turns -0 into 0.
  const vertices = face.points.map(([x, y, z]) => [x, -y, -z].map(v => plain(v) + 0));
  return [
    `# ${face.topology} landmarks, x right, y up, z toward the viewer`,
    `o ${token}`,
    ...vertices.map(point => `v ${point.join(" ")}`),
    ...topology.edges.map(([a, b]) => `l ${a + 1} ${b + 1}`), // counted from 1
  ].join("\n") + "\n";
}

/** The text of a .json file, in the frame of the package. */
export function toJson(name, face, topology) {
  const { points, std, rotation, angle_std, converged, visible, x2d, yaw, pitch, roll } = face;
  const shorten = list => list.map(row => row.map(plain));
  return JSON.stringify({
    topology: face.topology, landmark_names: topology.landmarks, edges: topology.edges,
    frame: FRAME,
    faces: {
      [name]: {
        x2d: x2d.map(p => p ?? [null, null]), visible, points: shorten(points),
        std: shorten(std), rotation: shorten(rotation), angle_std: angle_std.map(plain), converged,
        yaw, pitch, roll,
      },
    },
  });
}

/** Has the browser save a text. */
export function save(fileName, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/octet-stream" }));
  link.download = fileName;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
