"""Views: the random poses and projections that turn 3D landmarks into 2D ones."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from deepmds_jax.data.morphable_model import MorphableModel, sample_coefficients
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


class View(NamedTuple):
    """From where faces are seen: (F,) degrees each, and the (F,) int32 `ViewGroup` they are of."""

    yaw: jax.Array
    pitch: jax.Array
    roll: jax.Array
    field_of_view: jax.Array
    group: jax.Array


class Faces(NamedTuple):
    """Faces and one view of each, with what is known of them; None is not known.

    Attributes:
      x2d: (F, N, 2) image points, x right, y down: of a drawn face in the unit of its model with
        the centroid seen at the origin, of a photograph in pixels.
      points: (F, N, 3) the shapes, head frame, unit and origin of the source.
      view: the `View` of each.
      visible: (F, N) bool, whether the landmark is not hidden behind the face.
      identity: (F, K) coefficients of a morphable model's identity modes.
      images: (F, H, W, 3) float32 in [0, 1].
      row: (F,) int32, the place of the face in a set of recorded faces.
    """

    x2d: jax.Array
    points: jax.Array
    view: View | None = None
    visible: jax.Array | None = None
    identity: jax.Array | None = None
    images: jax.Array | None = None
    row: jax.Array | None = None


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
    shape_key, view_key = jax.random.split(key)
    identity, weights = sample_coefficients(model, shape_key, num_faces, expression=expression)
    faces = view_shapes(view_key, model.shapes(identity, weights), views)
    return faces._replace(identity=identity)


def view_shapes(key: jax.Array, points: jax.Array, views: tuple[ViewGroup, ...]) -> Faces:
    """Draws one view of each of some (F, N, 3) head-frame shapes. Pure."""
    group_key, *angle_keys = jax.random.split(key, 5)
    num_faces = points.shape[0]
    shares = jnp.array([group.share for group in views])
    group = jax.random.categorical(group_key, jnp.log(shares), shape=(num_faces,))

    dtype = points.dtype

    def draw(angle_key, name):
        keys = jax.random.split(angle_key, len(views))
        pairs = zip(keys, views, strict=True)
        drawn = [_draw(k, getattr(view, name), num_faces, dtype) for k, view in pairs]
        return jnp.take_along_axis(jnp.stack(drawn), group[None], axis=0)[0]

    names = ("yaw", "pitch", "roll", "field_of_view")
    view = View(*(draw(*pair) for pair in zip(angle_keys, names, strict=True)), group)
    rotation = rotation_from_angles(view.yaw, view.pitch, view.roll)
    return Faces(project(points, rotation, view.field_of_view), points, view)


def _draw(key: jax.Array, angles: Uniform | Choice, num: int, dtype: jnp.dtype) -> jax.Array:
    if isinstance(angles, Uniform):
        return jax.random.uniform(key, (num,), dtype, angles.low, angles.high)
    return jax.random.choice(key, jnp.array(angles.angles, dtype), (num,))
