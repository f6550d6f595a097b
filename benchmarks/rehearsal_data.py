"""Licensed data sets in their true layout and size, made from ICT-FaceKit for the rehearsal.

No number in them is of the licensed data: the faces are ICT's, laid over grids that have as many
vertices and triangles as the licensed meshes.
"""

import json
import pathlib

import h5py
import numpy as np
import scipy.io
import scipy.spatial
import trimesh
from PIL import Image

from deepmds_jax import topologies
from deepmds_jax.data.sources import flame, synthetic
from deepmds_jax.data.sources.coma import TEST_SUBJECTS
from deepmds_jax.geometry import procrustes, rotation_from_angles

_TO_FRAME = np.array([1, -1, -1])
_SUBJECTS = (
    "FaceTalk_170725_00137_TA", "FaceTalk_170728_03272_TA", "FaceTalk_170731_00024_TA",
    "FaceTalk_170809_00138_TA", "FaceTalk_170811_03274_TA", "FaceTalk_170811_03275_TA",
    "FaceTalk_170904_00128_TA", "FaceTalk_170904_03276_TA", "FaceTalk_170908_03277_TA",
    "FaceTalk_170912_03278_TA", "FaceTalk_170913_03279_TA", "FaceTalk_170915_00223_TA",
)
_EXPRESSIONS = (
    "bareteeth", "cheeks_in", "eyebrow", "high_smile", "lips_back", "lips_up", "mouth_down",
    "mouth_extreme", "mouth_middle", "mouth_open", "mouth_side", "mouth_up",
)
assert set(TEST_SUBJECTS) <= set(_SUBJECTS)


class Surface:
    """ICT's face sampled on a grid of angles and heights, every vertex linear in ICT's.

    Attributes:
      mean: (V, 3) mm, y up and z towards the viewer.
      identity, expression: (K, V, 3) offsets of a standard deviation, or of the full expression.
      triangles: (T, 3) int64.
      marks: (68, 3) iBUG landmarks of the mean.
    """

    def __init__(self, path: pathlib.Path, num_vertices: int, num_triangles: int):
        ict = np.load(path)
        mean = 10 * ict["mean"].astype(np.float64)
        identity, expression = (10 * ict[k].astype(np.float64) for k in ("identity", "expression"))
        axis = np.array([0, 0, mean[:, 2].max() - 110])  # within the head, 11 cm behind the nose
        flat = self._unroll(mean, axis)
        columns = int(np.sqrt(num_vertices * 0.75))
        rows = -(-num_vertices // columns)
        marks = mean[ict["landmark_vertices"]]
        low, high = (f(self._unroll(marks, axis), axis=0) for f in (np.min, np.max))
        margin = 0.12 * (high - low)
        u, v = np.meshgrid(np.linspace(low[0] - margin[0], high[0] + margin[0], columns),
                           np.linspace(high[1] + margin[1], low[1] - margin[1], rows))
        grid = np.stack([u.ravel(), v.ravel()], 1)[:num_vertices]
        # The outer surface only, of the three vertices around.
        outer = flat[:, 2] > 55
        tree = scipy.spatial.cKDTree(flat[outer, :2])
        distance, near = tree.query(grid, 4)
        weight = 1 / (distance + 0.3) ** 2
        weight /= weight.sum(1, keepdims=True)
        vertices = np.flatnonzero(outer)[near]

        def sample(points):
            return np.einsum("vk,vkd->vd", weight, points[vertices])

        self.mean = sample(mean)
        self.identity = np.stack([sample(mode) for mode in identity])
        self.expression = np.stack([sample(mode) for mode in expression])
        corner = np.arange(columns * (rows - 1)).reshape(rows - 1, columns)[:, :-1].ravel()
        below, right = corner + columns, corner + 1
        triangles = np.concatenate([np.stack([corner, below, right], 1),
                                    np.stack([right, below, below + 1], 1)])
        triangles = triangles[(triangles < num_vertices).all(1)]
        self.triangles = np.resize(triangles, (num_triangles, 3))
        self.marks = marks

    @staticmethod
    def _unroll(points, axis):
        """(V, 3): angle about the vertical axis in mm of a circle of 80 mm, height, radius."""
        x, y, z = (points - axis).T
        return np.stack([80 * np.arctan2(x, z), y, np.hypot(x, z)], 1)

    def face(self, rng, strength=1.0):
        """Coefficients and vertices (V, 3) of a random face; expressions as strong as asked."""
        a = rng.normal(size=len(self.identity))
        b = strength * rng.uniform(0, 1, len(self.expression)) * rng.uniform(0, 0.5)
        return a, (self.mean + np.einsum("k,kvd->vd", a, self.identity)
                   + np.einsum("k,kvd->vd", b, self.expression))

    def nearest(self, points):
        """Vertices (N,) of the mean next to points (N, 3), each taken once."""
        taken = []
        tree = scipy.spatial.cKDTree(self.mean)
        for point in points:
            _, near = tree.query(point, len(points))
            taken.append(next(int(v) for v in near if v not in taken))
        return np.array(taken)

    def bfm72(self):
        """(72, 3) landmarks of the mean: those of `synthetic`, laid on those of ICT."""
        names = topologies.get("bfm72").landmarks, topologies.get("ibug68").landmarks
        shared = [name for name in names[0] if name in names[1]]
        source = np.asarray(synthetic.load("bfm72").mean, np.float64) * _TO_FRAME
        rows = [[order.index(name) for name in shared] for order in names]
        fit = procrustes(source[rows[0]].astype(np.float32), self.marks[rows[1]].astype(np.float32))
        return np.asarray(fit(source.astype(np.float32)))


def components(surface, num, rng):
    """(3 V, num) orthonormal-sized components and (num,) deviations: ICT's, then small waves."""
    modes = list(surface.identity)
    while len(modes) < num:
        wave = np.sin(surface.mean @ rng.normal(size=(3, 3)) / 40 + rng.uniform(0, 6, 3))
        modes.append(0.02 * wave)
    flat = np.stack([mode.ravel() for mode in modes[:num]], 1)
    size = np.linalg.norm(flat, axis=0)
    return (flat / size).astype(np.float32), size.astype(np.float32)


def write_bfm(folder, ict, rng):
    """The Basel Face Model 2009: 53,490 vertices, 199 components of shape and of colour."""
    surface = Surface(ict, 53490, 106466)
    folder.mkdir(parents=True, exist_ok=True)
    shape, deviations = components(surface, 199, rng)
    colour = rng.normal(size=shape.shape).astype(np.float32)
    colour /= np.linalg.norm(colour, axis=0)
    skin = np.tile([175, 125, 105], surface.mean.shape[0]).astype(np.float32)
    scipy.io.savemat(folder / "01_MorphableModel.mat", {
        "shapeMU": 1000 * surface.mean.reshape(-1, 1).astype(np.float32), "shapePC": shape,
        "shapeEV": 1000 * deviations[:, None], "texMU": skin[:, None], "texPC": colour,
        "texEV": np.full((199, 1), 100, np.float32), "tl": surface.triangles[:, ::-1] + 1.0,
        "segbin": np.zeros((53490, 4), np.uint8),
        "segMM": np.zeros((4, 1)), "segMB": np.zeros((4, 1)),
    })
    scipy.io.savemat(folder / "landmarks_me_72.mat", {
        "landmarks": (surface.nearest(surface.bfm72()) + 1)[None].astype(np.uint16)})
    scipy.io.savemat(folder / "landmarks_68.mat", {
        "landmarks_68": (surface.nearest(surface.marks) + 1)[None].astype(np.uint16)})
    return surface


def write_bfm2017(folder, ict, rng, name, num_vertices):
    """The Basel Face Model 2017 or 2019 in statismo's HDF5: 199 + 100 + 199 components."""
    surface = Surface(ict, num_vertices, 2 * num_vertices - 900)
    folder.mkdir(parents=True, exist_ok=True)
    shape, deviations = components(surface, 199, rng)
    expression = np.stack([surface.expression[i % 53].ravel() for i in range(100)], 1)
    expression = (0.1 * expression).astype(np.float32)
    size = np.linalg.norm(expression, axis=0)
    colour = rng.normal(size=shape.shape).astype(np.float32)
    marks = surface.nearest(surface.marks)
    order = topologies.get("ibug68").landmarks
    named = [{"id": name, "coordinates": surface.mean[marks[order.index(own)]].tolist()}
             for name, own in (("center.nose.tip", "pronasale"),
                               ("right.eye.corner_outer", "exocanthion_right"),
                               ("left.lips.corner", "cheilion_left"))]
    with h5py.File(folder / name, "w") as file:
        for part, mean, basis, deviation in (
            ("shape", surface.mean.ravel(), shape, deviations),
            ("expression", np.zeros(3 * num_vertices), expression / size, size),
            ("color", np.tile([0.6, 0.4, 0.35], num_vertices), colour, np.full(199, 1e-3)),
        ):
            model = file.create_group(f"{part}/model")
            model["mean"] = mean.astype(np.float32)
            model["pcaBasis"] = basis
            model["pcaVariance"] = (deviation**2).astype(np.float32)
            model["noiseVariance"] = np.float32(0)
            representer = file.create_group(f"{part}/representer")
            representer["cells"] = surface.triangles.T.astype(np.int32)
            representer["points"] = surface.mean.T.astype(np.float32)
        file["metadata/landmarks/json"] = json.dumps(named)
    (folder / "landmarks_68.txt").write_text("\n".join(map(str, marks)) + "\n")


def write_flame(folder, ict):
    """FLAME's template and its embedding of 51 landmarks, as the release of Deep-MDS has it."""
    surface = Surface(ict, flame.NUM_VERTICES, flame.NUM_TRIANGLES)
    folder.mkdir(parents=True, exist_ok=True)
    write_mesh(folder / "template.ply", surface.mean / 1000, surface.triangles)
    # Each landmark at a corner of a triangle that has it.
    vertices = surface.nearest(surface.marks)[17:]
    triangles = np.array([np.flatnonzero((surface.triangles == v).any(1))[0] for v in vertices])
    weights = (surface.triangles[triangles] == vertices[:, None]).astype(float)
    weights /= weights.sum(1, keepdims=True)
    scipy.io.savemat(folder / "l_f_idx.mat", {"l_f_idx": triangles[:, None].astype(np.uint16)})
    scipy.io.savemat(folder / "l_b_coord.mat", {"l_b_coord": weights})
    return surface, vertices


def write_coma(folder, ict, rng, frames):
    """CoMA's tree: 12 people, 12 expressions, some frames of each, heads that move."""
    surface, _ = write_flame(folder, ict)
    for subject in _SUBJECTS:
        identity, _ = surface.face(rng)
        for expression in _EXPRESSIONS:
            weights = rng.uniform(0, 1, 53) * (rng.uniform(size=53) < 0.1)
            for frame in range(frames):
                strength = np.sin(np.pi * (frame + 1) / (frames + 1))
                points = (surface.mean + np.einsum("k,kvd->vd", identity, surface.identity)
                          + strength * np.einsum("k,kvd->vd", weights, surface.expression))
                moved = points @ turn(rng, 8) + rng.normal(scale=5, size=3)
                path = folder / subject / expression / f"{expression}.{frame + 1:06d}.ply"
                write_mesh(path, moved / 1000, surface.triangles)


def write_casia(folder, ict, rng, people, per_person, dense, photograph):
    """CASIA-3D: scans in VRML, photographs in BMP, landmarks, fitted FLAME meshes.

    Args:
      folder: where to write.
      ict: ICT's file.
      rng: NumPy's generator.
      people, per_person: how many scans.
      dense: a `Surface` of the density of a scanner.
      photograph: from identity (100,), expression (53,) and angles (3,) in degrees to a picture
        (480, 640, 3) uint8 and the landmarks (68, 2) that are found in it, or None for these; None
        for pictures of noise with landmarks that nobody looked for.
    """
    surface, vertices = write_flame(folder, ict)
    for person in range(1, people + 1):
        identity = rng.normal(size=100)
        for scan in range(1, per_person + 1):
            name = f"{person:03d}-{scan:03d}"
            weights = rng.uniform(0, 1, 53) * (rng.uniform(size=53) < 0.1)
            fitted, scanned = (
                s.mean + np.einsum("k,kvd->vd", identity, s.identity)
                + np.einsum("k,kvd->vd", weights, s.expression) for s in (surface, dense))
            angles = rng.uniform(-1, 1, 3) * [30, 15, 10]
            rotation = np.asarray(rotation_from_angles(*map(np.float32, angles)), float)
            # For row vectors, and from the camera's frame to that of the scanner.
            rotation = (_TO_FRAME[:, None] * rotation * _TO_FRAME).T
            shift = np.array([12.0, -20.0, -950.0])
            points = scanned @ rotation + shift
            # A scanner sees what faces it, in lines, with noise.
            seen = rng.permutation(len(points))[: int(0.9 * len(points))]
            points = points[np.sort(seen)] + rng.normal(scale=0.1, size=(len(seen), 3))
            write_wrl(folder / "3D-Face-WRL" / f"{person:03d}" / f"{name}.wrl", points)
            marks = fitted[vertices] @ rotation + shift
            path = folder / "3D-Face-BMP" / f"{person:03d}" / f"{name}.bmp"
            if photograph is None:
                jaw = dense.marks[:17] @ rotation + shift
                found = (np.concatenate([jaw, marks]) - shift)[:, :2] * [1.6, -1.6] + [320, 240]
                found += rng.normal(size=(68, 2))
                picture(path, (480, 640), rng)
            else:
                pixels, found = photograph(identity, weights, angles)
                Image.fromarray(pixels).save(make(path))
            if found is not None:
                save(folder / "landmarks" / f"{name}.npy", found)
            start = marks + rng.normal(scale=2, size=(51, 3))
            save(folder / "scan_landmarks" / f"{name}.npy", start)
            # As a fit gives it: in metres, in a pose of its own, a millimetre off.
            wave = np.sin(surface.mean @ rng.normal(size=(3, 3)) / 60)
            write_mesh(folder / "flame" / f"{name}.ply", (fitted + wave) / 1000, surface.triangles)


def write_celeba(folder, ict, rng, num, bfm):
    """CelebA with fits: photographs of 178 x 218, coefficients, 72 landmarks, the list of points.

    `bfm/` is the model's folder, made before.
    """
    vertices, inner_vertices = bfm.nearest(bfm.bfm72()), bfm.nearest(bfm.marks)[17:]
    names = topologies.get("bfm72").landmarks
    rows = []
    for i in range(1, num + 1):
        name = f"{i:06d}"
        a = rng.normal(size=100)
        shape = bfm.mean[vertices] + np.einsum("k,knd->nd", a, bfm.identity[:, vertices])
        x2d = 0.65 * (shape @ turn(rng, 25))[:, :2] * [1, -1] + [89, 110]
        x2d += rng.normal(scale=0.5, size=x2d.shape)
        picture(folder / "images" / f"{name}.jpg", (218, 178), rng)
        save(folder / "landmarks" / f"{name}.npy", x2d)
        if i < 10:  # figure 5 asks for these
            inner = bfm.mean[inner_vertices] + np.einsum("k,knd->nd", a,
                                                         bfm.identity[:, inner_vertices])
            save(folder / "landmarks_flame51" / f"{name}.npy",
                 0.65 * inner[:, :2] * [1, -1] + [89, 110])
        scipy.io.savemat(make(folder / "coefficients" / f"{name}.mat"),
                         {"id": a[None, :80].astype(np.float32)})
        groups = [["exocanthion_right", "endocanthion_right"],
                  ["exocanthion_left", "endocanthion_left"],
                  ["pronasale"], ["cheilion_right"], ["cheilion_left"]]
        five = [x2d[[names.index(n) for n in group]].mean(0) for group in groups]
        rows.append(f"{name}.jpg  " + "  ".join(str(int(v)) for v in np.ravel(five)))
    heads = " ".join(f"{n}_{c}" for n in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
                     for c in "xy")
    (folder / "list_landmarks_celeba.txt").write_text("\n".join([str(num), heads, *rows]) + "\n")


def write_aflw2000(folder, ict, rng, num, bfm):
    """AFLW2000-3D: photographs of 450 x 450 and the fits of 3DDFA, all fields of its files."""
    vertices = bfm.nearest(bfm.marks)
    for i in range(num):
        name = f"image{i + 2:05d}"
        a = rng.normal(size=100)
        head = 1000 * (bfm.mean[vertices] + np.einsum("k,knd->nd", a, bfm.identity[:, vertices]))
        pitch, yaw, roll = np.deg2rad(rng.uniform(-1, 1, 3) * [25, 70, 20])
        scale = 1.2e-3
        placed = scale * head @ ddfa_rotation(pitch, yaw, roll).T + [225, 225, 0]
        placed[:, 1] = 451 - placed[:, 1]
        picture(folder / f"{name}.jpg", (450, 450), rng)
        scipy.io.savemat(folder / f"{name}.mat", {
            "pt2d": np.full((2, 21), -1.0), "roi": np.array([[1, 1, 450, 450]]),
            "Illum_Para": np.zeros((1, 10)), "Color_Para": np.ones((1, 7)),
            "Tex_Para": np.zeros((199, 1)), "Shape_Para": np.zeros((199, 1)),
            "Exp_Para": np.zeros((29, 1)),
            "Pose_Para": np.array([[pitch, yaw, roll, 225, 225, 0, scale]]),
            "pt3d_68": placed.T,
        })


def ddfa_rotation(pitch, yaw, roll):
    """3DDFA's rotation: Rx Ry Rz, each the transpose of the usual turn."""
    def about(angle, a, b):
        m = np.eye(3)
        m[a, a] = m[b, b] = np.cos(angle)
        m[a, b], m[b, a] = np.sin(angle), -np.sin(angle)
        return m

    return about(pitch, 1, 2) @ about(yaw, 2, 0) @ about(roll, 0, 1)


def turn(rng, degrees):
    """A random rotation (3, 3) for row vectors, of some degrees about each axis."""
    angles = rng.uniform(-degrees, degrees, 3)
    return scipy.spatial.transform.Rotation.from_euler("xyz", angles, degrees=True).as_matrix()


def make(path):
    """The path, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def save(path, array):
    """Writes an array."""
    np.save(make(path), array)


def picture(path, size, rng):
    """A picture of coarse noise, for readers: nobody looks for a face in it."""
    coarse = rng.integers(0, 255, (size[0] // 20, size[1] // 20, 3), np.uint8)
    Image.fromarray(coarse).resize(size[::-1]).save(make(path))


def write_mesh(path, vertices, triangles):
    """Binary PLY as CoMA's."""
    mesh = trimesh.Trimesh(vertices.astype(np.float32), triangles, process=False)
    make(path).write_bytes(trimesh.exchange.ply.export_ply(mesh, vertex_normal=False))


def write_wrl(path, points):
    """VRML 2.0 with points, normals and triangles, as the scanner's program writes it."""
    rows = ",\n".join(f"{x:.4f} {y:.4f} {z:.4f}" for x, y, z in points)
    normals = ",\n".join(["0.0000 0.0000 1.0000"] * len(points))
    index = ",\n".join(f"{i}, {i + 1}, {i + 2}, -1" for i in range(len(points) - 2))
    make(path).write_text(
        "#VRML V2.0 utf8\nShape {\n geometry IndexedFaceSet {\n  solid FALSE\n"
        f"  coord Coordinate {{ point [ {rows} ] }}\n  normal Normal {{ vector [ {normals} ] }}\n"
        f"  coordIndex [ {index} ]\n }}\n}}\n")
