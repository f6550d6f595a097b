"""Views: the random poses and projections that turn 3D landmarks into 2D ones."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from deepmds_jax.data.morphable_model import MorphableModel, sample_shapes
from deepmds_jax.geometry import project, rotation_from_angles


class Uniform(NamedTuple):
    """Any angle between two, in degrees."""

    low: float
    high: float


class Choice(NamedTuple):
    """One of some angles, in degrees, each as likely."""

    angles: tuple[float, ...]


class ViewGroup(NamedTuple):
    """A share of the views, and how their angles are drawn; see `geometry.cameras` for the signs.

    Attributes:
      share: probability of this group; the shares of all groups sum to 1.
      yaw, pitch, roll: of the head.
      field_of_view: of the camera; 0 is orthography.
    """

    share: float
    yaw: Uniform | Choice = Choice((0.0,))
    pitch: Uniform | Choice = Choice((0.0,))
    roll: Uniform | Choice = Choice((0.0,))
    field_of_view: Uniform | Choice = Choice((0.0,))


class Faces(NamedTuple):
    """Faces and one view of each.

    Attributes:
      x2d: (F, N, 2) image points, x right, y down, unit of the model, centroid seen at the origin.
      points: (F, N, 3) the shapes, head frame, unit and origin of the model.
    """

    x2d: jax.Array
    points: jax.Array


@functools.partial(jax.jit, static_argnames=("views", "num_faces", "expression"))
def sample_faces(
    key: jax.Array,
    model: MorphableModel,
    views: tuple[ViewGroup, ...],
    num_faces: int,
    expression: bool = False,
) -> Faces:
    """Draws faces from a morphable model and one view of each.

    Pure and compiled, once per `views`, `num_faces` and `expression`. The same key gives the same
    faces.
    """
    shape_key, group_key, *angle_keys = jax.random.split(key, 6)
    points = sample_shapes(model, shape_key, num_faces, expression=expression)
    shares = jnp.array([group.share for group in views])
    group = jax.random.categorical(group_key, jnp.log(shares), shape=(num_faces,))

    dtype = points.dtype

    def draw(angle_key, name):
        keys = jax.random.split(angle_key, len(views))
        pairs = zip(keys, views, strict=True)
        drawn = [_draw(k, getattr(view, name), num_faces, dtype) for k, view in pairs]
        return jnp.take_along_axis(jnp.stack(drawn), group[None], axis=0)[0]

    names = ("yaw", "pitch", "roll", "field_of_view")
    angles = [draw(*pair) for pair in zip(angle_keys, names, strict=True)]
    return Faces(project(points, rotation_from_angles(*angles[:3]), angles[3]), points)


def _draw(key: jax.Array, angles: Uniform | Choice, num: int, dtype: jnp.dtype) -> jax.Array:
    if isinstance(angles, Uniform):
        return jax.random.uniform(key, (num,), dtype, angles.low, angles.high)
    return jax.random.choice(key, jnp.array(angles.angles, dtype), (num,))
