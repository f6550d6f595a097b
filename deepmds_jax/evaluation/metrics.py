"""The paper's criteria, as its release computes them, and plain depth correlation."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from deepmds_jax.geometry import min_max, procrustes


class Metrics(NamedTuple):
    """Criteria of each face, (...).

    Attributes:
      mse: mean squared error over the 3N coordinates, truth min-max scaled.
      depthcorr: trace of the landmark correlation matrix, at most N ("DepthCorr" of the paper).
      depthcorr_share: depthcorr / N, at most 1.
      depth_correlation: Pearson correlation of depth over the landmarks.
    """

    mse: jax.Array
    depthcorr: jax.Array
    depthcorr_share: jax.Array
    depth_correlation: jax.Array


def score(truth: jax.Array, prediction: jax.Array) -> Metrics:
    """Scores predicted shapes.

    As in the release, the truth is min-max scaled to [0, 1] jointly over its 3N coordinates (so
    the unit of the MSE depends on the origin of the source, which is kept), and the prediction is
    aligned to it by Procrustes with translation, rotation, reflection and scale. The paper's
    eq. 9 writes a sum of absolute differences; its tables are mean squares.

    Args:
      truth: (..., N, 3) head frame, in the unit and origin of its source.
      prediction: (..., N, 3) in any pose and unit.

    Returns:
      `Metrics`, NaN for a face whose prediction is not finite.

    Source: Kamyab & Azimifar (2022), section 4.2, and the authors' release.
    """
    truth = min_max(truth)
    aligned = procrustes(prediction, truth, reflection=True)(prediction)
    mse = jnp.mean((truth - aligned) ** 2, axis=(-2, -1))
    # The trace needs only the diagonal: landmark i with itself, each a 3-vector.
    depthcorr = jnp.sum(_pearson(truth, aligned), axis=-1)
    depth_correlation = _pearson(truth[..., 2], aligned[..., 2])
    return Metrics(mse, depthcorr, depthcorr / truth.shape[-2], depth_correlation)


def _pearson(a: jax.Array, b: jax.Array) -> jax.Array:
    """Pearson correlation over the last axis."""
    a, b = (x - jnp.mean(x, axis=-1, keepdims=True) for x in (a, b))
    square = jnp.sum(a * a, axis=-1) * jnp.sum(b * b, axis=-1)
    return jnp.sum(a * b, axis=-1) / jnp.sqrt(square)
