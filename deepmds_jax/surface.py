"""The dense surface of a face that its lifted landmarks speak for, by a morphable model."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve

from deepmds_jax.data.dense import DenseModel
from deepmds_jax.geometry import centre, procrustes
from deepmds_jax.geometry.similarity import Similarity, rigid_changes

# Root mean square of the weights that `sample_coefficients` draws, products of two U[0, 1] numbers.
# Around zero: where nothing is seen of an expression, the face is neutral.
_EXPRESSION_DEVIATION = 1 / 3
_NUM_ITERS = 3  # moves, turns and size are linear only near the alignment, which is renewed


class Surface(NamedTuple):
    """A face of a `DenseModel` with K identities and E expressions.

    Attributes:
      identity: (K,) coefficients.
      expression: (E,) weights; not held between 0 and 1.
      similarity: from the model's frame and unit to those of the landmarks it was fitted to.
    """

    identity: jax.Array
    expression: jax.Array
    similarity: Similarity


@jax.default_matmul_precision("highest")
def fit_surface(model: DenseModel, points: jax.Array, std: jax.Array) -> Surface:
    """The most probable face of a model, given 3D landmarks and how far each is to be trusted.

    The coefficients are Gaussian beforehand: identities as the model says, expression weights
    around the neutral face. Given landmarks with Gaussian errors they are Gaussian again, and their
    mean is one linear solve. Place, turn and size of the landmarks are free; they are unknowns of
    the same equation, so that a mouth that opens does not push the whole head.

    Pure; batches by vmap, and works under jit.

    Args:
      model: of the dense face, with N landmarks.
      points: (N, 3) landmarks as `reconstruct` returns them: head frame (x right, y down, z away
        from the viewer), any unit.
      std: (N, 3) their standard deviations, above 0, same frame and unit.

    Returns:
      The `Surface`; NaN where the landmarks are.

    Raises:
      ValueError: wrong shapes.

    Source: Blanz & Vetter (2002), "Reconstructing the complete 3D shape of faces from partial
    information"; Albrecht et al. (2013), "Posterior shape models", Medical Image Analysis 17:959.
    """
    expected = (len(model.landmarks), 3)
    if jnp.shape(points) != expected or jnp.shape(std) != expected:
        raise ValueError(f"points, std: expected {expected} each, got {jnp.shape(points)} and "
                         f"{jnp.shape(std)}")
    mean = model.shape.mean[model.landmarks]
    identity, expression = (x[:, model.landmarks] for x in (model.shape.identity,
                                                            model.shape.expression))
    num = len(identity)
    modes = jnp.concatenate([identity, _EXPRESSION_DEVIATION * expression])
    precision = jnp.concatenate([jnp.ones(len(modes)), jnp.zeros(7)])  # free: moves, turns, size
    coefficients = jnp.zeros(len(modes), points.dtype)
    for _ in range(_NUM_ITERS):
        similarity = procrustes(mean + jnp.tensordot(coefficients, modes, 1), points)
        start = similarity(mean)
        # The modes in the frame of the landmarks, without the translation.
        turned = similarity.scale * modes @ similarity.rotation
        changes = jnp.concatenate([turned, rigid_changes(centre(points))]) / std
        changes = changes.reshape(len(precision), -1)
        beyond = ((points - start) / std).reshape(-1)
        factor = jnp.linalg.cholesky(changes @ changes.T + jnp.diag(precision))
        coefficients = cho_solve((factor, True), changes @ beyond)[: len(modes)]
    similarity = procrustes(mean + jnp.tensordot(coefficients, modes, 1), points)
    return Surface(
        coefficients[:num], _EXPRESSION_DEVIATION * coefficients[num:], similarity)
