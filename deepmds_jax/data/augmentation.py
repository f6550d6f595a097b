"""Faces of training made unlike the model's own: other shapes, other definitions, worse detectors.

Face models differ in where they put a landmark, most of all on brows and jaw, and no model has all
faces. What is learnt on one of them alone does worse than its mean face on others. So its shapes
are deformed smoothly, at random, before they are seen.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deepmds_jax import topologies
from deepmds_jax.data.views import Faces, ViewGroup, add_noise, view_shapes
from deepmds_jax.geometry import centre, size, standardize

# Gaussian processes over the mean face: length and standard deviation of an axis, in root mean
# square distances of the landmarks to their centroid (47 mm for the 51 inner landmarks). Large
# parts of the face, single features, and each landmark by itself (length 0).
_PROCESSES = ((0.53, 0.053), (0.17, 0.025), (0.0, 0.013))
_STRETCH = 0.04  # of an axis, standard deviation
_OUTLIERS, _OUTLIER = 0.05, 3.0  # share of the landmarks with so many times the noise


class Augmentation(NamedTuple):
    """How far training faces go beyond the model's. Every face draws its own amount of each.

    Attributes:
      deformation: most times the deformations named above; the amount is the square of a uniform
        number times this.
      noise: most noise of the detector, as `views.add_noise` counts it; likewise a square.
      missing: most of the landmarks that are missing, in half of the faces; uniform.
      calm: most of its expression that a face loses; what it keeps is the square of a uniform
        number. The mean of all drawn expressions is a grimace, faces in photographs are nearer to
        none.
      contour: most shift of jaw landmarks along the image where the head is in profile, as a share
        of the face's size: detectors and annotators follow the visible contour there.
    """

    deformation: float = 0.0
    noise: float = 0.0
    missing: float = 0.0
    contour: float = 0.0
    calm: float = 0.0


NO_AUGMENTATION = Augmentation()


def deformation_basis(mean: np.ndarray) -> jax.Array:
    """Factors (G, N, N) of the covariances of the processes over the landmarks of a mean face."""
    points = np.asarray(standardize(jnp.asarray(mean)), np.float64)
    square = np.sum((points[:, None] - points[None]) ** 2, axis=-1)
    factors = []
    for length, deviation in _PROCESSES:
        covariance = np.exp(-square / (2 * length**2)) if length else np.eye(len(points))
        values, vectors = np.linalg.eigh(covariance)
        factors.append(deviation * vectors * np.sqrt(np.maximum(values, 0)))
    return jnp.asarray(np.stack(factors), jnp.float32)


def deform(
    key: jax.Array, points: jax.Array, basis: jax.Array, mirror: tuple[int, ...], most: float
) -> jax.Array:
    """Deforms (F, N, 3) head-frame shapes at random, about as much to both sides. Pure.

    Args:
      key: PRNG key.
      points: the shapes.
      basis: from `deformation_basis`.
      mirror: of the topology.
      most: times the standard deviations, see `Augmentation`.

    Returns:
      (F, N, 3), near the origin.
    """
    amount_key, normal_key, side_key, stretch_key = jax.random.split(key, 4)
    num_faces, num_landmarks, _ = points.shape
    amount = most * jax.random.uniform(amount_key, (num_faces, 1, 1)) ** 2
    normal = jax.random.normal(normal_key, (len(basis), num_faces, num_landmarks, 3))
    shift = jnp.einsum("gij,gfjd->fid", basis, normal)
    mirrored = shift[:, jnp.array(mirror)] * jnp.array([-1, 1, 1])
    even, odd = (shift + mirrored) / 2**0.5, (shift - mirrored) / 2**0.5
    # From half of the variance symmetric, as if the sides knew nothing of each other, to all.
    share = jax.random.uniform(side_key, (num_faces, 1, 1), minval=0.5, maxval=1)
    shift = jnp.sqrt(share) * even + jnp.sqrt(1 - share) * odd
    stretch = 1 + _STRETCH * amount * jax.random.normal(stretch_key, (num_faces, 1, 3))
    return centre(points) * stretch + amount * shift * size(points)[:, None, None]


def augmented_faces(
    key: jax.Array,
    points: jax.Array,
    views: tuple[ViewGroup, ...],
    noise: float,
    augmentation: Augmentation,
    topology: str,
    basis: jax.Array,
) -> Faces:
    """Views of (F, N, 3) head-frame shapes, drawn anew and made harder. Pure.

    Args:
      key: PRNG key.
      points: the shapes.
      views: how they are seen.
      noise: of every face, besides the augmentation's own.
      augmentation: how much harder.
      topology: name; landmarks called jaw_* follow the contour.
      basis: from `deformation_basis` of the mean face.

    Returns:
      `Faces` with their view; `visible` is False for missing landmarks, which keep their places.
    """
    keys = jax.random.split(key, 9)
    topology = topologies.get(topology)
    num_faces, num_landmarks, _ = points.shape
    points = deform(keys[0], points, basis, topology.mirror, augmentation.deformation)
    faces = view_shapes(keys[1], points, views)
    amount = noise + augmentation.noise * jax.random.uniform(keys[2], (num_faces,)) ** 2
    outlier = jax.random.uniform(keys[3], (num_faces, num_landmarks)) < _OUTLIERS
    exact = faces.x2d
    faces = add_noise(keys[4], faces, 1.0)
    more = jnp.where(outlier & (augmentation.noise > 0), _OUTLIER, 1.0) * amount[:, None]
    x2d = exact + more[..., None] * (faces.x2d - exact)
    jaw = jnp.array([name.startswith("jaw_") or name == "menton" for name in topology.landmarks])
    along = jnp.einsum("ij,fjd->fid", basis[0], jax.random.normal(keys[5], x2d.shape))
    along = along / _PROCESSES[0][1] * (size(points) * faces.view.scale)[:, None, None]
    profile = jnp.abs(jnp.sin(jnp.deg2rad(faces.view.yaw)))
    slide = augmentation.contour * profile * jax.random.uniform(keys[6], (num_faces,))
    x2d = x2d + jnp.where(jaw[:, None], slide[:, None, None] * along, 0)
    share = augmentation.missing * jax.random.uniform(keys[7], (2, num_faces, 1))
    share = jnp.where(share[0] < augmentation.missing / 2, share[1], 0)
    visible = jax.random.uniform(keys[8], (num_faces, num_landmarks)) >= share
    return faces._replace(x2d=x2d, visible=visible)
