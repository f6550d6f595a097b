"""Scaled-orthographic pose of a 3D shape in its photograph."""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from deepmds_jax import loops
from deepmds_jax.geometry.cameras import angles_from_rotation
from deepmds_jax.geometry.normalization import centre
from deepmds_jax.geometry.similarity import nearest_orthogonal
from deepmds_jax.given_arrays import check_numbers, check_truth, told_apart

_NUM_ITERS = 20
_RIDGE = 1e-5  # relative to the variance of the points
_TINY = 1e-12  # keeps roots differentiable at zero
_CUBE = np.array([  # its 24 rotations
    turn for signs in itertools.product((1, -1), repeat=3)
    for order in itertools.permutations(range(3))
    if np.linalg.det(turn := np.diag(signs)[list(order)]) > 0])
_SAME_POSE = np.cos(np.deg2rad(20))


class Placement(NamedTuple):
    """A head-frame shape placed in an image.

    Attributes:
      points: (..., N, 3) in the image frame: x right and y down, with the unit (pixels) and origin
        of the 2D points; z away from the viewer in the same unit, 0 at the centroid.
      rotation: (..., 3, 3) proper, from the head frame to the image frame, for column vectors.
      scale: (...) pixels per unit of the shape.
      translation: (..., 2) image of the centroid, in pixels.
      yaw: (...) degrees, positive to the image's right.
      pitch: (...) degrees, positive up.
      roll: (...) degrees, positive clockwise.
    """

    points: jax.Array
    rotation: jax.Array
    scale: jax.Array
    translation: jax.Array
    yaw: jax.Array
    pitch: jax.Array
    roll: jax.Array


def place_in_image(
    points: ArrayLike,
    x2d: ArrayLike,
    visible: ArrayLike | None = None,
    *,
    rotation: ArrayLike | None = None,
) -> Placement:
    """Poses 3D landmarks so that their scaled-orthographic projection best fits the 2D ones.

    Minimises || x2d - (s R X)[x, y] - t ||^2 over scale s, proper rotation R and translation t,
    over the landmarks that are visible. It starts from the rotation nearest to the affine camera.
    Each iteration then, by majorization, completes the image points with the depths of the current
    pose and solves a 3D Procrustes problem, which never raises the error. Pure; jit, vmap and
    reverse-mode gradients work.

    Args:
      points: (..., N, 3) float, head frame, any unit.
      x2d: (..., N, 2) float, image points, x right and y down; leading axes broadcast.
      visible: (..., N) bool, which image points count; the others may hold anything. All by
        default. 0 and 1 are taken, too; other numbers are NaN in the face's place under jit.
      rotation: (..., 3, 3) where it is known, so that only scale and translation are fitted: the
        `rotation` of a `Reconstruction` takes account of perspective, which turns a face at arm's
        length by some degrees.

    Returns:
      A `Placement`; all NaN, angles included, of a face with a NaN among its points or visible
      image points. Unlike in `reconstruct` that is no error outside jit either: what comes from
      there may have faces of NaN among others. Coincident 2D points give scale 0.

    Raises:
      ValueError: wrong shapes, what is no real numbers or masked, or a `visible` that is no truth
        values.

    Source: ten Berge (1977), Psychometrika 42:267 (Procrustes with an unknown column); Gower &
    Dijksterhuis (2004), Procrustes Problems, section 5 (projection Procrustes).
    """
    check_numbers("points", points)
    check_numbers("x2d", x2d, "say by visible which landmarks were seen")
    if visible is not None:
        check_truth("visible", visible)
    shapes = jnp.shape(points), jnp.shape(x2d)
    if shapes[0][-1:] != (3,) or len(shapes[0]) < 2 or shapes[1][-2:] != (shapes[0][-2], 2):
        raise ValueError("points, x2d: expected (..., N, 3) and (..., N, 2), "
                         f"got {shapes[0]} and {shapes[1]}")
    if visible is not None and jnp.shape(visible)[-1:] != shapes[1][-2:-1]:
        raise ValueError(f"visible: expected (..., {shapes[1][-2]}) like x2d, got "
                         f"{jnp.shape(visible)}")
    if rotation is not None and jnp.shape(rotation)[-2:] != (3, 3):
        raise ValueError(f"rotation: expected (..., 3, 3), got {jnp.shape(rotation)}")
    points, x2d = jnp.asarray(points), jnp.asarray(x2d)
    x2d, visible = told_apart(x2d, visible)
    seen = jnp.ones(shapes[1][-2], bool) if visible is None else jnp.asarray(visible, bool)
    rotation = None if rotation is None else jnp.asarray(rotation, points.dtype)
    return _place(points, x2d, seen, rotation)


@jax.jit
@jax.default_matmul_precision("highest")
@jax.numpy_rank_promotion("allow")
def _place(
    points: jax.Array, x2d: jax.Array, seen: jax.Array, rotation: jax.Array | None
) -> Placement:
    batch = jnp.broadcast_shapes(points.shape[:-2], x2d.shape[:-2], seen.shape[:-1])
    points, x2d = (jnp.broadcast_to(x, batch + x.shape[-2:]) for x in (points, x2d))
    weights = jnp.broadcast_to(seen, x2d.shape[:-1])[..., None].astype(points.dtype)
    count = jnp.sum(weights, axis=-2, keepdims=True)
    middle = jnp.sum(weights * points, axis=-2, keepdims=True) / count
    known = jnp.where(weights > 0, x2d, 0)
    image_middle = jnp.sum(known, axis=-2, keepdims=True) / count
    shape = weights * (points - middle)
    image = jnp.where(weights > 0, x2d - image_middle, 0)
    covariance = shape.mT @ shape
    variance = jnp.trace(covariance, axis1=-2, axis2=-1)[..., None, None]
    if rotation is None:
        rotation, scale = _fit_pose(shape, image, covariance, variance)
    else:
        rotation = jnp.broadcast_to(rotation, (*batch, 3, 3))
        flat = shape @ rotation[..., :2, :].mT
        scale = jnp.sum(flat * image, axis=(-2, -1), keepdims=True)
        scale = scale / jnp.sum(flat**2, axis=(-2, -1), keepdims=True)
    finite = jnp.all(jnp.isfinite(shape), axis=(-2, -1)) & jnp.all(
        jnp.isfinite(image), axis=(-2, -1))
    rotation = jnp.where(finite[..., None, None], rotation, jnp.nan)
    centroid = jnp.mean(points, axis=-2, keepdims=True) - middle
    offset = scale * centroid @ rotation[..., :2, :].mT
    translation = (image_middle + offset)[..., 0, :]
    placed = scale * centre(points) @ rotation.mT
    placed = placed + jnp.pad(translation, [(0, 0)] * len(batch) + [(0, 1)])[..., None, :]
    angles = angles_from_rotation(rotation)
    return Placement(placed, rotation, scale[..., 0, 0], translation, *angles)


def _fit_pose(shape, image, covariance, variance):
    """Rotation (..., 3, 3) and scale (..., 1, 1) of centred points, 0 where not visible."""
    ridge = jnp.finfo(shape.dtype).eps * variance * jnp.eye(3, dtype=shape.dtype)
    affine = image.mT @ shape @ _inverse(covariance + ridge)
    rotation = _rotation(affine)
    scale = jnp.sum(rotation[..., :2, :] * affine, axis=(-2, -1))[..., None, None] / 2
    return _majorized(shape, image, variance, rotation, scale)


def _majorized(shape, image, variance, rotation, scale):
    """The pose of least error near a rotation (..., 3, 3) and a scale (..., 1, 1)."""

    def majorize(carry, _):
        rotation, scale = carry
        depth = scale * shape @ rotation[..., 2:, :].mT
        completed = jnp.concatenate([image, depth], axis=-1)
        m = completed.mT @ shape
        rotation = nearest_orthogonal(m, reflection=False)
        scale = jnp.sum(m * rotation, axis=(-2, -1))[..., None, None] / variance
        return (rotation, scale), None

    return loops.scan(majorize, (rotation, scale), length=_NUM_ITERS)[0]


@jax.default_matmul_precision("highest")
@jax.numpy_rank_promotion("allow")
def likely_rotations(points: jax.Array, x2d: jax.Array, visible: jax.Array) -> jax.Array:
    """The two rotations whose scaled-orthographic projections fit best, of any there are. Pure.

    The error of `place_in_image` has more than one minimum: things that are flat, or not quite of
    this shape, look alike tilted one way and the other. This starts from the 24 rotations of a
    cube, and so finds objects seen from any side.

    Args:
      points: (N, 3) float, any unit.
      x2d: (N, 2) float, image points, x right and y down.
      visible: (N,) bool, which image points count; the others may hold anything.

    Returns:
      (2, 3, 3) proper, for column vectors; the better one first. The same twice where all starts
      lead to one.
    """
    weights = visible.astype(points.dtype)[:, None]
    count = jnp.sum(weights)
    shape = weights * (points - jnp.sum(weights * points, axis=0) / count)
    known = jnp.where(visible[:, None], x2d, 0)
    image = jnp.where(visible[:, None], known - jnp.sum(known, axis=0) / count, 0)
    variance = jnp.sum(shape**2)
    starts = jnp.asarray(_CUBE, points.dtype)
    scale = jnp.sqrt(1.5 * jnp.sum(image**2) / variance)
    scale = jnp.broadcast_to(scale, (len(starts), 1, 1))
    images = jnp.broadcast_to(image, (len(starts), *image.shape))
    rotation, scale = _majorized(shape, images, variance, starts, scale)
    error = jnp.sum((image - scale * shape @ rotation[:, :2].mT) ** 2, axis=(-2, -1))
    best = jnp.argmin(error)
    cosine = (jnp.sum(rotation * rotation[best], axis=(-2, -1)) - 1) / 2
    other = jnp.argmin(jnp.where(cosine < _SAME_POSE, error, jnp.inf))
    other = jnp.where(jnp.min(cosine) < _SAME_POSE, other, best)
    return rotation[jnp.stack([best, other])]


@jax.default_matmul_precision("highest")
@jax.numpy_rank_promotion("allow")
def affine_rotation(points: jax.Array, x2d: jax.Array, weights: jax.Array) -> jax.Array:
    """The rotation whose first two rows are nearest to the least-squares affine camera.

    A closed form, useful as a start; `place_in_image` gives the scaled-orthographic pose of least
    error.

    Args:
      points: (N, 3) or (..., N, 3) float, head frame, any unit.
      x2d: (..., N, 2) float, image points, x right and y down.
      weights: (..., N) not negative, of the squared errors; they sum to 1.

    Returns:
      (..., 3, 3) proper, from the head frame to the image frame, for column vectors. Points on a
      line give a finite matrix that is not a rotation.

    Source: Higham (1986), "Computing the polar decomposition", SIAM J. Sci. Stat. Comput. 7; the
    root of a two by two matrix: Levinger (1980), Mathematics Magazine 53.
    """
    weights = weights[..., None]
    points = points - jnp.sum(weights * points, axis=-2, keepdims=True)
    image = x2d - jnp.sum(weights * x2d, axis=-2, keepdims=True)
    covariance = points.mT @ (weights * points)
    variance = jnp.trace(covariance, axis1=-2, axis2=-1)[..., None, None]
    ridge = _RIDGE * variance * jnp.eye(3, dtype=points.dtype)
    affine = image.mT @ (weights * points) @ _inverse(covariance + ridge)
    # The rows have an arbitrary unit: normalize them before taking fourth powers.
    affine = affine / jnp.sqrt(jnp.sum(affine**2, axis=(-2, -1), keepdims=True) + _TINY)
    gram = affine @ affine.mT
    a, b, d = gram[..., 0, 0], gram[..., 0, 1], gram[..., 1, 1]
    area = jnp.cross(affine[..., 0, :], affine[..., 1, :])  # not a d - b b, which cancels
    s = jnp.sqrt(jnp.sum(area**2, axis=-1) + _TINY)
    t = jnp.sqrt(a + d + 2 * s)
    # The root of the Gram matrix is ((a + s, b), (b, d + s)) / t, with determinant s; its inverse:
    inverse = jnp.stack([jnp.stack([d + s, -b], axis=-1), jnp.stack([-b, a + s], axis=-1)], axis=-2)
    rows = inverse / (s * t)[..., None, None] @ affine
    last = jnp.cross(rows[..., 0, :], rows[..., 1, :])
    return jnp.concatenate([rows, last[..., None, :]], axis=-2)


def _rotation(affine: jax.Array) -> jax.Array:
    """The proper rotation whose first two rows are nearest to an affine camera (..., 2, 3)."""
    padded = jnp.concatenate([affine, jnp.zeros_like(affine[..., :1, :])], axis=-2)
    return nearest_orthogonal(padded, reflection=False)


def _inverse(m: jax.Array) -> jax.Array:
    """Inverse of (..., 3, 3) matrices by cofactors."""
    rows = jnp.unstack(m, axis=-2)
    cofactors = [jnp.cross(rows[i - 2], rows[i - 1]) for i in range(3)]
    determinant = jnp.sum(rows[0] * cofactors[0], axis=-1)
    return jnp.stack(cofactors, axis=-1) / determinant[..., None, None]
