"""Optimal transforms: the disparities that best fit the distances of a configuration.

All matrices are (n, n) and symmetric with a zero diagonal. Weights and disparities of missing pairs
are 0.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from deepmds_jax import loops
from deepmds_jax.mds.isotonic import block_sums, pool_adjacent_violators
from deepmds_jax.mds.measures import total
from deepmds_jax.mds.ordering import (
    argsort_even,
    inverse,
    pair_codes,
    pair_positions,
    resort,
    take,
)
from deepmds_jax.mds.splines import fit_splines, prepare_splines

TRANSFORMS = ("ratio", "interval", "spline", "ordinal")
TIES = ("primary", "secondary")


class Transform(NamedTuple):
    """How disparities follow from dissimilarities, weights and distances.

    Attributes:
      prepare: (dissimilarities, weights, weighted) -> prepared, a pytree computed once per
        problem. The dissimilarities are at most 1, or as they were given where only their order
        counts: in units of one of 1e38, float32 would take all below 1 for 0. Unless `weighted`,
        all weights are 0 or 1.
      fit: (prepared, distances) -> (disparities, prepared). The disparities are the least-squares
        fit to these distances, and differentiable. The new `prepared` makes the next fit faster.
    """

    prepare: Callable[[jax.Array, jax.Array, bool], Any]
    fit: Callable[[Any, jax.Array], tuple[jax.Array, Any]]


def get_transform(name: str, ties: str, on_cpu: bool | None = None) -> Transform:
    """The transform called `name`, one of `TRANSFORMS`; `ties` is one of `TIES`.

    `on_cpu` is as for `pool_adjacent_violators`.
    """
    if name == "ordinal":
        return Transform(_rank_pairs, partial(_fit_monotone, ties=ties, on_cpu=on_cpu))
    if name == "ratio":
        return Transform(_prepare_ratio, _fit_ratio)
    if name == "spline":
        return Transform(lambda *problem: prepare_splines(*problem[:2]), fit_splines)
    return Transform(lambda dissimilarities, weights, _: (dissimilarities, weights), _fit_interval)


class Proportion(NamedTuple):
    """What "ratio" keeps of a problem.

    Attributes:
      dissimilarities: (n, n).
      weighted: (n, n) weights times dissimilarities.
      square: () weighted sum of the squared dissimilarities.
    """

    dissimilarities: jax.Array
    weighted: jax.Array
    square: jax.Array


def _prepare_ratio(dissimilarities, weights, _):
    weighted = weights * dissimilarities
    return Proportion(dissimilarities, weighted, total(weighted * dissimilarities))


def _fit_ratio(problem, distances):
    """Disparities proportional to the dissimilarities."""
    factor = total(problem.weighted * distances) / problem.square
    return factor * problem.dissimilarities, problem


def _fit_interval(problem, distances):
    """Disparities linear in the dissimilarities with a slope >= 0; they may be negative."""
    dissimilarities, weights = problem
    total = jnp.sum(weights)
    mean = jnp.sum(weights * dissimilarities) / total
    mean_distance = jnp.sum(weights * distances) / total
    deviation = weights * (dissimilarities - mean)
    square = jnp.sum(deviation * (dissimilarities - mean))
    slope = jnp.sum(deviation * (distances - mean_distance)) / jnp.where(square > 0, square, 1)
    disparities = mean_distance + jnp.maximum(slope, 0) * (dissimilarities - mean)
    return jnp.where(weights > 0, disparities, 0), problem


class Ranking(NamedTuple):
    """The m = n (n - 1) / 2 pairs of points, in order of their dissimilarities.

    Attributes:
      pairs: (m,) int32, i * n + j for the pair of points i, j. Missing pairs come last.
      ranks: (n, n) int32, the position of each pair in this order; arbitrary on the diagonal.
      tied: (m - 1,) bool, whether each dissimilarity but the last equals the next one.
      has_ties: () bool.
      observed: (m,) bool, not missing.
    """

    pairs: jax.Array
    ranks: jax.Array
    tied: jax.Array
    has_ties: jax.Array
    observed: jax.Array


def _rank_pairs(dissimilarities, weights, weighted):
    n = dissimilarities.shape[0]
    codes = pair_codes(n)
    values = jnp.where(weights.ravel() > 0, dissimilarities.ravel(), jnp.inf)
    values = lax.stop_gradient(take(values, codes))
    order = argsort_even(values)
    values, pairs = take(values, order), take(codes, order)
    observed = jnp.isfinite(values)
    tied = values[1:] <= values[:-1]
    ranks = take(inverse(order), pair_positions(n))
    has_ties = jnp.any(tied & observed[1:])
    return Ranking(pairs, ranks, tied, has_ties, observed), weights if weighted else None


def _fit_monotone(prepared, distances, ties, on_cpu):
    """Disparities that do not decrease as the dissimilarities increase.

    Tied dissimilarities get different disparities, in the order of their distances (Kruskal's
    primary approach to ties), or a common one, fitted to their mean distance (secondary approach).

    Source: Borg & Groenen (2005), Modern Multidimensional Scaling, sections 9.2 and 9.4.
    """
    ranking, weights = prepared
    if ties == "primary":
        # A loop of one iteration or none: under vmap, a `cond` would always sort.
        state = ranking, ranking.has_ties
        ranking, _ = loops.while_loop(
            lambda state: state[1],
            lambda state: (_sort_ties(state[0], lax.stop_gradient(distances)), False),
            state,
        )
    y = take(distances.ravel(), ranking.pairs)
    if weights is None:
        w = None
    else:
        w = jnp.where(ranking.observed, take(weights.ravel(), ranking.pairs), 1)
    if ties == "secondary":
        starts = jnp.append(True, ~ranking.tied)
        ones = jnp.ones_like(y) if w is None else w
        y = block_sums(starts, ones * y) / block_sums(starts, ones)
    # Missing pairs come last, as infinity, which is never pooled.
    fit = pool_adjacent_violators(jnp.where(ranking.observed, y, jnp.inf), w, on_cpu)
    disparities = take(jnp.where(ranking.observed, fit, 0), ranking.ranks)
    disparities = jnp.where(jnp.eye(*distances.shape, dtype=bool), 0, disparities)
    return disparities, (ranking, weights)


def _sort_ties(ranking, distances):
    """The same ranking, with tied pairs in the order of their (n, n) distances.

    Few pairs change places between iterations.
    """
    order, moved = resort(take(distances.ravel(), ranking.pairs), ranking.tied)

    def apply(state):
        ranking, _ = state
        ranking = ranking._replace(
            pairs=take(ranking.pairs, order), ranks=take(inverse(order), ranking.ranks)
        )
        return ranking, False

    return loops.while_loop(lambda state: state[1], apply, (ranking, moved))[0]
