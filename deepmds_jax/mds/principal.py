"""A configuration turned to its principal axes."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from deepmds_jax.geometry import centre, linalg
from deepmds_jax.mds.inputs import as_computed, check_points, float_dtype, program_of_arrays


@program_of_arrays
@jax.default_matmul_precision("highest")
def to_principal_axes(points: ArrayLike) -> jax.Array:
    """Centres a configuration and turns it so that its axes are principal, longest first.

    Distances stay as they are. What MDS leaves open, position, rotation and reflection, is then
    fixed, as long as the axes differ in length: two solutions of one shape become the same
    points.

    Args:
      points: (..., n, k) float, from `smacof` for example; integers become the default float.

    Returns:
      (..., n, k) in the dtype of the points. The coordinates of different axes are uncorrelated;
      on each axis the one farthest from 0 is positive.

    Raises:
      ValueError: wrong shape.

    Source: Borg & Groenen (2005), Modern Multidimensional Scaling, section 7.10; R smacof does the
    same with `principal = TRUE`, vegan's metaMDS with `pc = TRUE`.
    """
    computed = as_computed("points", points)
    check_points("points", computed)
    centred = centre(computed)
    _, _, axes = linalg.svd(centred)
    turned = centred @ axes
    farthest = jnp.argmax(jnp.abs(turned), axis=-2, keepdims=True)
    signs = jnp.where(jnp.take_along_axis(turned, farthest, axis=-2) < 0, -1, 1)
    return (signs * turned).astype(float_dtype(points))
