"""Similarities turned into dissimilarities, in the usual ways."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from deepmds_jax.mds.inputs import (
    ROUNDING,
    as_computed,
    check_choice,
    check_square,
    float_dtype,
    is_traced,
)
from deepmds_jax.mds.measures import power_of_two, square_root

_ROUNDING = 1e-6


def _to_one(s, least=-jnp.inf):
    """1 - s; NaN outside of the range, but for rounding."""
    inside = (s <= 1 + _ROUNDING) & (s >= least - _ROUNDING)
    return jnp.where(inside, jnp.maximum(1 - s, 0), jnp.nan)


def _log(s):
    return jnp.log(_positive(s))


def _positive(s):
    return jnp.where(s > 0, s, jnp.nan)


def _reciprocal(s):
    """1 / s; NaN where that is less than the least normal number, which would become 0."""
    found = 1 / _positive(s)
    vanishes = (found < jnp.finfo(s.dtype).tiny) & jnp.isfinite(s)
    return jnp.where(vanishes, jnp.nan, found)


def _reverse(s, high, low):
    """high + low - s, but exact where s is high or close to it; NaN below 0, but for rounding."""
    d = high - s + low
    limit = ROUNDING * jnp.maximum(jnp.abs(high), jnp.abs(low))
    return jnp.where(d >= -limit, jnp.maximum(d, 0), jnp.nan)


def _confusion(s):
    """NaN below 0, but for rounding."""
    lost = jnp.diag(_log(s))[:, None] - _log(s)
    d = (lost + lost.T) / 2
    return jnp.where(d >= -ROUNDING, jnp.maximum(d, 0), jnp.nan)


def _gower(s):
    s = s / 4  # sums might overflow
    square = jnp.diag(s)
    between = square[:, None] + square[None] - (s + s.T)
    # Of two equal points, rounding can leave less than nothing.
    limit = 8 * jnp.finfo(s.dtype).eps * jnp.max(jnp.abs(square))
    return 2 * square_root(jnp.where(jnp.abs(between) < limit, 0, between))


def _gravity(s, high):
    s = s / power_of_two(high)  # a common factor changes nothing, but sums might overflow
    mass = jnp.nansum(s, axis=1)
    return square_root(mass[:, None] * mass[None] / jnp.sum(mass) / _positive(s))


# Of (n, n) similarities s, their largest and their smallest; and which s there may be.
_WAYS = {
    "correlation": (lambda s, high, low: square_root(_to_one(s, -1)), "from -1 to 1"),
    "one_minus": (lambda s, high, low: _to_one(s), "up to 1"),
    "reverse": (_reverse, "at most the sum of the largest and the smallest"),
    "reciprocal": (lambda s, high, low: _reciprocal(s), "> 0"),
    "exponential": (lambda s, high, low: _log(high) - _log(s), "> 0"),
    "gaussian": (lambda s, high, low: square_root(_log(high) - _log(s)), "> 0"),
    "gower": (lambda s, high, low: _gower(s), "scalar products, with the diagonal"),
    "gravity": (lambda s, high, low: _gravity(s, high), "counts >= 0"),
    "confusion": (lambda s, high, low: _confusion(s), "counts > 0, with the diagonal"),
}
SIMILARITIES = tuple(_WAYS)


def similarity_to_dissimilarity(similarities: ArrayLike, way: str) -> jax.Array:
    """Dissimilarities that are the larger, the smaller the similarities s are.

    * "correlation": sqrt(1 - s). Of Pearson correlations this is the distance of the standardised
      variables, up to a factor.
    * "one_minus": 1 - s, for cosines, shares and other s up to 1.
    * "reverse": max + min - s, for ratings.
    * "reciprocal": 1 / s.
    * "exponential": -log(s / max), if similarity falls exponentially with distance (Shepard).
    * "gaussian": sqrt(-log(s / max)), if it falls as a normal density.
    * "gower": sqrt(s_ii + s_jj - 2 s_ij), the distances of points with these scalar products; for
      kernels, and for covariances.
    * "gravity": sqrt(m_i m_j / (M s_ij)) of counts of events in common, with m the sums of the
      rows and M their sum; counts of 0 are missing.
    * "confusion": -log sqrt(s_ij s_ji / (s_ii s_jj)) of counts of i taken for j, which need not
      be symmetric, with s_ij s_ji <= s_ii s_jj.

    The order of the pairs is that of all but "gower", "gravity" and "confusion", so that ordinal
    scaling of a symmetric matrix gives the same after any of them.

    Args:
      similarities: (..., n, n) float; NaN stays NaN, in either direction for "gower" and
        "confusion", which need the diagonal. It counts for max and min, too, unless it is NaN.
      way: one of the names above.

    Returns:
      (..., n, n) in the dtype of the similarities, with a zero diagonal; for `smacof`. Inside jit
      NaN for similarities that there may not be.

    Raises:
      ValueError: wrong shapes or another way; outside jit also similarities out of its range.

    Source: Mair, Groenen & de Leeuw (2022), "More on multidimensional scaling and unfolding in R:
    smacof version 2", J. Statistical Software 102(10), table 1 (`sim2diss` of R's smacof); Gower
    (1966), Biometrika 53; Shepard (1957), "Stimulus and response generalization", Psychometrika 22
    ("exponential", "confusion").
    """
    check_choice("way", way, _WAYS)
    computed = as_computed("similarities", similarities, True)
    check_square("similarities", computed.shape)
    found = _convert(computed, way)
    if not is_traced(found):
        _check_found(np.asarray(computed), np.asarray(found), way)
    return found.astype(float_dtype(similarities))


def _check_found(similarities, found, way):
    """ValueError where similarities became no number though none of them is missing."""
    needs_diagonal = way in ("gower", "confusion")
    infinite = similarities[np.isinf(similarities)]
    if infinite.size and way == "reverse":
        raise ValueError(f"similarities: expected finite numbers for {way!r}, got {infinite[0]:g}")
    known = np.isfinite(similarities)
    if needs_diagonal:  # and both directions of a pair
        known &= known.swapaxes(-1, -2)
    if way == "confusion":
        known |= similarities <= 0
    wrong = ~np.isfinite(found) & known
    if way == "gravity":
        wrong &= similarities != 0
    if not np.any(wrong):
        return
    expected, place = _WAYS[way][1], ""
    if needs_diagonal:  # where one entry spoils all pairs of its row
        gaps = np.eye(found.shape[-1], dtype=bool) & ~np.isfinite(similarities)
        gaps &= wrong.any(-1, keepdims=True)
        if np.any(gaps):
            wrong, place = gaps, " on the diagonal"
        elif way == "confusion" and np.any(similarities <= 0):
            wrong = similarities <= 0
        elif way == "confusion":
            expected = "s_ij s_ji <= s_ii s_jj"
            *problem, i, j = np.argwhere(wrong)[0]
            one, two = similarities[(*problem, i)], similarities[(*problem, j)]
            place = f" * {two[i]:g} > {one[i]:g} * {two[j]:g} for points {i} and {j}"
    value = similarities[wrong].flat[0]
    if way == "reciprocal" and value > 0:
        expected = f"numbers whose reciprocals {similarities.dtype} has"
    raise ValueError(f"similarities: expected {expected} for {way!r}, got {value:g}{place}")


@partial(jax.jit, static_argnames="way")
def _convert(similarities, way):
    @partial(jnp.vectorize, signature="(n,n)->(n,n)")
    def convert(s):
        found = _WAYS[way][0](s, jnp.nanmax(s), jnp.nanmin(s))
        return jnp.where(jnp.eye(*s.shape, dtype=bool), 0, found)

    return convert(similarities)
