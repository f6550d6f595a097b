"""The CoMA data set: 20,466 meshes of 12 people with extreme expressions, registered to FLAME.

Ranjan, Bolkart, Sanyal & Black (2018), "Generating 3D faces using convolutional mesh autoencoders",
ECCV. Licensed: each user has to ask for it.
"""

import contextlib
import pathlib

import jax
import numpy as np
import tqdm
from absl import logging

from deepmds_jax.data.formats import meshes
from deepmds_jax.data.recorded import ShapeSet
from deepmds_jax.data.sources import flame
from deepmds_jax.data.sources.checks import problems
from deepmds_jax.data.sources.kept import Kept, read_kept, stamp_of, write_kept

# The data set has no fixed test subjects: its authors leave out one person at a time. These two are
# the test subjects of VOCASET (Cudeiro et al. 2019), recorded from the same 12 people.
TEST_SUBJECTS = ("FaceTalk_170731_00024_TA", "FaceTalk_170809_00138_TA")
# The landmarks that expressions move least, from the bridge of the nose to the eyelids; counted
# from the end, so that the slice is right for both topologies.
_STIFF = slice(-41, -20)


def load(topology: str, folder: pathlib.Path) -> ShapeSet:
    """Loads the landmarks of all meshes, in metres.

    The people move their heads. So every face is turned and shifted, but not scaled, to put its
    nose and eyes where those of FLAME's template are. A damaged mesh is left out with a warning.

    Reading the meshes takes minutes. So the landmarks are kept in the folder, if it can be written
    to, in `landmarks_TOPOLOGY.npz`; meshes that have changed since are read again.

    Args:
      topology: "flame51", or "ibug68"; see `flame.load`.
      folder: holds SUBJECT/EXPRESSION/*.ply as CoMA distributes them, such as
        FaceTalk_170725_00137_TA/bareteeth/bareteeth.000001.ply, and FLAME's `template.ply` and its
        embedding, see `flame.load`.

    Raises:
      ValueError: another topology, a damaged template or embedding, none of the meshes can be read,
        or there is no subject to train on or to test on.
      FileNotFoundError: a file is missing, or there are no meshes.
    """
    embedding = flame.read_embedding(topology, folder)
    template = flame.read_mesh(folder / flame.TEMPLATE)
    paths = _find(folder)
    found, left_out = _read_landmarks(folder, paths, template, embedding, topology)
    if left_out:
        logging.warning("coma: left out %d of %d meshes: %s", len(left_out), len(paths),
                        ", ".join(left_out))
    if not found:
        raise ValueError(f"{folder}: none of its {len(paths)} meshes can be read")
    is_test = _split(folder, list(found))
    points = _turn_to(flame.embed(template, embedding), np.array(list(found.values())))
    points = jax.device_put((points * flame.TO_FRAME).astype(np.float32))
    return ShapeSet(points, is_test, tuple(found), topology, "m")


def check(folder: pathlib.Path) -> list[str]:
    """A line for every file that is missing or damaged; reads every mesh."""
    found = flame.check(folder)
    template = None
    with contextlib.suppress(FileNotFoundError, ValueError):  # flame.check has reported it
        template = flame.read_mesh(folder / flame.TEMPLATE)
    try:
        paths = _find(folder)
    except FileNotFoundError as error:
        return [*found, str(error)]
    names = [_name(folder, path) for path in paths]
    found += problems([names], lambda names: _split(folder, names))
    return found + problems(paths, lambda path: _read_mesh(path, template))


def _find(folder: pathlib.Path) -> list[pathlib.Path]:
    paths = sorted(folder.glob("*/*/*.ply"))
    if not paths:
        raise FileNotFoundError(f"no {folder / 'SUBJECT' / 'EXPRESSION' / '*.ply'}")
    return paths


def _name(folder: pathlib.Path, path: pathlib.Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _split(folder: pathlib.Path, names: list[str]) -> np.ndarray:
    """(S,) bool, whether a mesh is of a test subject."""
    is_test = np.array([name.split("/")[0] in TEST_SUBJECTS for name in names])
    if is_test.all() or not is_test.any():
        raise ValueError(f"{folder}: expected meshes of {' or '.join(TEST_SUBJECTS)} to test on, "
                         f"and of others to train on, got {is_test.sum()} and {(~is_test).sum()}")
    return is_test


def _read_mesh(path: pathlib.Path, template: meshes.Mesh | None) -> meshes.Mesh:
    mesh = flame.read_mesh(path)
    if template is not None and not np.array_equal(mesh.triangles, template.triangles):
        raise ValueError(f"{path}: its triangles are not those of {flame.TEMPLATE}")
    return mesh


def _read_landmarks(
    folder: pathlib.Path,
    paths: list[pathlib.Path],
    template: meshes.Mesh,
    embedding: flame.Embedding,
    topology: str,
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Landmarks (N, 3) by name, in FLAME's frame, and the names of damaged meshes."""
    path_kept = folder / f"landmarks_{topology}.npz"
    known = read_kept(path_kept, embedding._asdict(), len(embedding.triangles))
    found: dict[str, Kept] = {}
    left_out = []
    for path in tqdm.tqdm(paths, desc="coma", unit="mesh", delay=5):
        name, stamp = _name(folder, path), stamp_of([path])
        if name in known and known[name].stamp == stamp:
            found[name] = known[name]
            continue
        try:
            mesh = _read_mesh(path, template)
        except ValueError as error:
            logging.warning("coma: left out %s", error)
            left_out.append(name)
            continue
        found[name] = Kept(stamp, flame.embed(mesh, embedding).astype(np.float32))
    write_kept(path_kept, found, known, embedding._asdict())
    return {name: kept.points for name, kept in found.items()}, left_out


def _turn_to(template: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Moves (S, N, 3) faces rigidly, their stiff landmarks onto those of the template (Kabsch).

    In NumPy, because `geometry.nearest_orthogonal` would take seconds to compile for this one call.
    """
    stiff, target = points[:, _STIFF].astype(np.float64), template[_STIFF]
    start, end = stiff.mean(axis=1, keepdims=True), target.mean(axis=0)
    u, _, vt = np.linalg.svd(np.swapaxes(stiff - start, 1, 2) @ (target - end))
    u[..., -1] *= np.sign(np.linalg.det(u @ vt))[:, None]  # never mirrored
    return (points - start) @ (u @ vt) + end
