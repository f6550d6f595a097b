"""Rotations, and the projection of head-frame landmarks to image points.

The head and camera frames share their axes: x right, y down, z away from the viewer. Angles are in
degrees, as seen in the image: positive yaw turns the face to the image's right, positive pitch
turns it up, positive roll tilts it clockwise.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from deepmds_jax.programs import one_program


@one_program
@jax.default_matmul_precision("highest")
def rotation_from_angles(yaw: ArrayLike, pitch: ArrayLike, roll: ArrayLike) -> jax.Array:
    """Rotation for column vectors: first yaw, then pitch, then roll.

    Args:
      yaw: (...) degrees; the three broadcast.
      pitch: (...) degrees.
      roll: (...) degrees.

    Returns:
      (..., 3, 3) proper.
    """
    yaw, pitch, roll = (jnp.deg2rad(jnp.asarray(angle)) for angle in (yaw, pitch, roll))
    yaw, pitch, roll = jnp.broadcast_arrays(-yaw, -pitch, roll)
    one, zero = jnp.ones_like(yaw), jnp.zeros_like(yaw)

    def matrix(*rows):
        return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)

    c, s = jnp.cos(yaw), jnp.sin(yaw)
    about_y = matrix((c, zero, s), (zero, one, zero), (-s, zero, c))
    c, s = jnp.cos(pitch), jnp.sin(pitch)
    about_x = matrix((one, zero, zero), (zero, c, -s), (zero, s, c))
    c, s = jnp.cos(roll), jnp.sin(roll)
    about_z = matrix((c, -s, zero), (s, c, zero), (zero, zero, one))
    return about_z @ about_x @ about_y


@jax.default_matmul_precision("highest")
def rotation_from_vector(vector: jax.Array) -> jax.Array:
    """Rotation (..., 3, 3) about the axis of a (..., 3) vector, by its length in radians."""
    square = jnp.sum(vector**2, axis=-1)[..., None, None] + 1e-12
    angle = jnp.sqrt(square)
    zero = jnp.zeros_like(vector[..., 0])
    x, y, z = jnp.unstack(vector, axis=-1)
    rows = ((zero, -z, y), (z, zero, -x), (-y, x, zero))
    cross = jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
    turn = jnp.sin(angle) / angle * cross + (1 - jnp.cos(angle)) / square * (cross @ cross)
    return jnp.eye(3, dtype=vector.dtype) + turn


@jax.default_matmul_precision("highest")
def turn_in_image(turn: jax.Array, rotation: jax.Array) -> jax.Array:
    """Rotation of a head after its image has been turned, for column vectors.

    Args:
      turn: (..., 2, 2) rotation of the image.
      rotation: (..., 3, 3) of the head.

    Returns:
      (..., 3, 3).
    """
    return jnp.concatenate([turn @ rotation[..., :2, :], rotation[..., 2:, :]], axis=-2)


@one_program
def angles_from_rotation(rotation: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Yaw, pitch and roll in degrees, (...) each, of a (..., 3, 3) rotation.

    The inverse of `rotation_from_angles`. Pitch is within +-90; at exactly +-90, yaw and roll turn
    about the same axis and only their combination is defined.
    """
    pitch = -jnp.arcsin(jnp.clip(rotation[..., 2, 1], -1, 1))
    yaw = jnp.arctan2(rotation[..., 2, 0], rotation[..., 2, 2])
    roll = jnp.arctan2(-rotation[..., 0, 1], rotation[..., 1, 1])
    return jnp.rad2deg(yaw), jnp.rad2deg(pitch), jnp.rad2deg(roll)


def project(points: jax.Array, rotation: jax.Array, field_of_view: jax.Array) -> jax.Array:
    """Central projection of a rotated head onto the plane through its centroid.

    The camera looks at the centroid. Its field of view just covers a disc around the centroid whose
    radius is the distance to the farthest point; 0 degrees means orthographic projection.

    Args:
      points: (..., N, 3) head-frame landmarks, any unit.
      rotation: (..., 3, 3) from `rotation_from_angles`.
      field_of_view: (...) degrees, from 0 to below 90, where the camera would be among the points.

    Returns:
      (..., N, 2) image points in the unit of `points`; the centroid is at the origin.
    """
    return project_with_depth(points, rotation, field_of_view, points)[..., :2]


@one_program
@jax.default_matmul_precision("highest")
def project_with_depth(
    points: jax.Array, rotation: jax.Array, field_of_view: jax.Array, landmarks: jax.Array
) -> jax.Array:
    """`project` for any points of a head, such as a whole mesh, with the camera of its landmarks.

    Depth increases away from the viewer and is divided like x and y, so the map is projective:
    lines and planes stay lines and planes, and occlusion can be tested along the third axis.

    Args:
      points: (..., V, 3), head frame.
      rotation: (..., 3, 3) from `rotation_from_angles`.
      field_of_view: (...) degrees.
      landmarks: (..., N, 3), in the frame and unit of `points`; the camera looks at their centroid.

    Returns:
      (..., V, 3) image points and depth in the unit of `points`; 0 at the centroid.
    """
    centroid = jnp.mean(landmarks, axis=-2, keepdims=True)
    radius = jnp.sqrt(jnp.max(jnp.sum((landmarks - centroid) ** 2, axis=-1), axis=-1))
    inverse_distance = jnp.tan(jnp.deg2rad(field_of_view) / 2) / radius
    rotated = (points - centroid) @ jnp.swapaxes(rotation, -1, -2)
    return rotated / (1 + inverse_distance[..., None, None] * rotated[..., 2:])
