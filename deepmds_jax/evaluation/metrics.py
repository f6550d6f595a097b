"""Evaluation criteria: the paper's, as its release computes them, and the field's common ones."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deepmds_jax import topologies
from deepmds_jax.geometry import min_max, procrustes, size, standardize
from deepmds_jax.topologies import Topology

_EYE_CORNERS = ("exocanthion_right", "exocanthion_left")


class Metrics(NamedTuple):
    """Criteria of each face, shape (...); all but `right_handed` are floats without a unit.

    `score` returns JAX arrays, `protocol.evaluate` and `protocol.sample_means` NumPy arrays.

    Attributes:
      mse: mean squared error over the 3N coordinates, with the truth min-max scaled.
      depthcorr: trace of the landmark correlation matrix, at most N (the paper's "DepthCorr").
      depthcorr_share: depthcorr / N, at most 1.
      depth_correlation: Pearson correlation of depth over the landmarks.
      nme: normalised mean error, the mean of `landmark_errors`.
      right_handed: bool, False where the prediction is a mirror image, flat, or not finite.
      landmark_errors: (..., N) distance of each landmark from the true one, divided by the true
        distance between the outer eye corners, or by what else `error_unit` says.
    """

    mse: jax.Array | np.ndarray
    depthcorr: jax.Array | np.ndarray
    depthcorr_share: jax.Array | np.ndarray
    depth_correlation: jax.Array | np.ndarray
    nme: jax.Array | np.ndarray
    right_handed: jax.Array | np.ndarray
    landmark_errors: jax.Array | np.ndarray


class Criterion(NamedTuple):
    """One criterion as tables show it.

    Attributes:
      title: heading of the column.
      field: name of the `Metrics` field, with one number per face.
      better: 1 if higher is better, -1 if lower is.
    """

    title: str
    field: str
    better: int


CRITERIA = (
    Criterion("MSE", "mse", -1),
    Criterion("DepthCorr (trace)", "depthcorr", 1),
    Criterion("trace/N", "depthcorr_share", 1),
    Criterion("depth correlation", "depth_correlation", 1),
    Criterion("NME", "nme", -1),
    Criterion("right-handed", "right_handed", 1),
)


@functools.partial(jax.jit, static_argnames="topology")
@jax.default_matmul_precision("highest")
def score(truth: jax.Array, prediction: jax.Array, topology: str | Topology) -> Metrics:
    """Scores predicted shapes. Pure, compiled, and works under vmap.

    The paper's criteria follow its release: the truth is min-max scaled to [0, 1] jointly over its
    3N coordinates (its origin is kept, so the unit of the MSE depends on it), and the prediction is
    aligned to it by Procrustes with translation, rotation, reflection and scale. The paper's eq. 9
    is a sum of absolute differences; its tables report mean squares.

    A mirrored face is a wrong face, but these criteria cannot see it. So the normalised mean error
    aligns without reflection, and `right_handed` says whether the best orthogonal map onto the
    truth is a rotation: whether det(P^T T) > 0 for the centred prediction P and truth T, (N, 3).
    A flat prediction has no handedness, because its determinant is 0 up to rounding, and does not
    count as right-handed; a nearly flat one is judged by the depth it has, down to a few millionths
    of its size.

    Args:
      truth: (..., N, 3) head frame, in the unit and with the origin of its source.
      prediction: (..., N, 3) in any pose and unit.
      topology: the topology of the N landmarks, or its name; says where the outer eye corners are.
        Where there are none, errors are relative to the size of the true shape, see `error_unit`.

    Returns:
      `Metrics`, NaN (and not right-handed) for a face whose prediction or truth is not finite.

    Raises:
      ValueError: the shapes do not match, or there is no such topology.

    Source: mse, depthcorr: Kamyab & Azimifar (2022), section 4.2, and the authors' release. nme:
    Sagonas et al. (2013), "300 Faces in-the-Wild challenge" (outer eye corners), and Jeni et al.
    (2016), "The first 3D face alignment in the wild challenge" (in 3D); the alignment: Umeyama
    (1991). right_handed: Kabsch (1976), the sign of the determinant.
    """
    topology = topologies.get(topology) if isinstance(topology, str) else topology
    expected = (topology.num_landmarks, 3)
    for name, points in (("truth", truth), ("prediction", prediction)):
        if jnp.shape(points)[-2:] != expected:
            raise ValueError(f"{name}: expected (..., {expected[0]}, 3) for topology "
                             f"{topology.name}, got {jnp.shape(points)}")

    truth = min_max(truth)
    aligned = procrustes(prediction, truth, reflection=True)(prediction)
    mse = jnp.mean((truth - aligned) ** 2, axis=(-2, -1))
    # The trace needs only the diagonal: landmark i with itself, each a 3-vector.
    depthcorr = jnp.sum(_pearson(truth, aligned), axis=-1)
    depth_correlation = _pearson(truth[..., 2], aligned[..., 2])

    rotated = procrustes(prediction, truth, reflection=False)(prediction)
    if has_eye_corners(topology):
        right, left = (truth[..., topology.landmarks.index(name), :] for name in _EYE_CORNERS)
        unit = _length(right - left)
    else:
        unit = size(truth)
    landmark_errors = _length(truth - rotated) / unit[..., None]
    return Metrics(
        mse=mse,
        depthcorr=depthcorr,
        depthcorr_share=depthcorr / topology.num_landmarks,
        depth_correlation=depth_correlation,
        nme=jnp.mean(landmark_errors, axis=-1),
        right_handed=_same_handedness(truth, prediction),
        landmark_errors=landmark_errors,
    )


def has_eye_corners(topology: Topology) -> bool:
    """Whether errors are relative to the distance of the outer eye corners, as on faces."""
    return all(name in topology.landmarks for name in _EYE_CORNERS)


def error_unit(topology: Topology) -> str:
    """What landmark errors, and so NME, are relative to, in words.

    The size of a shape is the root mean square distance of its landmarks to their centroid.
    """
    if has_eye_corners(topology):
        return "the outer interocular distance"
    return "the size of the shape"


def _same_handedness(truth: jax.Array, prediction: jax.Array) -> jax.Array:
    m = standardize(prediction).mT @ standardize(truth)
    # |det| = s1 s2 s3, and rounding may change s3 by a few units in the last place of s1.
    rounding = 8 * jnp.finfo(m.dtype).eps * jnp.sum(m * m, axis=(-2, -1)) ** 1.5
    return jnp.linalg.det(m) > rounding


def _length(vectors: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.sum(vectors**2, axis=-1))


def _pearson(a: jax.Array, b: jax.Array) -> jax.Array:
    """Pearson correlation over the last axis."""
    a, b = (x - jnp.mean(x, axis=-1, keepdims=True) for x in (a, b))
    square = jnp.sum(a * a, axis=-1) * jnp.sum(b * b, axis=-1)
    return jnp.sum(a * b, axis=-1) / jnp.sqrt(square)
