"""Optimal transforms: the disparities that fit the distances of a configuration best."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from deepmds_jax.mds.isotonic import isotonic_regression


class Transform(NamedTuple):
    """How disparities follow from dissimilarities; both (n, n) with a zero diagonal.

    Attributes:
      prepare: dissimilarities -> prepared, a pytree computed once per problem.
      fit: (prepared, distances) -> (disparities, prepared). The disparities are the least-squares
        ones for these distances; the prepared form may change for the sake of the next fit.
    """

    prepare: Callable[[jax.Array], Any]
    fit: Callable[[Any, jax.Array], tuple[jax.Array, Any]]


def fit_ratio(dissimilarities: jax.Array, distances: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Disparities proportional to the dissimilarities."""
    slope = jnp.sum(dissimilarities * distances) / jnp.sum(dissimilarities**2)
    return slope * dissimilarities, dissimilarities


class Ranking(NamedTuple):
    """The m = n (n - 1) / 2 pairs of points, in the order of their dissimilarities.

    Attributes:
      dissimilarities: (m,) non-decreasing.
      pairs: (m,) int32, i * n + j for the pair of points i < j.
      ranks: (n, n) int32, the place of each pair in this order; arbitrary on the diagonal.
    """

    dissimilarities: jax.Array
    pairs: jax.Array
    ranks: jax.Array


def rank_pairs(dissimilarities: jax.Array) -> Ranking:
    """Sorts the pairs of an (n, n) matrix of dissimilarities."""
    n = dissimilarities.shape[0]
    rows, columns = np.triu_indices(n, 1)
    pairs = jnp.asarray(rows * n + columns, jnp.int32)
    values, pairs = lax.sort((dissimilarities[rows, columns], pairs), num_keys=1)
    return Ranking(values, pairs, _ranks(pairs, n))


def fit_monotone(ranking: Ranking, distances: jax.Array) -> tuple[jax.Array, Ranking]:
    """Disparities that do not decrease where the dissimilarities increase.

    Tied dissimilarities may get different disparities (Kruskal's primary approach to ties): within
    a tie the pairs are in the order of their distances, sorted again when that order has changed.

    Source: Borg & Groenen (2005), Modern Multidimensional Scaling, sections 9.2 and 9.4.
    """

    def has_unsorted_tie(state):
        ranking, distances = state
        ties = ranking.dissimilarities[1:] == ranking.dissimilarities[:-1]
        return jnp.any(ties & (distances[1:] < distances[:-1]))

    def sort_ties(state):
        ranking, sorted_distances = state
        _, sorted_distances, pairs = lax.sort(
            (ranking.dissimilarities, sorted_distances, ranking.pairs), num_keys=2
        )
        ranking = ranking._replace(pairs=pairs, ranks=_ranks(pairs, distances.shape[0]))
        return ranking, sorted_distances

    # A loop that runs once or not at all: under vmap a `cond` would always sort.
    state = ranking, distances.ravel()[ranking.pairs]
    ranking, sorted_distances = lax.while_loop(has_unsorted_tie, sort_ties, state)
    disparities = isotonic_regression(sorted_distances)[ranking.ranks]
    return jnp.where(jnp.eye(*distances.shape, dtype=bool), 0, disparities), ranking


def _ranks(pairs: jax.Array, n: int) -> jax.Array:
    """The inverse of an order of pairs, by a sort rather than a scatter."""
    _, ranks = lax.sort((pairs, jnp.arange(len(pairs), dtype=jnp.int32)), num_keys=1)
    condensed = np.zeros((n, n), np.int32)
    condensed[np.triu_indices(n, 1)] = np.arange(len(pairs))
    return ranks[condensed + condensed.T]


TRANSFORMS = {
    "ordinal": Transform(rank_pairs, fit_monotone),
    "ratio": Transform(lambda dissimilarities: dissimilarities, fit_ratio),
}
