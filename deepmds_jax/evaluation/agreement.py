"""How far two reconstructions of the same faces agree, where nobody knows the true shapes.

On photographs there is no truth to score against. What remains: how well the shape projects onto
its landmarks, how symmetric it is, and how far another method's shape is from it. None of these
is an error.
"""

from collections.abc import Mapping

import jax
import numpy as np

from deepmds_jax.evaluation.metrics import score
from deepmds_jax.evaluation.tables import Row
from deepmds_jax.geometry.similarity import align
from deepmds_jax.topologies import SIDES, Topology


def compare_shapes(
    faces: Mapping[str, Mapping[str, np.ndarray]],
    others: Mapping[str, np.ndarray],
    other: str,
    topology: Topology,
) -> list[Row]:
    """Compares our shapes with those of another method, a row per face.

    Lengths are in % of the distance between the outer eye corners of the shape they belong to.

    Args:
      faces: face name -> its arrays: `points` (N, 3), head frame (x right, y down, z away from the
        viewer), any unit; `image_points` (N, 3), the same in the image, in pixels; `x2d` (N, 2),
        the landmarks in pixels.
      others: face name -> (N, 3) shape of the other method, in any pose and unit with the axes of
        `points`. Names that are not in `faces` are ignored.
      other: title of the other method.
      topology: the topology of the N landmarks.

    Returns:
      Rows with "face"; "reprojection (%)", the mean distance in the image between our shape and
      the landmarks; "asymmetry (%)", the mean distance between our shape and its mirror image,
      and "OTHER's (%)", the same of the other shape; "difference (%)", the mean distance between
      the two shapes after a similarity without reflection; "depth correlation", see `Metrics`; and
      "same handedness", False where one shape resembles the mirror image of the other.

    Raises:
      ValueError: shapes that do not match, or a topology without outer eye corners or symmetry.
    """
    ours, placed, x2d = (
        np.stack([face[key] for face in faces.values()]).astype(np.float32)
        for key in ("points", "image_points", "x2d")
    )
    theirs = np.stack([others[name] for name in faces]).astype(np.float32)
    between = jax.device_get(score(ours, theirs, topology))
    columns = {
        "reprojection (%)": _relative(placed[..., :2] - x2d, placed, topology),
        "asymmetry (%)": _asymmetry(ours, topology),
        f"{other}'s (%)": _asymmetry(theirs, topology),
        "difference (%)": 100 * between.nme,
        "depth correlation": between.depth_correlation,
        "same handedness": between.right_handed,
    }
    return [
        {"face": name, **{title: column[i].item() for title, column in columns.items()}}
        for i, name in enumerate(faces)
    ]


def add_aligned(
    faces: Mapping[str, Mapping[str, np.ndarray]],
    photographs: Mapping[str, np.ndarray],
    others: Mapping[str, np.ndarray],
    other: str,
) -> tuple[dict[str, Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """Adds another method's shape after each face, to draw both by `figures.draw_reconstructions`.

    Args:
      faces: face name -> its arrays, with `points` (N, 3) and `x2d` (N, 2).
      photographs: face name -> image, for the faces that have one.
      others: face name -> (N, 3) shape of the other method, in any pose and unit.
      other: title of the other method.

    Returns:
      The faces and photographs, with "OTHER: NAME" after each face: the other shape, aligned to
      ours by a similarity without reflection, over the same landmarks and photograph.
    """
    drawn: dict[str, Mapping[str, np.ndarray]] = {}
    images = {}
    for name, face in faces.items():
        title = f"{other}: {name}"
        aligned = np.asarray(align(others[name].astype(np.float32), face["points"]))
        drawn |= {name: face, title: {"x2d": face["x2d"], "points": aligned}}
        if name in photographs:
            images |= dict.fromkeys((name, title), photographs[name])
    return drawn, images


def _asymmetry(shapes: np.ndarray, topology: Topology) -> np.ndarray:
    """(F,) % mean distance of each landmark from where the shape's mirror image has it."""
    if topology.mirror is None:
        raise ValueError(f"topology: {topology.name} has no symmetry, expected one with mirror")
    mirrored = shapes[:, list(topology.mirror)] * np.array([-1, 1, 1], np.float32)
    return _relative(np.asarray(align(mirrored, shapes)) - shapes, shapes, topology)


def _relative(offsets: np.ndarray, shapes: np.ndarray, topology: Topology) -> np.ndarray:
    """(F,) mean length of (F, N, D) offsets, in % of the shapes' own outer eye distance."""
    right, left = (topology.landmarks.index(f"exocanthion_{side}") for side in SIDES)
    between = np.linalg.norm(shapes[:, right] - shapes[:, left], axis=-1)
    return 100 * np.linalg.norm(offsets, axis=-1).mean(-1) / between
