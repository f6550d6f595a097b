"""How sure a configuration is: what other samples, or none of the structure, would have given."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from deepmds_jax.geometry import procrustes
from deepmds_jax.mds.inputs import (
    as_computed,
    check_integer,
    check_shapes,
    one_line,
    refuse_options,
    symmetrize,
)
from deepmds_jax.mds.majorization import check_key, smacof
from deepmds_jax.mds.measures import unit_of
from deepmds_jax.mds.ordering import pair_codes, pair_positions
from deepmds_jax.mds.several import PERFECT
from deepmds_jax.mds.solver import Status


class Resampled(NamedTuple):
    """The result of `jackknife` and `bootstrap`, of R replicates.

    Attributes:
      embedding: (n, k) of all data.
      covariances: (n, k, k) of the position of each point, in the frame of the embedding.
      replicates: (R, n, k) embeddings of the replicates, aligned with that of all data. NaN for a
        point that was left out, and for replicates that have no solution.
      stability: () 1 - mean squared distance of the replicates from their mean / mean squared
        size; 1 if all replicates agree.
      stress: (R,) stress-1 of the replicates.
      status: (R,) int32 `Status` of the replicates.
    """

    embedding: jax.Array
    covariances: jax.Array
    replicates: jax.Array
    stability: jax.Array
    stress: jax.Array
    status: jax.Array


class PermutationTest(NamedTuple):
    """The result of `permutation_test`.

    Attributes:
      stress: () stress-1 of the dissimilarities.
      permuted: (R,) stress-1 after permutations.
      p_value: () the share of all R + 1 whose stress is no larger: at least 1 / (R + 1). Stress
        below 1e-5, of perfect fits, is equal; NaN in `permuted` is no larger, and NaN in `stress`
        has no p-value: NaN.
    """

    stress: jax.Array
    permuted: jax.Array
    p_value: jax.Array


def jackknife(
    dissimilarities: ArrayLike, num_dims: int = 3, *, transform: str = "ordinal",
    weights: ArrayLike | None = None, **options: Any,
) -> Resampled:
    """Leaves out each of the points in turn, and sees how far the others move.

    All n problems are solved as one batch, from the configuration of all points, and aligned with
    it: by rotation, reflection and translation, and by size unless "ratio" gives them one.

    Args:
      dissimilarities: (n, n), as for `smacof`.
      num_dims: k, from 1 to n - 2.
      transform: as for `smacof`.
      weights: (n, n), as for `smacof`.
      **options: further ones of `smacof`.

    Returns:
      `Resampled`; replicate i lacks point i. The covariances are those of the jackknife for points
      that are a sample of possible ones.

    Raises:
      ValueError: as for `smacof`.

    Source: de Leeuw & Meulman (1986), "A special jackknife for multidimensional scaling", J.
    Classification 3 (stability); Efron & Stein (1981), "The jackknife estimate of variance", Annals
    of Statistics 9.
    """
    refuse_options("jackknife", options, ("progress",))
    dissimilarities, weights = _check_single(dissimilarities, weights, num_dims)
    n = dissimilarities.shape[0]
    if num_dims > n - 2:
        raise ValueError(f"num_dims: expected 1 to {n - 2} for {n} points of which one is left "
                         f"out, got {num_dims}")
    full = smacof(dissimilarities, num_dims, transform=transform, weights=weights, **options)
    start, *parts = _leave_one_out(full.embedding, dissimilarities, weights)
    part = smacof(parts[0], num_dims, transform=transform, weights=parts[1],
                  **_from(start, options))
    aligned = _align(part.embedding, start, keeps_size=transform == "ratio")
    # Of m values that each lack one of m points, (m - 1) times the mean square.
    return _summarize(full.embedding, _put_back(aligned), part, is_jackknife=True)


def bootstrap(
    data: ArrayLike, dissimilarities: Callable[[jax.Array], jax.Array], key: jax.Array,
    num_dims: int = 3, *, num_replicates: int = 200, transform: str = "ordinal", **options: Any,
) -> Resampled:
    """Draws the observations anew, with replacement, and sees how far the points move.

    All problems are solved as one batch, from the configuration of all data, and aligned with it as
    by `jackknife`.

    Args:
      data: (m, ...) float, m independent observations of all n objects: judges, trials, ...
      dissimilarities: JAX function from (m, ...) data to (n, n) dissimilarities, such as
        `lambda x: 1 - jnp.corrcoef(x.T)`. It is compiled once, if it is the same object again.
      key: PRNG key.
      num_dims: k, from 1 to n - 1.
      num_replicates: R.
      transform: as for `smacof`.
      **options: further ones of `smacof`.

    Returns:
      `Resampled`.

    Raises:
      ValueError: as for `smacof`, and fewer than two replicates or observations.

    Source: Efron & Tibshirani (1993), An Introduction to the Bootstrap; Jacoby & Armstrong (2014),
    "Bootstrap confidence regions for multidimensional scaling solutions", American J. Political
    Science 58.
    """
    data = as_computed("data", data)
    if data.ndim < 2 or data.shape[0] < 2:
        raise ValueError(f"data: expected (m, ...) with m at least 2, got shape {data.shape}")
    if not callable(dissimilarities):
        raise ValueError(f"dissimilarities: expected a function, got {one_line(dissimilarities)}")
    check_key(key)
    check_integer("num_replicates", num_replicates, 2)
    refuse_options("bootstrap", options, ("num_starts", "progress"))
    given, _ = _check_single(dissimilarities(data), None, num_dims)
    full = smacof(given, num_dims, transform=transform, **options)
    batch = _draw(data, dissimilarities, key, num_replicates)
    start = jnp.broadcast_to(full.embedding, (num_replicates, *full.embedding.shape))
    part = smacof(batch, num_dims, transform=transform, **_from(start, options))
    replicates = _align(part.embedding, start, keeps_size=transform == "ratio")
    return _summarize(full.embedding, replicates, part, is_jackknife=False)


def permutation_test(
    dissimilarities: ArrayLike, key: jax.Array, num_dims: int = 3, *,
    num_permutations: int = 499, weights: ArrayLike | None = None, tolerance: float = 1e-3,
    **options: Any,
) -> PermutationTest:
    """Whether stress is lower than that of the same dissimilarities in random order.

    All problems are solved as one batch. Missing pairs stay missing, and weights stay in place.

    Args:
      dissimilarities: (n, n), as for `smacof`.
      key: PRNG key.
      num_dims: k, from 1 to n - 1.
      num_permutations: R.
      weights: (n, n), as for `smacof`.
      tolerance: as for `smacof`; the default leaves stress 0.1 % too high, a fraction of what it
        differs between permutations.
      **options: further ones of `smacof`.

    Returns:
      A `PermutationTest`.

    Raises:
      ValueError: as for `smacof`.

    Source: Mair, Borg & Rusch (2016), "Goodness-of-fit assessment in multidimensional scaling and
    unfolding", Multivariate Behavioral Research 51; Phipson & Smyth (2010), "Permutation p-values
    should never be zero", Statistical Applications in Genetics and Molecular Biology 9.
    """
    dissimilarities, weights = _check_single(dissimilarities, weights, num_dims)
    check_key(key)
    check_integer("num_permutations", num_permutations, 1)
    refuse_options("permutation_test", options, ("init", "num_starts", "progress"))
    options["tolerance"] = tolerance
    result = smacof(dissimilarities, num_dims, weights=weights, **options)
    batch = _permute(dissimilarities, weights, key, num_permutations)
    if weights is not None:
        weights = jnp.broadcast_to(weights, batch.shape)
    permuted = smacof(batch, num_dims, weights=weights, **options).stress
    # Those without a solution say nothing, and so count against the given order.
    is_larger = permuted > jnp.maximum(result.stress, PERFECT)
    rank = 1 + jnp.sum(~is_larger, dtype=permuted.dtype)
    rank = jnp.where(jnp.isnan(result.stress), jnp.nan, rank)
    return PermutationTest(result.stress, permuted, rank / (1 + num_permutations))


def _check_single(dissimilarities, weights, num_dims):
    dissimilarities, weights = check_shapes(dissimilarities, weights, num_dims)
    if dissimilarities.ndim != 2:
        raise ValueError(f"dissimilarities: expected one problem, (n, n), got "
                         f"{dissimilarities.shape}")
    return dissimilarities, weights


def _from(start, options):
    """The options of `smacof` with another start."""
    return {**{k: v for k, v in options.items() if k not in ("key", "num_starts")}, "init": start}


def _others(num_points):
    """(n, n - 1): all points but one, in order."""
    return np.array([np.delete(np.arange(num_points), i) for i in range(num_points)])


@jax.jit
def _leave_one_out(points, *matrices):
    """All of (n, k) points but one, and of (n, n) matrices: (n, n - 1, ...)."""
    others = _others(points.shape[0])
    parts = (None if x is None else x[others[:, :, None], others[:, None, :]] for x in matrices)
    return points[others], *parts


@jax.jit
def _put_back(parts):
    """(n, n, k) from (n, n - 1, k), with NaN for the point that is left out."""
    n, _, k = parts.shape
    whole = jnp.full((n, n, k), jnp.nan, parts.dtype)
    return whole.at[np.arange(n)[:, None], _others(n)].set(parts)


@partial(jax.jit, static_argnames=("dissimilarities", "num_replicates"))
def _draw(data, dissimilarities, key, num_replicates):
    """(R, n, n) dissimilarities of data drawn with replacement."""
    drawn = jax.random.randint(key, (num_replicates, data.shape[0]), 0, data.shape[0])
    return lax.map(lambda rows: dissimilarities(data[rows]), drawn)


@partial(jax.jit, static_argnames="num_permutations")
def _permute(dissimilarities, weights, key, num_permutations):
    """(R, n, n) dissimilarities with their known pairs in random order."""
    n = dissimilarities.shape[0]
    codes = pair_codes(n)
    pairs = symmetrize(dissimilarities).ravel()[codes]
    known = ~jnp.isnan(pairs)
    if weights is not None:
        known &= weights.ravel()[codes] > 0
    places = jnp.argsort(~known, stable=True)  # those of known pairs first
    is_last = jnp.arange(len(pairs)) >= jnp.sum(known)

    def permute(key):
        order = jnp.argsort(jnp.where(is_last, 2, jax.random.uniform(key, pairs.shape)))
        return pairs.at[places].set(pairs[places[order]])[pair_positions(n)]

    return lax.map(permute, jax.random.split(key, num_permutations))


@partial(jax.jit, static_argnames="keeps_size")
def _align(replicates, references, *, keeps_size):
    """(R, n, k) replicates, each moved to its (n, k) reference."""
    @jax.vmap
    def align(points, reference):
        unit = unit_of(reference)
        points, reference = points / unit, reference / unit
        fit = procrustes(points, reference, reflection=True)
        if not keeps_size:
            return unit * fit(points)
        mean = jnp.mean(reference, axis=0, keepdims=True)
        return unit * (mean + (fit(points) - mean) / fit.scale)

    return align(replicates, references)


@partial(jax.jit, static_argnames="is_jackknife")
def _summarize(embedding, replicates, part, *, is_jackknife):
    known = jnp.all(jnp.isfinite(replicates), axis=-1) & (part.status < Status.NON_FINITE)[:, None]
    counted = known[..., None]
    count = jnp.sum(counted, axis=0, dtype=replicates.dtype)
    seen = jnp.where(counted, replicates, 0)
    unit = jnp.max(unit_of(seen))
    seen = seen / unit
    change = jnp.where(counted, seen - (jnp.sum(seen, axis=0) / count)[None], 0)
    products = jnp.einsum("rni,rnj->nij", change, change, precision="highest")
    factor = (count - 1) / count if is_jackknife else 1 / (count - 1)
    covariances = unit * (unit * (factor[..., None] * products))
    stability = 1 - jnp.sum(change**2) / jnp.sum(seen**2)
    return Resampled(embedding, covariances, replicates, stability, part.stress, part.status)
