"""What landmarks look like that are not those of a face seen from the front."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from deepmds_jax import landmark_order, topologies
from deepmds_jax.faces_by_name import Arrays
from deepmds_jax.geometry import place_in_image
from deepmds_jax.lifting import reconstruct_detailed
from deepmds_jax.mds import Status
from deepmds_jax.methods.contract import Params

_VAGUE = 0.5  # mean standard deviation, in sizes of the face
# Share of the landmarks that the weights saw in training, at least; of topologies as small as hands
# more. With less, the standard deviation knows too little of how wrong the shape may be.
_LEAST_SEEN = 0.45
_FAR = 10  # from the middle, in the median of all distances from it; of a face from any side 5


def describe(params: Params, faces: Mapping[str, Arrays]) -> dict[str, str]:
    """What is wrong with the landmarks of faces whose shape cannot be believed.

    Args:
      params: the weights that lifted them.
      faces: from `faces_by_name.lift_faces`.

    Returns:
      By face name a sentence; nothing of faces in order.
    """
    doubts = {name: text for name, face in faces.items()
              if "std" in face and (text := _doubt(face))}
    wrong = {name: face for name, face in faces.items() if face["status"] == Status.INVALID}
    if not wrong:
        return doubts
    complete = np.stack([
        np.where(face["visible"][:, None], face["x2d"], face["image_points"][:, :2])
        for face in wrong.values()])
    near = (complete - complete.mean(axis=1, keepdims=True)).astype(np.float32)
    looks = zip(wrong.items(), _reordered(params, near), _mirrored(params, near), strict=True)
    return doubts | {
        name: "these are not the landmarks of a face seen from the front; "
              f"{_far(params, face) or reordered or mirrored or 'in another order?'}"
        for (name, face), reordered, mirrored in looks}


def _doubt(face: Arrays) -> str | None:
    """Why the shape is hardly known, or less well than its standard deviation says."""
    if face["std"].mean() > _VAGUE:
        return (f"the shape is known to {100 * face['std'].mean():.0f} % of its size only; too few "
                "landmarks, or too noisy?")
    seen = face["visible"]
    if seen.sum() < _LEAST_SEEN * len(seen):
        return (f"{seen.sum()} of {len(seen)} landmarks are visible, fewer than in training: shape "
                "and angles may be farther off than their standard deviations say")
    return None


def _far(params: Params, face: Arrays) -> str | None:
    """Which landmarks lie where none of a face does, as those that programs write for hidden."""
    known = face["x2d"] - np.median(face["x2d"][face["visible"]], axis=0)
    distances = np.where(face["visible"], np.linalg.norm(known, axis=-1), 0)
    far = np.flatnonzero(distances > _FAR * np.median(distances[face["visible"]]))
    if not len(far):
        return None
    first = f"{far[0]} ({topologies.get(params.config.topology).landmarks[far[0]]})"
    if len(far) == 1:
        return f"landmark {first} lies far from all others"
    return f"landmark {first} and {len(far) - 1} more lie far from the others"


def _reordered(params: Params, x2d: np.ndarray) -> list[str | None]:
    """The permutation that the landmarks of each face look like."""
    topology, unexplained = params.config.topology, getattr(params, "unexplained", None)
    known = landmark_order.reorderings(topology)
    if unexplained is None or not known.descriptions:
        return [None] * len(x2d)
    gains = np.asarray(landmark_order.gains(jnp.asarray(x2d), unexplained, topology))
    fits = np.where(gains > 0, gains + known.min_gains, 0)
    return [f"as if {known.descriptions[face.argmax()]}" if face.any() else None for face in fits]


def _mirrored(params: Params, x2d: np.ndarray) -> list[str | None]:
    """Which axes of each face look wrong: those of a mirrored face, by how it is turned then."""
    flipped = x2d * np.array([-1, 1], x2d.dtype)
    found = jax.jit(reconstruct_detailed)(params, flipped)
    rolls = jax.jit(place_in_image)(found.points, flipped, rotation=found.rotation).roll
    return [None if not is_face else "mirrored?" if abs(roll) < 45 else
            "with y upward?" if abs(roll) > 135 else "with x and y exchanged?"
            for roll, is_face in zip(np.asarray(rolls), np.asarray(found.converged), strict=True)]
