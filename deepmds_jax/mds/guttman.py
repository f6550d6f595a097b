"""The Guttman transform: the minimizer of the quadratic that majorizes raw stress.

V is the Laplacian matrix of the weights: (V x)_i = sum over j of w_ij (x_i - x_j).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from deepmds_jax.mds.krylov import conjugate_gradients
from deepmds_jax.mds.measures import symmetric_product

_MAX_ITERS = 200  # of conjugate gradients; each one lowers the majorizer
# Below it, the pull of a negative disparity stops growing. With less, float32 ends in a worse fit
# where points coincide; with more, they take long to meet.
_MIN_DISTANCE = 2e-4


class Laplacian(NamedTuple):
    """V of symmetric (n, n) weights with a zero diagonal.

    Attributes:
      weights: (n, n).
      degrees: (n,) their row sums.
      is_constant: () whether all weights off the diagonal are equal; V^+ is then a scalar.
    """

    weights: jax.Array
    degrees: jax.Array
    is_constant: jax.Array

    @classmethod
    def of(cls, weights: jax.Array) -> "Laplacian":
        """V of (n, n) weights."""
        same = (weights == weights[0, -1]) | jnp.eye(*weights.shape, dtype=bool)
        return cls(weights, jnp.sum(weights, axis=1), jnp.all(same))


def laplacian_product(weights: jax.Array, points: jax.Array) -> jax.Array:
    """V x for symmetric (n, n) weights and (n, k) points: (n, k)."""
    columns = jnp.concatenate([points, jnp.ones_like(points[:, :1])], axis=1)
    image = symmetric_product(weights, columns)
    return image[:, -1:] * points - image[:, :-1]


def pseudoinverse_product(laplacian: Laplacian, rhs: jax.Array) -> jax.Array:
    """V^+ times (n, k), centred up to rounding; by conjugate gradients unless V^+ is a scalar."""
    weights, degrees, is_constant = laplacian
    degrees = degrees[:, None]

    def product(x):
        return degrees * x - symmetric_product(weights, x)

    num_points = rhs.shape[0]
    scaled = (num_points - 1) / num_points * rhs / degrees  # the solution if V^+ is a scalar
    solution = conjugate_gradients(
        product, rhs, degrees, jnp.where(is_constant, scaled, 0),
        max_iters=jnp.where(is_constant, 0, _MAX_ITERS),
        tolerance=float(jnp.finfo(rhs.dtype).eps) ** 0.75,
    )
    return solution - jnp.where(is_constant, 0, jnp.mean(solution, axis=0, keepdims=True))


def guttman_step(
    embedding: jax.Array, distances: jax.Array, disparities: jax.Array, laplacian: Laplacian,
    *, may_be_negative: bool = False,
) -> jax.Array:
    """The change V^+ (B(X) - V) X, which takes X to the minimizer of the majorizer of raw stress.

    B(X) is the Laplacian matrix of w_ij dhat_ij / d_ij. A negative disparity (interval transform)
    contributes to V instead, where it pulls its pair together.

    Args:
      embedding: X, (n, k), centred.
      distances: (n, n), those of X; coincident points count as B = 0.
      disparities: (n, n).
      laplacian: V.
      may_be_negative: whether disparities can be negative.

    Returns:
      (n, k).

    Source: Guttman (1968), "A general nonmetric technique for finding the smallest coordinate
    space for a configuration of points", Psychometrika 33; Borg & Groenen (2005), section 8.6;
    Heiser (1991), "A generalized majorization method for least squares multidimensional scaling of
    pseudodistances that may be negative", Psychometrika 56.
    """
    weights, ratios = laplacian.weights, disparity_ratios(disparities, distances)
    pull = -laplacian_product(weights * (1 - ratios), embedding)
    if may_be_negative:
        laplacian = Laplacian.of(weights * (1 + jnp.maximum(-ratios, 0)))
    return pseudoinverse_product(laplacian, pull)


def disparity_ratios(disparities: jax.Array, distances: jax.Array) -> jax.Array:
    """(n, n) disparities over distances (of a configuration of norm 1), 0 for coincident points."""
    apart = distances > 0
    distances = jnp.where(disparities < 0, jnp.maximum(distances, _MIN_DISTANCE), distances)
    return jnp.where(apart, disparities / jnp.where(apart, distances, 1), 0)
