"""Monotone splines: smooth increasing functions, as sums of increasing basis functions."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from deepmds_jax import loops
from deepmds_jax.mds.ordering import argsort, pair_codes, take

_DEGREE = 2
_NUM_KNOTS = 4  # between the least and the largest dissimilarity
_BLOCK_ROUNDS = 4  # then variables change sides one at a time, which always ends
_MAX_ROUNDS = 64


class SplineBasis(NamedTuple):
    """The increasing functions at the dissimilarities, and what least squares by them needs.

    Attributes:
      functions: (p, n, n) not negative, 0 on the diagonal and for missing pairs.
      weighted: (p, n n) the functions times the weights.
      products: (p, p) of the functions, weighted.
      used: (p,) bool, which had a positive coefficient in the last fit.
    """

    functions: jax.Array
    weighted: jax.Array
    products: jax.Array
    used: jax.Array


def prepare_splines(dissimilarities: jax.Array, weights: jax.Array) -> SplineBasis:
    """Of symmetric (n, n) dissimilarities, with knots at their quantiles.

    A constant and the integrated splines of Ramsay: sums of B-splines from one of them to the last.
    """
    n = dissimilarities.shape[0]
    values, observed = dissimilarities.ravel(), weights.ravel() > 0
    codes = pair_codes(n)
    pairs = take(jnp.where(observed, values, jnp.inf), codes)
    pairs = take(pairs, argsort(lax.stop_gradient(pairs)))
    last = jnp.sum(jnp.isfinite(pairs)) - 1
    quantiles = jnp.linspace(0, 1, _NUM_KNOTS + 2, dtype=values.dtype)
    positions = quantiles * last.astype(values.dtype)
    lower = jnp.floor(positions).astype(jnp.int32)
    left, right = take(pairs, lower), take(pairs, jnp.minimum(lower + 1, last))
    knots = left + (positions - jnp.floor(positions)) * (right - left)
    knots = jnp.concatenate([knots[:1]] * _DEGREE + [knots] + [knots[-1:]] * _DEGREE)
    functions = jnp.cumsum(_b_splines(values, knots)[:0:-1], axis=0)[::-1]
    functions = jnp.concatenate([jnp.ones_like(functions[:1]), functions])  # the sum of all is 1
    functions = jnp.where(observed[None], functions, 0)
    weighted = weights.ravel()[None] * functions
    products = jnp.matmul(weighted, functions.T, precision=lax.Precision.HIGHEST)
    used = jnp.ones(len(functions), bool)
    return SplineBasis(functions.reshape(-1, n, n), weighted, products, used)


def _b_splines(values, knots):
    """(number of B-splines, m) at (m,) values within the knots, by their recursion.

    Source: de Boor (2001), A Practical Guide to Splines, chapter IX.
    """
    t, values = knots[:, None], values[None, :]
    is_last = (t[1:] == t[-1:]) & (t[:-1] < t[1:])  # the interval that contains its end
    splines = ((t[:-1] <= values) & ((values < t[1:]) | is_last & (values >= t[-1:])))
    splines = splines.astype(values.dtype)
    for degree in range(1, _DEGREE + 1):
        width = t[degree:] - t[:-degree]
        slope = jnp.where(width > 0, 1 / jnp.where(width > 0, width, 1), 0)
        rising = (values - t[:-degree - 1]) * slope[:-1]
        falling = (t[degree + 1:] - values) * slope[1:]
        splines = rising * splines[:-1] + falling * splines[1:]
    return splines


def fit_splines(basis: SplineBasis, distances: jax.Array) -> tuple[jax.Array, SplineBasis]:
    """The increasing function of the dissimilarities closest to (n, n) distances: (n, n).

    The coefficients are not negative. Exact: which of them are positive is found by complementary
    pivoting, from those of the last fit, and the rest is linear algebra. Differentiable.

    Source: Ramsay (1988), "Monotone regression splines in action", Statistical Science 3; Portugal,
    Judice & Vicente (1994), "A comparison of block pivoting and interior-point algorithms for
    linear least squares problems with nonnegative variables", Mathematics of Computation 63.
    """
    target = jnp.matmul(basis.weighted, distances.reshape(-1, 1), precision=lax.Precision.HIGHEST)
    target, products = target[:, 0], basis.products
    # Functions that are zero or depend on others (few different dissimilarities) get no weight.
    size = jnp.diagonal(products)
    ridge = 8 * jnp.finfo(target.dtype).eps * size + jnp.where(size > 0, 0, 1)
    products = products + jnp.diag(ridge)
    used = _find_used(lax.stop_gradient(products), lax.stop_gradient(target), basis.used)
    coefficients = _solve_used(products, target, used)
    disparities = jnp.tensordot(coefficients, basis.functions, axes=1,
                                precision=lax.Precision.HIGHEST)
    return disparities, basis._replace(used=used)


def _solve_used(products, target, used):
    """(p,) solution for the coefficients that are used, 0 for the others."""
    both = used[:, None] & used[None, :]
    matrix = jnp.where(both, products, jnp.eye(*products.shape, dtype=products.dtype))
    rows = jnp.concatenate([matrix, jnp.where(used, target, 0)[:, None]], axis=1)

    def eliminate(i, rows):
        row = lax.dynamic_index_in_dim(rows, i, keepdims=False)
        row = row / row[i]
        column = lax.dynamic_slice_in_dim(rows, i, 1, axis=1)
        is_row = (jnp.arange(len(products)) == i)[:, None]
        return jnp.where(is_row, row[None, :], rows - column * row[None, :])

    # Gauss-Jordan elimination; positive definite matrices need no pivoting.
    return lax.fori_loop(0, len(products), eliminate, rows)[:, -1]


def _find_used(products, target, used):
    """(p,) bool, which coefficients are positive in the non-negative least-squares solution."""
    rounding = 8 * jnp.finfo(target.dtype).eps * jnp.max(jnp.abs(target))

    def wrong_side(used):
        solution = _solve_used(products, target, used)
        excess = jnp.matmul(products, solution[:, None], precision=lax.Precision.HIGHEST)[:, 0]
        size = jnp.max(jnp.abs(solution))
        negative = solution < -8 * jnp.finfo(target.dtype).eps * size
        return jnp.where(used, negative, excess - target < -rounding)

    def exchange(state):
        used, wrong, num_rounds = state
        last = jnp.arange(len(wrong)) == jnp.max(jnp.where(wrong, jnp.arange(len(wrong)), -1))
        used = used ^ jnp.where(num_rounds < _BLOCK_ROUNDS, wrong, last)
        return used, wrong_side(used), num_rounds + 1

    state = used, wrong_side(used), jnp.int32(0)
    used, *_ = loops.while_loop(
        lambda state: jnp.any(state[1]) & (state[2] < _MAX_ROUNDS), exchange, state)
    return used
