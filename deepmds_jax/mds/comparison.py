"""Compares two configurations, ignoring position, orientation and size."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from deepmds_jax.geometry import centre, procrustes
from deepmds_jax.mds.inputs import as_computed, as_float, check_leading_axes, program_of_arrays
from deepmds_jax.mds.measures import unit_of


class Comparison(NamedTuple):
    """The result of `compare_configurations`; (...) are the leading axes of the configurations.

    Attributes:
      aligned: (..., n, k) the first configuration, aligned to the second.
      disparity: (...) m^2 in [0, 1], the remaining squared distances divided by the sum of squares
        of the second configuration about its centroid; 0 for equal shapes. Symmetric in the two.
      correlation: (...) sqrt(1 - m^2), 1 for equal shapes.
    """

    aligned: jax.Array
    disparity: jax.Array
    correlation: jax.Array


@program_of_arrays
def compare_configurations(a: ArrayLike, b: ArrayLike) -> Comparison:
    """Procrustes comparison: aligns `a` to `b` by translation, rotation, reflection and scale.

    Args:
      a: (..., n, k) float, any k; integers become the default float.
      b: (..., n, k) float; leading axes broadcast.

    Returns:
      A `Comparison` in the unit of `b`. NaN if all points of a configuration coincide.

    Raises:
      ValueError: wrong shapes.

    Source: Gower (1975), "Generalized Procrustes analysis", Psychometrika 40; Peres-Neto & Jackson
    (2001), "How well do multivariate data sets match?", Oecologia 129 (m^2 and the correlation).
    """
    dtype = jnp.result_type(as_float(a), as_float(b))
    a, b = as_computed("a", a), as_computed("b", b)
    if a.ndim < 2 or a.shape[-2:] != b.shape[-2:]:
        raise ValueError(f"b: expected (..., n, k) like a, got {b.shape} and a {a.shape}")
    check_leading_axes({"a": a.shape, "b": b.shape})
    unit = unit_of(b)
    a, b = a / unit_of(a), b / unit
    fit = procrustes(a, b, reflection=True)
    aligned = fit(a)
    size_a, size_b = (jnp.sqrt(jnp.sum(centre(x) ** 2, axis=(-2, -1))) for x in (a, b))
    # Not 1 - correlation^2: rounding would swamp small disparities.
    disparity = jnp.sum((b - aligned) ** 2, axis=(-2, -1)) / size_b**2
    result = Comparison(unit * aligned, disparity, fit.scale * size_a / size_b)
    return jax.tree.map(lambda x: x.astype(dtype), result)
