"""Views: the random poses and projections that turn 3D landmarks into 2D ones."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from deepmds_jax.data.morphable_model import MorphableModel, sample_coefficients
from deepmds_jax.geometry import project, rotation_from_angles, size
from deepmds_jax.geometry.cameras import project_with_depth


class Uniform(NamedTuple):
    """Any number between two."""

    low: float
    high: float


class Choice(NamedTuple):
    """One of some numbers, each as likely."""

    values: tuple[float, ...]


class ViewGroup(NamedTuple):
    """A share of the views, and how they are drawn; see `geometry.cameras` for the signs.

    A camera at azimuth a and elevation e sees what a head shows that is turned by yaw a and pitch
    -e. Orthography with `scale` and `shift` is weak perspective (scaled orthography).

    Attributes:
      share: probability of this group; the shares of all groups sum to 1.
      yaw, pitch, roll: of the head, degrees.
      field_of_view: of the camera, degrees; 0 is orthography.
      scale: image units per unit of the model.
      shift: of the face in the image, to the right and, drawn by itself, down, in multiples of the
        root mean square distance of its landmarks (3D) to their centroid, as it is in the image.
    """

    share: float
    yaw: Uniform | Choice = Choice((0.0,))
    pitch: Uniform | Choice = Choice((0.0,))
    roll: Uniform | Choice = Choice((0.0,))
    field_of_view: Uniform | Choice = Choice((0.0,))
    scale: Uniform | Choice = Choice((1.0,))
    shift: Uniform | Choice = Choice((0.0,))


class View(NamedTuple):
    """How F faces are seen: the numbers that a `ViewGroup` gave each.

    Attributes:
      yaw, pitch, roll, field_of_view: (F,) degrees.
      group: (F,) int32, the place of the `ViewGroup` in its tuple.
      scale: (F,) image units per unit of the model.
      shift: (F, 2) to the right and down, see `ViewGroup`.
    """

    yaw: jax.Array
    pitch: jax.Array
    roll: jax.Array
    field_of_view: jax.Array
    group: jax.Array
    scale: jax.Array
    shift: jax.Array


class Faces(NamedTuple):
    """Faces and one view of each, with what is known of them; None is not known.

    Attributes:
      x2d: (F, N, 2) image points, x right, y down: of a photograph in pixels, of a drawn face in
        the unit of its model with the centroid seen at the origin, then scaled and shifted.
      points: (F, N, 3) the shapes, head frame, unit and origin of the source.
      view: the `View` of each.
      visible: (F, N) bool, whether the landmark is not hidden behind the face.
      identity: (F, K) coefficients of a morphable model's identity modes.
      images: (F, H, W, 3) float32 in [0, 1].
      row: (F,) int32, the place of the face in a set of recorded faces.
      expression: (F, E) weights of a morphable model's expressions.
    """

    x2d: jax.Array
    points: jax.Array
    view: View | None = None
    visible: jax.Array | None = None
    identity: jax.Array | None = None
    images: jax.Array | None = None
    row: jax.Array | None = None
    expression: jax.Array | None = None


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
    return faces._replace(identity=identity, expression=weights)


@functools.partial(jax.jit, static_argnames="views")
def view_shapes(key: jax.Array, points: jax.Array, views: tuple[ViewGroup, ...]) -> Faces:
    """Draws one view of each of some (F, N, 3) head-frame shapes. Pure."""
    group_key, *keys = jax.random.split(key, 8)
    num_faces = points.shape[0]
    shares = jnp.array([group.share for group in views])
    group = jax.random.categorical(group_key, jnp.log(shares), shape=(num_faces,))
    dtype = points.dtype

    def draw(name_key, name):
        group_keys = jax.random.split(name_key, len(views))
        pairs = zip(group_keys, views, strict=True)
        drawn = [_draw(k, getattr(view, name), num_faces, dtype) for k, view in pairs]
        return jnp.take_along_axis(jnp.stack(drawn), group[None], axis=0)[0]

    names = ("yaw", "pitch", "roll", "field_of_view", "scale", "shift", "shift")
    *angles, scale, right, down = (draw(*pair) for pair in zip(keys, names, strict=True))
    view = View(*angles, group, scale, jnp.stack([right, down], axis=-1))
    x2d = project(points, rotation_from_angles(*angles[:3]), view.field_of_view)
    x2d = view.scale[:, None, None] * (x2d + view.shift[:, None, :] * size(points)[:, None, None])
    return Faces(x2d, points, view)


@jax.jit
def add_noise(key: jax.Array, faces: Faces, noise: float) -> Faces:
    """The image points as a landmark detector finds them: with independent normal errors. Pure.

    The standard deviation of each coordinate is `noise` times the root mean square distance of the
    face's landmarks (3D) to their centroid, in image units: the same in every view, and defined for
    every topology. On ICT's mean face it is 0.67 (68 points) or 0.53 (51) outer eye distances.
    """
    deviation = noise * size(faces.points) * faces.view.scale
    errors = jax.random.normal(key, faces.x2d.shape, faces.x2d.dtype)
    return faces._replace(x2d=faces.x2d + deviation[:, None, None] * errors)


def seen_with_depth(points: jax.Array, landmarks: jax.Array, view: View) -> jax.Array:
    """Image points and depth (F, V, 3) of (F, V, 3) points of faces, before scale and shift.

    See `geometry.cameras.project_with_depth`; `landmarks` (F, N, 3) are of the same faces.
    """
    rotation = rotation_from_angles(view.yaw, view.pitch, view.roll)
    return project_with_depth(points, rotation, view.field_of_view, landmarks)


def _draw(key: jax.Array, numbers: Uniform | Choice, num: int, dtype: jnp.dtype) -> jax.Array:
    if isinstance(numbers, Uniform):
        return jax.random.uniform(key, (num,), dtype, numbers.low, numbers.high)
    return jax.random.choice(key, jnp.array(numbers.values, dtype), (num,))
