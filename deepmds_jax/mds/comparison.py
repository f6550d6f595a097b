"""How alike two configurations are, whatever their position, orientation and size."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from deepmds_jax.geometry import centre, procrustes
from deepmds_jax.mds.inputs import as_float


class Comparison(NamedTuple):
    """What `compare_configurations` returns; (...) are the leading axes of the configurations.

    Attributes:
      aligned: (..., n, k) the first configuration, brought onto the second.
      disparity: (...) m^2 in [0, 1], the squared distances that remain over the sum of squares of
        the second configuration about its centroid; 0 for equal shapes. The same either way round.
      correlation: (...) sqrt(1 - m^2), 1 for equal shapes.
    """

    aligned: jax.Array
    disparity: jax.Array
    correlation: jax.Array


@jax.jit
def compare_configurations(a: jax.Array, b: jax.Array) -> Comparison:
    """Procrustes comparison: the best translation, rotation, reflection and scale of `a` onto `b`.

    Args:
      a: (..., n, k) float, any k; integers become the default float.
      b: (..., n, k) float; leading axes broadcast.

    Returns:
      A `Comparison` in the unit of `b`. NaN where all points of a configuration coincide.

    Raises:
      ValueError: shapes that do not match.

    Source: Gower (1975), "Generalized Procrustes analysis", Psychometrika 40; Peres-Neto & Jackson
    (2001), "How well do multivariate data sets match?", Oecologia 129 (m^2 and the correlation).
    """
    a, b = as_float(a), as_float(b)
    if a.ndim < 2 or a.shape[-2:] != b.shape[-2:]:
        raise ValueError(f"b: expected (..., n, k) like a, got {b.shape} and a {a.shape}")
    fit = procrustes(a, b, reflection=True)
    aligned = fit(a)
    size_a, size_b = (jnp.sqrt(jnp.sum(centre(x) ** 2, axis=(-2, -1))) for x in (a, b))
    # Not 1 - correlation^2: small disparities would drown in rounding.
    disparity = jnp.sum((b - aligned) ** 2, axis=(-2, -1)) / size_b**2
    return Comparison(aligned, disparity, fit.scale * size_a / size_b)
