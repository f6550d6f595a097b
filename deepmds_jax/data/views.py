"""Views: the random poses and projections that turn 3D landmarks into 2D ones."""

import functools
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from deepmds_jax.data.morphable_model import MorphableModel, sample_coefficients
from deepmds_jax.geometry import project, rotation_from_angles, size
from deepmds_jax.geometry.cameras import project_with_depth


class Uniform(NamedTuple):
    """A number drawn uniformly between two."""

    low: float
    high: float


class Choice(NamedTuple):
    """One of some numbers, all equally likely."""

    values: tuple[float, ...]


class ViewGroup(NamedTuple):
    """A share of the views, and how they are drawn; see `geometry.cameras` for the signs.

    A camera at azimuth a and elevation e sees the same image as a head turned by yaw a and pitch
    -e. Orthography with `scale` and `shift` is weak perspective (scaled orthography).

    Attributes:
      share: probability of this group; the shares of all groups sum to 1.
      yaw, pitch, roll: of the head, degrees.
      field_of_view: of the camera, degrees; 0 is orthography.
      scale: image units per unit of the model.
      shift: of the face in the image, drawn once for the shift to the right and once for that down,
        in multiples of the root mean square distance of its landmarks (3D) to their centroid,
        scaled to the image.
    """

    share: float
    yaw: Uniform | Choice = Choice((0.0,))
    pitch: Uniform | Choice = Choice((0.0,))
    roll: Uniform | Choice = Choice((0.0,))
    field_of_view: Uniform | Choice = Choice((0.0,))
    scale: Uniform | Choice = Choice((1.0,))
    shift: Uniform | Choice = Choice((0.0,))


class View(NamedTuple):
    """How F faces are seen: the numbers drawn for each.

    Attributes:
      yaw, pitch, roll, field_of_view: (F,) degrees.
      group: (F,) int32 index of the `ViewGroup` that they were drawn from.
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
    """Faces and one view of each, with what is known about them; None is unknown.

    Attributes:
      x2d: (F, N, 2) image points, x right, y down: pixels of a photograph; of a drawn face in the
        unit of its model with the centroid projected to the origin, then scaled and shifted.
      points: (F, N, 3) the shapes, head frame, unit and origin of the source.
      view: the `View` of each.
      visible: (F, N) bool, False where the face hides the landmark.
      identity: (F, K) coefficients of a morphable model's identity modes.
      images: (F, H, W, 3) float32 RGB in [0, 1].
      row: (F,) int32 index of the face in a set of recorded faces.
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


_Taken = TypeVar("_Taken", Faces, View)


def take_faces(faces: _Taken, rows: np.ndarray | slice) -> _Taken:
    """Some of the faces, or of their views. Taken from NumPy arrays, which compiles nothing."""
    return jax.device_put(jax.tree.map(lambda x: x[rows], jax.device_get(faces)))


@functools.partial(jax.jit, static_argnames=("views", "num_faces", "expression"))
def sample_faces(
    key: jax.Array,
    model: MorphableModel,
    views: tuple[ViewGroup, ...],
    num_faces: int,
    expression: bool = False,
) -> Faces:
    """Draws faces from a morphable model, and one view of each.

    Pure, and compiled once per `views`, `num_faces` and `expression`. The same key gives the same
    faces.

    Args:
      key: PRNG key.
      model: with N landmarks, K identity modes and E expressions.
      views: groups that the views are drawn from.
      num_faces: how many.
      expression: whether faces have expressions, see `sample_coefficients`.

    Returns:
      `Faces` with `view`, `identity` and `expression`.
    """
    shape_key, view_key = jax.random.split(key)
    identity, weights = sample_coefficients(model, shape_key, num_faces, expression=expression)
    faces = view_shapes(view_key, model.shapes(identity, weights), views)
    return faces._replace(identity=identity, expression=weights)


@functools.partial(jax.jit, static_argnames="views")
def view_shapes(key: jax.Array, points: jax.Array, views: tuple[ViewGroup, ...]) -> Faces:
    """Draws one view of each of some (F, N, 3) head-frame shapes. Pure.

    Returns:
      `Faces` with `view`; the image points are in the unit of `points` times the view's scale.
    """
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
    yaw, pitch, roll, field_of_view, scale, right, down = map(draw, keys, names)
    shift = jnp.stack([right, down], axis=-1)
    view = View(yaw, pitch, roll, field_of_view, group, scale, shift)
    x2d = project(points, rotation_from_angles(yaw, pitch, roll), view.field_of_view)
    x2d = view.scale[:, None, None] * (x2d + view.shift[:, None, :] * size(points)[:, None, None])
    return Faces(x2d, points, view)


@jax.jit
def add_noise(key: jax.Array, faces: Faces, noise: jax.typing.ArrayLike) -> Faces:
    """Adds independent normal errors to the image points, as a landmark detector makes them. Pure.

    The standard deviation of each coordinate is `noise` times the root mean square distance of the
    face's landmarks (3D) to their centroid, in image units: the same in every view, and defined for
    every topology. On ICT's mean face that distance is 0.67 (68 points) or 0.53 (51 points) times
    the distance of the outer eye corners.

    Raises:
      ValueError: the faces have no view, as those of photographs.
    """
    if faces.view is None:
        raise ValueError("faces: expected faces with a view, got none, as of photographs")
    deviation = noise * size(faces.points) * faces.view.scale
    errors = jax.random.normal(key, faces.x2d.shape, faces.x2d.dtype)
    return faces._replace(x2d=faces.x2d + deviation[:, None, None] * errors)


def seen_with_depth(points: jax.Array, landmarks: jax.Array, view: View) -> jax.Array:
    """Image points and depth (F, V, 3) of points of faces, without the view's scale and shift.

    See `geometry.cameras.project_with_depth`.

    Args:
      points: (F, V, 3), head frame.
      landmarks: (F, N, 3) of the same faces, frame and unit of `points`.
      view: of the F faces.
    """
    rotation = rotation_from_angles(view.yaw, view.pitch, view.roll)
    return project_with_depth(points, rotation, view.field_of_view, landmarks)


def _draw(key: jax.Array, numbers: Uniform | Choice, num: int, dtype: jnp.dtype) -> jax.Array:
    """`num` numbers (num,) of a dtype."""
    if isinstance(numbers, Uniform):
        return jax.random.uniform(key, (num,), dtype, numbers.low, numbers.high)
    if len(numbers.values) == 1:  # unused random numbers would take most of the time to compile
        return jnp.full((num,), numbers.values[0], dtype)
    return jax.random.choice(key, jnp.array(numbers.values, dtype), (num,))
