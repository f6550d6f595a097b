"""Variables as vectors in a configuration."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from deepmds_jax.geometry import centre, linalg
from deepmds_jax.mds.inputs import as_computed, check_points, program_of_arrays
from deepmds_jax.mds.measures import square_root


class FittedVectors(NamedTuple):
    """The result of `fit_vectors`; (...) are the leading axes of the points.

    Attributes:
      directions: (..., m, k) of length 1, in which each variable increases; 0 for one that is
        uncorrelated with all coordinates.
      r_squared: (..., m) in [0, 1], the share of each variable's variance that the coordinates
        explain.
    """

    directions: jax.Array
    r_squared: jax.Array


@program_of_arrays
@jax.default_matmul_precision("highest")
def fit_vectors(points: ArrayLike, variables: ArrayLike) -> FittedVectors:
    """Fits variables that are known of the points by linear functions of their coordinates.

    Args:
      points: (..., n, k) float, a configuration.
      variables: (..., n, m) float, in any units.

    Returns:
      `FittedVectors` for `draw_configuration`. NaN for a variable that is constant or has NaN.

    Raises:
      ValueError: wrong shapes.

    Source: Borg & Groenen (2005), Modern Multidimensional Scaling, section 4.3; `envfit` of R's
    vegan gives the same directions and r2.
    """
    points, variables = as_computed("points", points), as_computed("variables", variables)
    check_points("points", points)
    if variables.ndim < 2 or variables.shape[:-1] != points.shape[:-1]:
        raise ValueError(f"variables: expected shape (..., n, m) and points (..., n, k), got "
                         f"{variables.shape} and {points.shape}")
    constant = jnp.all(variables == variables[..., :1, :], axis=-2, keepdims=True)
    unknown = constant | jnp.any(~jnp.isfinite(variables), axis=-2, keepdims=True)
    # Anything for now: NaN would get into the derivatives of the others.
    y = centre(jnp.where(unknown, jnp.eye(variables.shape[-2], 1), variables))
    y = y / jnp.max(jnp.abs(y), axis=-2, keepdims=True)  # keeps squares in range
    left, sizes, right = linalg.svd(centre(points))
    shares = left.mT @ y  # (..., k, m)
    present = (sizes > 0)[..., None]
    slopes = right @ jnp.where(
        present, shares * sizes[..., :1, None] / jnp.where(present, sizes[..., None], 1), 0)
    length = square_root(jnp.sum(slopes**2, axis=-2, keepdims=True))
    directions = slopes / jnp.where(length == 0, 1, length)
    r_squared = jnp.sum(shares**2, axis=-2) / jnp.sum(y**2, axis=-2)
    return FittedVectors(jnp.where(unknown, jnp.nan, directions).mT,
                         jnp.where(unknown[..., 0, :], jnp.nan, r_squared))
