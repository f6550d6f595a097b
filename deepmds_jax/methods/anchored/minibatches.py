"""What the networks of the anchored system are shown, and what they should return."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deepmds_jax import topologies
from deepmds_jax.data.augmentation import augmented_faces
from deepmds_jax.data.outline import jaw_landmarks
from deepmds_jax.data.specs import DatasetSpec
from deepmds_jax.geometry import centre, procrustes, rotation_from_angles, size, standardize


class Truth(NamedTuple):
    """What the networks should return.

    Attributes:
      points: (B, N, 3) head frame, root-mean-square distance to the centroid 1.
      posed: (B, N, 3) the same, turned and scaled onto the mean face.
      rotation: (B, 3, 3) of the view, for shapes turned like `posed`.
      perspective: (B,) of the view, as `Proposal` has it.
    """

    points: jax.Array
    posed: jax.Array
    rotation: jax.Array
    perspective: jax.Array


def minibatches(spec: DatasetSpec, topology: str) -> Callable[[Any, jax.Array, jax.Array], Any]:
    """What draws the minibatches of a `Stage`; see `encoder_stage`."""
    # The jaw is long or short: it says little of how a head is turned.
    inner = np.setdiff1d(np.arange(topologies.get(topology).num_landmarks), jaw_landmarks(topology))

    def minibatch(data, rows, key):
        points, mean, basis = data
        faces = augmented_faces(key, points[rows], spec.views, spec.noise, spec.augmentation,
                                topology, basis)
        view, visible = faces.view, faces.visible
        assert view is not None and visible is not None
        radius = jnp.sqrt(jnp.max(jnp.sum(centre(faces.points) ** 2, axis=-1), axis=-1))
        perspective = jnp.tan(jnp.deg2rad(view.field_of_view) / 2) / radius * size(faces.points)
        onto_mean = procrustes(faces.points[:, inner], mean[inner])
        rotation = rotation_from_angles(view.yaw, view.pitch, view.roll) @ onto_mean.rotation
        truth = Truth(
            standardize(faces.points), onto_mean(faces.points), rotation, perspective
        )
        return (centre(faces.x2d), visible.astype(faces.x2d.dtype)), truth

    return minibatch
