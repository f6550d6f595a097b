"""The jaw as it is seen: annotators and detectors follow the visible contour, not the mandible.

In a turned head the far side of the mandible is out of sight, and its landmarks are marked where
the cheek ends in the image. Zhu et al. (2015), "High-fidelity pose and expression normalization for
face recognition in the wild", CVPR, call it landmark marching: each jaw landmark has a line of
points across the cheek, of which it takes the one on the silhouette. The near side stays where it
is.
"""

import jax
import jax.numpy as jnp

from deepmds_jax import topologies
from deepmds_jax.data.views import Faces, seen_with_depth


def jaw_landmarks(topology: str) -> tuple[int, ...]:
    """The landmarks called jaw_* and menton, in the topology's order: along the jaw."""
    names = topologies.get(topology).landmarks
    return tuple(i for i, n in enumerate(names) if n.startswith("jaw_") or n == "menton")


def slide(faces: Faces, lines: jax.Array, share: jax.typing.ArrayLike, topology: str) -> Faces:
    """Moves the jaw landmarks of the image towards the visible contour; the shapes stay. Pure.

    Args:
      faces: F faces with a view.
      lines: (F, J, C, 3) points behind each of their jaw landmarks, see `JawLines`; in the frame
        and unit of `faces.points`.
      share: of the way, from 0 (the landmark) to 1 (the contour); () or (F,).
      topology: its name.

    Returns:
      The faces with another `x2d`.

    Raises:
      ValueError: the faces have no view, as those of photographs.
    """
    if faces.view is None:
        raise ValueError("faces: expected faces with a view, got none, as of photographs")
    jaw = jnp.array(jaw_landmarks(topology))
    lines = jnp.concatenate([faces.points[:, jaw, None], lines], axis=2)
    flat = lines.reshape(len(lines), -1, 3)
    seen = seen_with_depth(flat, faces.points, faces.view)[..., :2].reshape(*lines.shape[:-1], 2)
    chosen = on_contour(seen)[..., None, None]
    way = jnp.take_along_axis(seen, chosen, axis=2)[:, :, 0] - seen[:, :, 0]
    way = way * (jnp.asarray(share) * faces.view.scale)[:, None, None]
    return faces._replace(x2d=faces.x2d.at[:, jaw].add(way))


def on_contour(lines: jax.Array) -> jax.Array:
    """Which point of each line is the first that the viewer sees, coming from the mandible. Pure.

    Lines beside each other make a strip of cells on the surface. A cell that shows its back in the
    image turns around; the contour runs between the last of those and the first one that does not.

    Args:
      lines: (F, J, C, 2) image points, x right, y down; lines from the subject's right ear to the
        left one, points from the mandible on.

    Returns:
      (F, J) int: 0 where the mandible itself is seen, at most C - 1.
    """
    across = lines[:, :, 1:] - lines[:, :, :-1]
    along = jnp.concatenate([
        lines[:, 1:2] - lines[:, :1],
        (lines[:, 2:] - lines[:, :-2]) / 2,
        lines[:, -1:] - lines[:, -2:-1],
    ], axis=1)
    along = along[:, :, 1:] + along[:, :, :-1]
    area = across[..., 0] * along[..., 1] - across[..., 1] * along[..., 0]
    # Past the last cell ends the choice: where none is seen, that is the point nearest to it.
    return jnp.argmax(jnp.pad(area > 0, ((0, 0), (0, 0), (0, 1)), constant_values=True), axis=-1)
