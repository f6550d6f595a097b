"""Makes training faces more varied than their model: other shapes, other landmarks, more noise.

Face models differ in where they place a landmark, most of all on brows and jaw, and no model covers
all faces. A network trained on one model alone does worse on faces of others than that model's mean
face. So its shapes are deformed at random, by smooth displacements, before they are viewed.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deepmds_jax import topologies
from deepmds_jax.data.outline import jaw_landmarks, slide
from deepmds_jax.data.views import Faces, ViewGroup, add_noise, view_shapes
from deepmds_jax.geometry import centre, size, standardize

# Gaussian processes over the mean face: length scale, and standard deviation along each axis, in
# root mean square distances of the landmarks to their centroid (47 mm for the 51 inner landmarks).
# They move large parts of the face, single features, and each landmark by itself (length scale 0).
_PROCESSES = ((0.53, 0.053), (0.17, 0.025), (0.0, 0.013))
_STRETCH_DEVIATION = 0.04  # standard deviation of the stretch of each axis
_COMMON_SHARE = 0.8  # at most, of the variance of the noise: that of the landmarks of one feature
_OUTLIER_SHARE, _OUTLIER_FACTOR = 0.05, 3.0  # share of the landmarks, times the noise


class Augmentation(NamedTuple):
    """How far training faces may go beyond the model's. Every face draws its own amount of each.

    The fields are the keys of a spec's `[augmentation]` and state the largest amount; 0 is none.

    Attributes:
      deformation: factor of the standard deviations in this module's `_PROCESSES`. A face gets this
        times the square of a U[0, 1] number.
      noise: of the landmark detector, in the unit of `views.add_noise`, and on top of the spec's
        own. A face gets this times the square of a U[0, 1] number; some of it moves whole features.
      missing: share of the landmarks that are missing, uniform up to this, in half of the faces.
      contour: how far jaw landmarks slide in the image where the head is in profile, as a share of
        the face's size, at random: for sources that do not know where the visible contour runs.
      outline: how far jaw landmarks move to the visible contour, at most 1, which is all of the
        way; see `outline.slide`. A quarter of the faces stay, a quarter go as far as this, the
        others uniformly between. For sources with `JawLines`.
      calm: how much of its expression a face may lose, from 0 (it keeps all of it) to 1. A face
        keeps 1 - calm * (1 - u^2) of it, u ~ U[0, 1]. Without it the mean of the drawn expressions
        is a grimace; faces in photographs are closer to neutral.
    """

    deformation: float = 0.0
    noise: float = 0.0
    missing: float = 0.0
    contour: float = 0.0
    calm: float = 0.0
    outline: float = 0.0


NO_AUGMENTATION = Augmentation()


def deformation_basis(mean: np.ndarray) -> jax.Array:
    """Factors (G, N, N) of the covariances of the G processes over the landmarks.

    Args:
      mean: (N, 3) mean face, any unit and origin.

    Returns:
      float32 matrices A; A @ n with n ~ N(0, 1) are the displacements of the landmarks along one
      axis, in multiples of the face's size.
    """
    points = np.asarray(standardize(jax.device_put(mean)), np.float64)
    square = np.sum((points[:, None] - points[None]) ** 2, axis=-1)
    factors = []
    for length, deviation in _PROCESSES:
        covariance = np.exp(-square / (2 * length**2)) if length else np.eye(len(points))
        values, vectors = np.linalg.eigh(covariance)
        factors.append(deviation * vectors * np.sqrt(np.maximum(values, 0)))
    return jax.device_put(np.stack(factors).astype(np.float32))


@jax.default_matmul_precision("highest")
def deform(
    key: jax.Array,
    points: jax.Array,
    basis: jax.Array,
    mirror: tuple[int, ...] | None,
    max_amount: float,
) -> jax.Array:
    """Deforms head-frame shapes at random, on both sides of the face alike or partly so. Pure.

    Args:
      key: PRNG key.
      points: (F, N, 3) shapes, head frame, any unit.
      basis: (G, N, N) from `deformation_basis`.
      mirror: (N,) partners of the landmarks, of the topology; None where it has no symmetry.
      max_amount: largest factor of the standard deviations, see `Augmentation.deformation`.

    Returns:
      (F, N, 3) shapes in the same unit, their centroids near the origin.
    """
    amount_key, normal_key, side_key, stretch_key = jax.random.split(key, 4)
    num_faces, num_landmarks, _ = points.shape
    amount = max_amount * jax.random.uniform(amount_key, (num_faces, 1, 1)) ** 2
    normal = jax.random.normal(normal_key, (len(basis), num_faces, num_landmarks, 3))
    shift = jnp.einsum("gij,gfjd->fid", basis, normal)
    if mirror is not None:
        mirrored = shift[:, jnp.array(mirror)] * jnp.array([-1, 1, 1])
        even, odd = (shift + mirrored) / 2**0.5, (shift - mirrored) / 2**0.5
        # The symmetric share of the variance: from a half, where the two sides move independently,
        # to all of it.
        share = jax.random.uniform(side_key, (num_faces, 1, 1), minval=0.5, maxval=1)
        shift = jnp.sqrt(share) * even + jnp.sqrt(1 - share) * odd
    stretch = 1 + _STRETCH_DEVIATION * amount * jax.random.normal(stretch_key, (num_faces, 1, 3))
    return centre(points) * stretch + amount * shift * size(points)[:, None, None]


def varied_shapes(
    key: jax.Array, points: jax.Array, mean: jax.Array, augmentation: Augmentation, topology: str
) -> jax.Array:
    """Shapes (F, N, 3) as varied as `augmented_faces` makes them, without views.

    Args:
      key: PRNG key.
      points: (F, N, 3) shapes, head frame, any unit.
      mean: (N, 3) mean face, any unit.
      augmentation: says how far they are deformed.
      topology: its name.
    """
    if not augmentation.deformation:
        return points
    basis, mirror = deformation_basis(np.asarray(mean)), topologies.get(topology).mirror
    return deform(key, points, basis, mirror, augmentation.deformation)


@jax.default_matmul_precision("highest")
def augmented_faces(
    key: jax.Array,
    points: jax.Array,
    views: tuple[ViewGroup, ...],
    noise: float,
    augmentation: Augmentation,
    topology: str,
    basis: jax.Array,
) -> Faces:
    """Draws views of head-frame shapes and makes them as hard as `augmentation` says. Pure.

    Args:
      key: PRNG key.
      points: (F, N, 3) shapes, head frame, any unit; or (F, N + J * C, 3), with the points of J jaw
        lines behind them, as `Dataset.draw_shapes` gives them.
      views: groups that the views are drawn from.
      noise: of every face, besides the augmentation's own; see `views.add_noise`.
      augmentation: how much of what is added.
      topology: its name; the landmarks called jaw_* and menton follow the contour.
      basis: (G, N, N) from `deformation_basis` of the mean face.

    Returns:
      `Faces` with their view; `visible` is False for missing landmarks, whose points stay in `x2d`.
    """
    keys = jax.random.split(key, 9)
    landmarks, mirror = topologies.get(topology).landmarks, topologies.get(topology).mirror
    num_faces, num_landmarks = len(points), len(landmarks)
    points, behind = points[:, :num_landmarks], points[:, num_landmarks:]
    drawn = points
    points = deform(keys[0], points, basis, mirror, augmentation.deformation)
    faces = view_shapes(keys[1], points, views)
    if behind.shape[1]:
        faces = _seen_outline(jax.random.fold_in(keys[6], 1), faces, drawn, behind,
                              augmentation.outline, topology)
    exact, view = faces.x2d, faces.view
    assert view is not None
    more = augmentation.noise * jax.random.uniform(keys[2], (num_faces,)) ** 2
    outlier = jax.random.uniform(keys[3], (num_faces, num_landmarks)) < _OUTLIER_SHARE
    noisy = add_noise(keys[4], faces, 1.0)
    outlier = jnp.where(outlier & (augmentation.noise > 0), _OUTLIER_FACTOR, 1.0)
    parts = _moved_parts(jax.random.fold_in(keys[4], 1), faces, basis)
    common = _COMMON_SHARE * jax.random.uniform(jax.random.fold_in(keys[2], 1), (num_faces,))
    own = noise + jnp.sqrt(1 - common) * more
    x2d = exact + (own[:, None] * outlier)[..., None] * (noisy.x2d - exact)
    x2d = x2d + (jnp.sqrt(common) * more)[:, None, None] * parts
    jaw = jnp.array([i in jaw_landmarks(topology) for i in range(num_landmarks)])
    along = jnp.einsum("ij,fjd->fid", basis[0], jax.random.normal(keys[5], x2d.shape))
    along = along / _PROCESSES[0][1] * (size(points) * view.scale)[:, None, None]
    profile = jnp.abs(jnp.sin(jnp.deg2rad(view.yaw)))
    slide = augmentation.contour * profile * jax.random.uniform(keys[6], (num_faces,))
    x2d = x2d + jnp.where(jaw[:, None], slide[:, None, None] * along, 0)
    share = augmentation.missing * jax.random.uniform(keys[7], (2, num_faces, 1))
    share = jnp.where(share[0] < augmentation.missing / 2, share[1], 0)
    visible = jax.random.uniform(keys[8], (num_faces, num_landmarks)) >= share
    return faces._replace(x2d=x2d, visible=visible)


def _moved_parts(key, faces, basis):
    """Errors (F, N, 2) of unit deviation that a whole brow, an eye or the jaw has in common."""
    errors = jnp.einsum("ij,fjd->fid", basis[1], jax.random.normal(key, faces.x2d.shape))
    return errors / _PROCESSES[1][1] * (size(faces.points) * faces.view.scale)[:, None, None]


def _seen_outline(key, faces, drawn, behind, outline, topology):
    """The faces with their jaws somewhere between the mandible and the visible contour.

    Args:
      key: PRNG key.
      faces: with a view; their shapes may be deformed.
      drawn: (F, N, 3) the shapes before that.
      behind: (F, J * C, 3) the points of the jaw lines of `drawn`.
      outline: of the augmentation.
      topology: its name.
    """
    jaw = jnp.array(jaw_landmarks(topology))
    lines = behind.reshape(len(behind), len(jaw), -1, 3)
    # Every line goes with its landmark: the displacements are smooth, and the lines short.
    lines = lines + (faces.points - drawn)[:, jaw, None]
    share = jnp.clip(jax.random.uniform(key, (len(drawn),), minval=-0.5, maxval=1.5), 0, 1)
    return slide(faces, lines, outline * share, topology)
