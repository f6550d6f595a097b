"""Several solutions of each problem at once: of several dimensions, from random starts."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from deepmds_jax.mds.comparison import compare_configurations
from deepmds_jax.mds.inputs import (
    as_computed,
    as_float,
    check_integer,
    check_num_dims,
    check_shapes,
    check_values,
    fill_with_shortest_paths,
    is_traced,
    refuse_options,
    symmetrize,
)
from deepmds_jax.mds.majorization import check_key, smacof
from deepmds_jax.mds.solver import MDSResult, Status
from deepmds_jax.mds.torgerson import torgerson_of_any_unit

# Of vegan's metaMDS: how far apart the points of two solutions may be that are taken for one, of
# all points (root mean square) and of any, in units of the size of the configuration.
_SAME_RMS, _SAME_MAX = 5e-3, 1e-2
PERFECT = 1e-5  # stress-1, below which configurations differ without being better
_GIVEN = ("num_dims", "init", "key", "num_starts", "progress")  # by these functions to `smacof`


def smacof_dims(
    dissimilarities: ArrayLike,
    dims: Sequence[int] = (1, 2, 3, 4, 5),
    *,
    key: jax.Array | None = None,
    num_starts: int = 1,
    **options: Any,
) -> MDSResult:
    """`smacof` in several numbers of dimensions, as one batch: for a scree plot, `draw_scree`.

    A configuration whose last axes are zero keeps them zero in every iteration. So all problems
    have the largest number of dimensions, start from the classical solution without its last
    axes, and share one compiled program. More starts are random ones; the best solution is kept.

    Args:
      dissimilarities: (..., n, n) float, as for `smacof`.
      dims: d numbers of dimensions, from 1 to n - 1.
      key: PRNG key of the random starts, which the problems of a batch share.
      num_starts: how many, the classical one among them.
      **options: `transform`, `ties`, `weights`, `acceleration`, `max_iters` and `tolerance` of
        `smacof`.

    Returns:
      An `MDSResult` with leading axes (..., d). In its (..., d, n, max(dims)) embedding the axes
      beyond a problem's number are zero.

    Raises:
      ValueError: as `smacof` does, and for `dims` that are none.

    Source: Kruskal (1964), "Multidimensional scaling by optimizing goodness of fit to a nonmetric
    hypothesis", Psychometrika 29 (stress against dimensions).
    """
    numbers = np.asarray(dims)
    if numbers.ndim != 1 or numbers.size == 0 or numbers.dtype.kind not in "iu":
        raise ValueError(f"dims: expected one or more integers, got {dims!r}")
    check_integer("num_starts", num_starts, 1)
    if key is not None:
        check_key(key)
    elif num_starts > 1:
        raise ValueError(f"key: expected one for {num_starts - 1} random starts, got none")
    refuse_options("smacof_dims", options, ("num_dims", "init", "progress"))
    checked, checked_weights = check_shapes(dissimilarities, options.pop("weights", None), 1)
    for number in (numbers.min(), numbers.max()):
        check_num_dims(number, checked.shape[-1], "dims")
    start = _classical_start(checked, checked_weights, int(numbers.max()))
    kept = np.arange(numbers.max()) < numbers[:, None, None]  # (d, 1, k)
    kept = np.broadcast_to(kept, (*start.shape[:-2], *kept.shape))
    starts = start[..., None, :, :]
    if key is not None:
        shape = (num_starts - 1, *start.shape[-2:])
        others = jax.random.normal(key, shape, start.dtype)
        others = jnp.broadcast_to(others, (*start.shape[:-2], *shape))
        starts = jnp.concatenate([starts, others], axis=-3)
    starts = jnp.where(kept[..., None, :, :], starts[..., None, :, :, :], 0)  # (..., d, s, n, k)
    *batch, num_dims, _, n, k = starts.shape
    found = _smacof_each(as_float(dissimilarities), checked_weights,
                         starts.reshape(*batch, num_dims * num_starts, n, k), options)
    return _best_of(found, (*batch, num_dims), num_starts)


class RepeatedResult(NamedTuple):
    """The result of `smacof_until_repeated`; (...) are the leading axes of the dissimilarities.

    Attributes:
      best: the `MDSResult` of least stress.
      times_met: (...) int32, how many starts ended in it: 2 or more, unless all rounds were used
        up or the fit is perfect. A minimum that is met again and again is probably the lowest.
      num_starts: (...) int32, from how many starts the problem was solved.
    """

    best: MDSResult
    times_met: jax.Array
    num_starts: jax.Array


def smacof_until_repeated(
    dissimilarities: ArrayLike,
    num_dims: int = 3,
    *,
    key: jax.Array,
    starts_per_round: int = 20,
    max_rounds: int = 5,
    **options: Any,
) -> RepeatedResult:
    """`smacof` from random starts, until the best solution has been met twice.

    The first start is the classical one. A round solves all problems from all of its starts as one
    batch; rounds go on as long as the best solution of some problem was met only once. Solutions
    are the same if, after Procrustes alignment at size 1, their points are apart by less than 0.005
    (root mean square) and none by more than 0.01. Not for use inside jit.

    Args:
      dissimilarities: (..., n, n) float, as for `smacof`.
      num_dims: k, from 1 to n - 1.
      key: PRNG key of the random starts, which the problems of a batch share.
      starts_per_round: number of starts in a round; each takes the memory of a problem.
      max_rounds: number of rounds after which to give up.
      **options: `transform`, `ties`, `weights`, `acceleration`, `max_iters` and `tolerance` of
        `smacof`.

    Returns:
      A `RepeatedResult`.

    Raises:
      ValueError: as `smacof` does, and inside jit.

    Source: `metaMDS` of R's vegan (Oksanen et al.), which has the same limits.
    """
    if is_traced(dissimilarities):
        raise ValueError("dissimilarities: expected an array, got a tracer: call "
                         "smacof_until_repeated outside jit")
    check_key(key)
    for name, number in (("starts_per_round", starts_per_round), ("max_rounds", max_rounds)):
        check_integer(name, number, 1)
    refuse_options("smacof_until_repeated", options, _GIVEN)
    checked, weights = check_shapes(dissimilarities, options.pop("weights", None), num_dims)
    *batch, n, _ = checked.shape
    classical = _classical_start(checked, weights, num_dims)[..., None, :, :]
    best, times_met, num_rounds, done = None, np.zeros(batch, np.int32), 0, False
    while not done and num_rounds < max_rounds:
        shape = (starts_per_round, n, num_dims)
        starts = jax.random.normal(jax.random.fold_in(key, num_rounds), shape, checked.dtype)
        starts = jnp.broadcast_to(starts, (*batch, *shape))
        if best is None:
            starts = jnp.concatenate([classical, starts[..., 1:, :, :]], axis=-3)
        found = _smacof_each(as_float(dissimilarities), weights, starts, options)
        best, times_met = _choose(best, times_met, found)
        num_rounds += 1
        hopeless = best.status >= Status.NON_FINITE
        done = np.all((times_met >= 2) | (best.stress < PERFECT) | hopeless)
    num_starts = np.full(batch, starts_per_round * num_rounds, np.int32)
    return RepeatedResult(*jax.device_put((best, times_met, num_starts)))


def _choose(best, times_met, found):
    """The best of the new solutions and the one before, and how often it was met so far."""
    axis = times_met.ndim
    weight = np.ones(found.stress.shape, np.int32)
    found = jax.tree.map(np.asarray, found)
    if best is not None:
        found = jax.tree.map(lambda one, many: np.concatenate(
            [np.expand_dims(one, axis), many], axis), best, found)
        weight = np.concatenate([times_met[..., None], weight], axis)
    index = np.argmin(np.where(np.isnan(found.stress), np.inf, found.stress), axis)

    def take(values):
        where = index.reshape(*index.shape, *[1] * (values.ndim - axis))
        return np.take_along_axis(values, where, axis)

    chosen = jax.tree.map(take, found)
    aligned = np.asarray(compare_configurations(found.embedding, chosen.embedding).aligned)
    unit = np.max(np.abs(chosen.embedding), axis=(-2, -1), keepdims=True)
    aligned, best = aligned / unit, chosen.embedding / unit
    square = np.sum((aligned - best) ** 2, axis=-1)
    square /= np.sum(best**2, axis=(-2, -1))[..., None]
    same = (np.mean(square, axis=-1) < _SAME_RMS**2) & (np.max(square, axis=-1) < _SAME_MAX**2)
    times_met = np.sum(weight * same, axis=axis, dtype=np.int32)
    return jax.tree.map(lambda x: np.squeeze(x, axis), chosen), times_met


@partial(jax.jit, static_argnames=("batch", "num_starts"))
def _best_of(found, batch, num_starts):
    """The best of each problem's solutions, which come one after the other."""
    stress = found.stress.reshape(*batch, num_starts)
    best = jnp.argmin(jnp.where(jnp.isnan(stress), jnp.inf, stress), axis=-1)[..., None]

    def take(values):
        values = values.reshape(*batch, num_starts, *values.shape[len(batch):])
        where = best.reshape(*best.shape, *[1] * (values.ndim - best.ndim))
        return jnp.squeeze(jnp.take_along_axis(values, where, len(batch)), len(batch))

    return jax.tree.map(take, found)


def _smacof_each(dissimilarities, weights, starts, options):
    """`smacof` of (..., n, n) problems from (..., s, n, k) starts: results (..., s)."""
    num_starts = starts.shape[-3]

    def repeat(matrices):
        *batch, n, _ = matrices.shape
        return jnp.broadcast_to(matrices[..., None, :, :], (*batch, num_starts, n, n))

    each = None if weights is None else repeat(weights)
    result = smacof(repeat(dissimilarities), starts.shape[-1], weights=each, init=starts, **options)
    failed = not is_traced(result.status) and np.any(
        np.asarray(result.status) >= Status.DISCONNECTED)
    if failed and dissimilarities.ndim == 2:
        check_values(as_computed("dissimilarities", dissimilarities), weights)
    return result


@partial(jax.jit, static_argnames="num_dims")
def _classical_start(dissimilarities, weights, num_dims):
    """(..., n, k), with shortest paths for missing pairs."""
    @partial(jnp.vectorize, signature="(n,n),(n,n)->(n,k)")
    def solve(dissimilarities, weights):
        known = symmetrize(dissimilarities)
        missing = jnp.isnan(known) | (symmetrize(weights) == 0)
        known, observed = jnp.where(missing, 0, known), jnp.where(missing, 0, 1)
        filled = fill_with_shortest_paths(known, observed)
        return torgerson_of_any_unit(filled, num_dims)

    if weights is None:
        weights = jnp.ones_like(dissimilarities)
    return solve(dissimilarities, weights)
