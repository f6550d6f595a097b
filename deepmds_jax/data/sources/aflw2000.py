"""AFLW2000-3D: 2,000 photographs in the wild, with 68 3D landmarks from a fitted face model.

Zhu, Lei, Liu, Shi & Li (2016), "Face alignment across large poses: a 3D solution", CVPR.

How its coordinates map to ours. 3DDFA fits the Basel Face Model, whose vertices V have x right, y
up and z towards the viewer, in micrometres, and draws them at p = f R V + t; `Pose_Para` holds
pitch, yaw and roll in radians, the three numbers of t, and f. The image's y is (height + 1) - p_y,
counted from 1, while the rows x and z of `pt3d_68` are those of p: so z grows TOWARDS the viewer,
the nose tip has the largest z in a frontal face, and (x, y, z) of the file is a left-handed frame.
Our frame is (x, y, -z), which is p turned by half a turn about x. R = Rx Ry Rz, each of them the
transpose of the usual right-handed turn about its axis (`angle2matrix_3ddfa` in face3d, which
renders 300W-LP from these parameters). R.T (p - t) / f brings the shape back to its head frame.
"""

import pathlib

import numpy as np

from deepmds_jax.data.formats.matlab import load_mat
from deepmds_jax.data.photos.annotated import Photograph, gather
from deepmds_jax.data.photos.reading import check_image
from deepmds_jax.data.recorded import Recordings
from deepmds_jax.data.sources.checks import check_topology, problems

TOPOLOGIES = ("ibug68", "flame51")
_FIELDS = {"pt3d_68": (3, 68), "Pose_Para": (1, 7)}
_MM = 1e-3  # per micrometre


def load(topology: str, folder: pathlib.Path) -> Recordings:
    """Loads the landmarks of all photographs, heads turned to the front, in millimetres.

    The 2D landmarks are the x and y of the 3D ones, all 68 of them, even where the face hides them;
    the 21 of AFLW (`pt2d`, -1 where not visible) are not used. A face whose file is damaged, or has
    a landmark that is not finite or (-1, -1), is left out with a warning.

    Args:
      topology: "ibug68", or "flame51", its points 17-67.
      folder: AFLW2000 as it is distributed: image00002.jpg, image00002.mat, ... Files of 300W-LP
        have no `pt3d_68` and are left out.

    Raises:
      ValueError: another topology, or none of the files can be read.
      FileNotFoundError: there are no .mat files.
    """
    check_topology("aflw2000", topology, TOPOLOGIES)
    return gather("aflw2000", _find(folder), lambda name: _read(folder, name), topology)


def check(folder: pathlib.Path) -> list[str]:
    """A line for every file that is missing or damaged; reads every photograph."""

    def read(name):
        if _read(folder, name).image is None:
            raise FileNotFoundError(f"no {folder / name}.jpg")
        check_image(folder / f"{name}.jpg")

    try:
        return problems(_find(folder), read)
    except FileNotFoundError as error:
        return [str(error)]


def _find(folder: pathlib.Path) -> list[str]:
    names = sorted(path.stem for path in folder.glob("*.mat") if not path.name.startswith("."))
    if not names:
        raise FileNotFoundError(f"no {folder / '*.mat'}")
    return names


def _read(folder: pathlib.Path, name: str) -> Photograph:
    path = folder / f"{name}.mat"
    try:
        content = load_mat(path)  # all fields: it may be cut off
        points, pose = (np.array(content[field], np.float64) for field in _FIELDS)
    except ImportError:
        raise
    except Exception as error:  # scipy raises many kinds on a damaged file
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path}: expected a MATLAB file with {list(_FIELDS)}: "
                         f"{reason}") from error
    for array, (field, shape) in zip((points, pose), _FIELDS.items(), strict=True):
        if array.shape != shape:
            raise ValueError(f"{path}: {field} has shape {array.shape}, expected {shape}")
    if not (np.isfinite(points).all() and np.isfinite(pose).all() and pose[0, 6] > 0):
        raise ValueError(f"{path}: expected finite numbers and a positive scale, got "
                         f"{np.sum(~np.isfinite(points))} and {np.sum(~np.isfinite(pose))} that "
                         f"are not finite, scale {pose[0, 6]}")
    missing = np.flatnonzero((points[:2] == -1).all(axis=0))
    if missing.size:
        raise ValueError(f"{path}: landmarks {missing.tolist()} are missing (-1)")
    placed = points.T * [1, -1, 1]
    head = (placed - placed.mean(axis=0)) @ _rotation(*pose[0, :3]) / pose[0, 6]
    image = path.with_suffix(".jpg")
    return Photograph(
        points[:2].T - 1, head * _MM * [1, -1, -1], image if image.exists() else None
    )


def _rotation(pitch: float, yaw: float, roll: float) -> np.ndarray:
    """3DDFA's (3, 3) R, for column vectors."""

    def turn(angle, first, second):
        matrix = np.eye(3)
        matrix[[first, second], [first, second]] = np.cos(angle)
        matrix[first, second], matrix[second, first] = np.sin(angle), -np.sin(angle)
        return matrix

    return turn(pitch, 1, 2) @ turn(yaw, 2, 0) @ turn(roll, 0, 1)
