"""CASIA-3D FaceV1: 4,624 scans of 123 people with photographs, the paper's Table 4.

"CASIA-3D FaceV1", collected by the Chinese Academy of Sciences' Institute of Automation (CASIA)
with a Minolta Vivid 910. Licensed: each user has to ask for it.

As in the paper, the true landmarks are found on the scan with the help of FLAME, which was fitted
to it: the fitted mesh is laid on the scan by iterative closest points, with its 51 embedded
landmarks, and the scan's nearest point to each of them is the true landmark.
"""

import pathlib
import re

import jax
import numpy as np

from deepmds_jax.data.formats import meshes
from deepmds_jax.data.photos.annotated import LandmarkFiles, Photograph, gather
from deepmds_jax.data.photos.reading import check_image
from deepmds_jax.data.recorded import Recordings
from deepmds_jax.data.sources import flame
from deepmds_jax.data.sources.checks import check_topology, problems
from deepmds_jax.data.sources.kept import Kept, read_kept, stamp_of, write_kept
from deepmds_jax.extras import require
from deepmds_jax.geometry.registration import icp_by_tree
from deepmds_jax.geometry.similarity import Similarity, procrustes

# FLAME's vertices before those of the eyeballs, whose backs no scanner sees.
_NUM_SKIN = 3931
_NUM_SOURCE = 1024  # vertices of the mesh that are laid on the scan: those nearest to landmarks
_METHOD = 1  # of finding landmarks on scans; another number has kept ones found anew
_REACH = 1.5  # radius of the part of the scan that is used; 1 is at the farthest landmark
# Root mean square distances in mm above which a registration has failed: of the mesh from the scan,
# and of the landmarks from where they started. A mesh shrunk to a point would pass the first.
_LARGEST_ERROR = 5.0
_LARGEST_CHANGE = 10.0


def load(topology: str, folder: pathlib.Path) -> Recordings:
    """Loads landmarks in pixels and the true ones of the scans, in millimetres.

    The shapes have x right, y down, z away from the viewer in the pose that was scanned: the head
    is not turned to the front. Finding them takes a tenth of a second or so per scan on a CPU, most
    of it for reading. So they are kept in the folder, if it can be written to, in
    `landmarks_flame51.npz`; a scan that has changed since, or whose mesh or scan landmarks have, is
    registered again. A scan is left out with a warning if one of its files is damaged or missing,
    or if the registration fails: if the mesh lies 5 mm off the scan in the root mean square, or its
    landmarks 10 mm from where they started.

    Args:
      topology: "flame51".
      folder: holds

        * the scans and photographs as CASIA distributes them, in any subfolder:
          `3D-Face-WRL/001/001-001.wrl` (VRML 2.0: x right, y up, z towards the viewer, mm) and
          `3D-Face-BMP/001/001-001.bmp`, and for each of them, under its name,
        * `landmarks/001-001.*`: the 68 landmarks that dlib finds in the photograph, of which the
          first 17 are dropped, or 51, in a format of `landmark_files.read_landmarks`;
        * `flame/001-001.ply`: the FLAME mesh fitted to the scan, in metres or any unit, y up;
        * `scan_landmarks/001-001.npy`: (51, 3) landmarks on the scan, in its frame, where the
          registration starts; FLAME's fit_scan takes the same ones;
        * FLAME's embedding of the landmarks, see `flame.read_embedding`.

    Raises:
      ValueError: another topology, a damaged embedding, or none of the scans can be read.
      FileNotFoundError: the embedding is missing, or there are no scans; names it.
    """
    check_topology("casia3d", topology, ["flame51"])
    embedding = flame.read_embedding(topology, folder)
    files = _Folder(folder)
    found_by = embedding._asdict() | {"method": _METHOD}
    path = folder / f"landmarks_{topology}.npz"
    known = read_kept(path, found_by, len(embedding.triangles))
    found: dict[str, Kept] = {}

    def read(name):
        x2d = files.landmarks.read(name, topology)
        stamp = stamp_of(files.shape_paths(name))
        if name in known and known[name].stamp == stamp:
            found[name] = known[name]
        else:
            scan, mesh, start = files.shapes(name)
            try:
                points = _landmarks_on_scan(scan, mesh, embedding, start)
            except ValueError as error:
                raise ValueError(f"{files.scans[name]}: {error}") from error
            found[name] = Kept(stamp, points)
        return Photograph(x2d, found[name].points * flame.TO_FRAME, files.images.get(name))

    recordings = gather("casia3d", sorted(files.scans), read, topology)
    write_kept(path, found, known, found_by)
    return recordings


def check(folder: pathlib.Path) -> list[str]:
    """A line for every file that is missing or damaged; reads all scans but registers none."""
    topology = "flame51"
    found = problems([topology], lambda name: flame.read_embedding(name, folder))
    try:
        files = _Folder(folder)
    except (FileNotFoundError, ValueError) as error:
        return [*found, str(error)]

    def read(name):
        files.shapes(name)
        files.landmarks.read(name, topology)
        if name not in files.images:
            raise FileNotFoundError(f"no {name}.bmp anywhere in {folder}")
        check_image(files.images[name])

    return found + problems(sorted(files.scans), read)


def read_scan(path: pathlib.Path) -> np.ndarray:
    """Reads the first list of coordinates (M, 3) in a VRML 2.0 file, float64, as written.

    Raises:
      ValueError: not VRML 2.0, cut off, no coordinates, or some that are not finite numbers.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    if not text.startswith("#VRML V2.0"):
        raise ValueError(f"{path}: expected VRML, which starts with '#VRML V2.0', got "
                         f"{text[:20]!r}")
    text = re.sub(r"#.*", "", text)
    opening = re.search(r"\bCoordinate\s*\{\s*point\s*\[", text)
    if not opening:
        raise ValueError(f"{path}: expected 'Coordinate {{ point [', got none: cut off?")
    numbers, closing, _ = text[opening.end() :].partition("]")
    try:
        points = np.array(numbers.replace(",", " ").split(), np.float64)
    except ValueError as error:
        raise ValueError(f"{path}: a coordinate is not a number: {error}") from error
    if not closing or points.size % 3 or not points.size:
        raise ValueError(f"{path}: {points.size} numbers, expected x, y and z of every point and "
                         "']': cut off?")
    if not np.isfinite(points).all():
        raise ValueError(f"{path}: {np.sum(~np.isfinite(points))} coordinates are not finite")
    return points.reshape(-1, 3)


class _Folder:
    """Where the files of each scan are."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.scans = _by_name(folder, "wrl")
        if not self.scans:
            raise FileNotFoundError(f"no {folder / '3D-Face-WRL' / '001' / '001-001.wrl'}, nor any "
                                    "other .wrl file in the folder")
        self.landmarks = LandmarkFiles.find(folder)
        self.images = _by_name(folder, "bmp")

    def shape_paths(self, name: str) -> list[pathlib.Path]:
        """The files that `shapes` reads."""
        return [self.scans[name], self.folder / "flame" / f"{name}.ply",
                self.folder / "scan_landmarks" / f"{name}.npy"]

    def shapes(self, name: str) -> tuple[np.ndarray, meshes.Mesh, np.ndarray]:
        """Scan (M, 3), fitted mesh, and landmarks on the scan (51, 3)."""
        scan, mesh_path, path = self.shape_paths(name)
        mesh = flame.read_mesh(mesh_path)
        if not path.exists():
            raise FileNotFoundError(f"no {path}")
        try:
            start = np.load(path, allow_pickle=False).astype(np.float64)
        except Exception as error:  # numpy raises many kinds on a damaged file
            raise ValueError(f"{path}: expected an array of numbers: {error}") from error
        if start.shape != (51, 3) or not np.isfinite(start).all():
            raise ValueError(f"{path}: expected (51, 3) finite numbers, got {start.shape}, "
                             f"{np.sum(~np.isfinite(start))} not finite")
        return read_scan(scan), mesh, start


def _by_name(folder: pathlib.Path, suffix: str) -> dict[str, pathlib.Path]:
    return {
        path.stem: path
        for path in sorted(folder.rglob(f"*.{suffix}"))
        if not path.name.startswith(".")
    }


def _landmarks_on_scan(
    scan: np.ndarray, mesh: meshes.Mesh, embedding: flame.Embedding, start: np.ndarray
) -> np.ndarray:
    """The points (51, 3) of the scan, in its frame, nearest to the registered mesh's landmarks."""
    spatial = require("scipy.spatial", extra="files")
    landmarks = flame.embed(mesh, embedding)
    skin = mesh.vertices[:_NUM_SKIN]
    to_landmark, _ = spatial.cKDTree(landmarks).query(skin)
    source = np.argsort(to_landmark)[:_NUM_SOURCE]
    centre = start.mean(axis=0)
    reach = _REACH * np.linalg.norm(start - centre, axis=1).max()
    near = scan[np.linalg.norm(scan - centre, axis=1) < reach]
    if not near.size:
        raise ValueError(f"no point of the scan within {reach:.0f} mm of the scan landmarks")
    first = _first(landmarks.astype(np.float32), (start - centre).astype(np.float32))
    fit = icp_by_tree(skin[source], _normals(mesh)[source], near - centre,
                      jax.device_get(first), scale=True)
    rotation, scale, translation = fit.similarity
    placed = scale * landmarks @ rotation + translation
    off = np.sqrt(np.mean(np.sum((placed - start + centre) ** 2, axis=1)))
    if not fit.error < _LARGEST_ERROR:
        raise ValueError(f"the fitted mesh lies {fit.error:.1f} mm off the scan after "
                         f"registration, more than {_LARGEST_ERROR:.0f}")
    if not off < _LARGEST_CHANGE:
        raise ValueError(f"the registered landmarks lie {off:.1f} mm from the scan landmarks, more "
                         f"than {_LARGEST_CHANGE:.0f}: wrong order or frame?")
    _, nearest = spatial.cKDTree(near - centre).query(placed)
    return near[nearest]


@jax.jit
def _first(landmarks: jax.Array, start: jax.Array) -> Similarity:
    """Puts landmarks (51, 3) of a mesh where the registration starts."""
    return procrustes(landmarks, start)


def _normals(mesh: meshes.Mesh) -> np.ndarray:
    """Unit normals (V, 3) at the vertices: those of the triangles around, weighted by area.

    0 at vertices without triangles.
    """
    first, second, third = mesh.vertices[mesh.triangles].swapaxes(0, 1)
    normals = np.zeros_like(mesh.vertices)
    np.add.at(normals, mesh.triangles, np.cross(second - first, third - first)[:, None])
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / np.where(length > 0, length, 1)
