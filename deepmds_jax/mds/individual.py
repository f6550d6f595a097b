"""Individual differences: one space of objects, which each subject stretches in its own way."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from deepmds_jax.mds.cores import solve_all
from deepmds_jax.mds.descent import Move, descend, one_by_one
from deepmds_jax.mds.guttman import disparity_ratios, laplacian_product
from deepmds_jax.mds.inputs import (
    check_choice,
    check_limits,
    check_shapes,
    check_values,
    fill_with_shortest_paths,
    float_dtype,
    is_connected,
    is_on_cpu,
    is_traced,
    is_valid,
    symmetrize,
)
from deepmds_jax.mds.krylov import solve_in_unit
from deepmds_jax.mds.measures import (
    in_units,
    in_units_above_0,
    keep_counted,
    square_root,
    unscaled_distances,
)
from deepmds_jax.mds.solver import Status, narrow, status_of
from deepmds_jax.mds.torgerson import torgerson
from deepmds_jax.mds.transforms import get_transform

MODELS = ("identity", "indscal", "idioscal")
TRANSFORMS = ("ratio", "spline", "ordinal")
_MAX_ITERS = 1000  # of conjugate gradients, for derivatives


class IndividualDifferences(NamedTuple):
    """The result of `individual_differences`; (...) are the leading axes of the dissimilarities.

    Attributes:
      group: (..., n, k) centred points of the objects, in the space that all subjects share. With
        "indscal" and "idioscal" the mean square along each axis is 1.
      maps: (..., K, k, k) of the subjects: `group @ maps[s]` is the configuration of subject s.
      stress: (...) square root of the mean squared stress of the subjects.
      stress_per_subject: (..., K) sqrt(sum of w (disparity - distance)^2 / sum of w disparity^2).
      num_iters: (...) int32 number of configurations tried after the start.
      status: (...) int32 `Status`.
    """

    group: jax.Array
    maps: jax.Array
    stress: jax.Array
    stress_per_subject: jax.Array
    num_iters: jax.Array
    status: jax.Array

    @property
    def saliences(self) -> jax.Array:
        """(..., K, k) how much each subject stretches each axis, with "indscal"."""
        return jnp.diagonal(self.maps, axis1=-2, axis2=-1)

    @property
    def converged(self) -> jax.Array:
        """(...) bool, whether the tolerance was met."""
        return self.status == Status.CONVERGED


class _Options(NamedTuple):
    num_dims: int
    model: str
    transform: str
    ties: str
    on_cpu: bool | None

    def get_transform(self):
        return get_transform(self.transform, self.ties, self.on_cpu)


def individual_differences(
    dissimilarities: ArrayLike,
    num_dims: int = 2,
    *,
    model: str = "indscal",
    transform: str = "ratio",
    ties: str = "primary",
    weights: ArrayLike | None = None,
    max_iters: int = 3000,
    tolerance: float = 2e-4,
) -> IndividualDifferences:
    """Scales the dissimilarities of several subjects together (three-way scaling).

    Subject s sees the objects at `group @ maps[s]`: the same for all ("identity"), with axes
    stretched by factors of its own ("indscal"; these axes cannot be rotated), or under a linear map
    of its own ("idioscal"). The mean over subjects of the squared stress is minimised. Each
    subject's dissimilarities are scaled to a root mean square of 1 first, so all count alike.

    Each problem of a batch runs and stops on its own; jit and vmap work. Forward and reverse
    derivatives of "identity" and "indscal" with respect to dissimilarities and weights are those of
    the solution, as for `smacof`; "idioscal", whose group space is arbitrary up to a linear map,
    has none in reverse mode.

    Args:
      dissimilarities: (..., K, n, n) float of K subjects, each as for `smacof`; NaN marks a missing
        value.
      num_dims: k, from 1 to n - 1.
      model: "identity", "indscal" or "idioscal".
      transform: "ratio", "spline" or "ordinal", as for `smacof`: one for each subject. "interval"
        is not offered, because its disparities can be negative.
      ties: as for `smacof`.
      weights: (..., K, n, n) or (n, n), as for `smacof`. A few far above the others take many
        iterations; in float32, by more than a factor of 10,000, they end before the minimum.
      max_iters: maximum number of iterations.
      tolerance: as for `smacof_robust`.

    Returns:
      `IndividualDifferences` in the dtype of the dissimilarities (float16 and bfloat16 are computed
      in float32). Statuses and NaN as for `smacof`: a bad subject spoils its problem. A
      subject need not know all objects, if all subjects together do. The start is classical scaling
      of the mean; there are local minima.

    Raises:
      ValueError: as for `smacof`.

    Source: Carroll & Chang (1970), "Analysis of individual differences in multidimensional scaling
    via an N-way generalization of Eckart-Young decomposition", Psychometrika 35; de Leeuw & Heiser
    (1980), "Multidimensional scaling with restrictions on the configuration"; de Leeuw & Mair
    (2009), J. Statistical Software 31(3), section 3.4; Kiers (2002), "Setting up alternating least
    squares and iterative majorization algorithms", Computational Statistics & Data Analysis 41
    (the weights).
    """
    given = dissimilarities
    dissimilarities, weights = check_shapes(given, weights, num_dims)
    if dissimilarities.ndim < 3 or dissimilarities.shape[-3] < 1:
        raise ValueError(f"dissimilarities: expected shape (..., K, n, n) of K subjects, got "
                         f"{dissimilarities.shape}")
    for name, value, known in (("model", model, MODELS), ("transform", transform, TRANSFORMS),
                               ("ties", ties, ("primary", "secondary"))):
        check_choice(name, value, known)
    tolerance = check_limits(max_iters, tolerance)
    batch = dissimilarities.shape[:-3]
    options = _Options(num_dims, model, transform, ties,
                       is_on_cpu((dissimilarities, weights, max_iters, tolerance)))

    def solve(*problem):
        return _solve_batch(options, *problem, max_iters, tolerance)

    result = solve_all(solve, batch, dissimilarities, weights, shared=(max_iters, tolerance))
    if not batch and not is_traced(result.status) and result.status >= Status.DISCONNECTED:
        check_values(dissimilarities, weights)
    return narrow(result, float_dtype(given))


@partial(jax.jit, static_argnames="options")
def _solve_batch(options, dissimilarities, weights, max_iters, tolerance):
    solve = partial(_solve if options.model != "idioscal" else _solve_one, options)
    if dissimilarities.ndim == 4:
        solve = jax.vmap(solve, in_axes=(0, 0, None, None))
    result = solve(dissimilarities, weights, max_iters, tolerance)
    return result._replace(num_iters=result.num_iters.astype(jnp.int32),
                           status=result.status.astype(jnp.int32))


class _Problem(NamedTuple):
    """The subjects' dissimilarities and weights, (K, n, n), both 0 for missing pairs.

    The largest weight is 1. The dissimilarities have a root mean square of 1.
    """

    dissimilarities: jax.Array
    weights: jax.Array
    prepared: object
    is_valid: jax.Array
    is_finite: jax.Array


def _prepare(options, dissimilarities, weights):
    valid = jnp.all(jax.vmap(is_valid)(dissimilarities))
    dissimilarities = jax.vmap(symmetrize)(dissimilarities)
    if weights is None:
        weights = jnp.ones_like(dissimilarities)
    else:
        valid &= jnp.all(jax.vmap(is_valid)(weights)) & jnp.all(jnp.isfinite(weights))
    weights = jax.vmap(symmetrize)(weights)
    missing = jnp.isnan(dissimilarities) | (weights == 0)
    weights = jnp.where(missing, 0, weights)
    weights = keep_counted(in_units(weights, jnp.max(weights)), weights)
    dissimilarities = jnp.where(missing, 0, dissimilarities)
    peak = lax.stop_gradient(jnp.max(dissimilarities, axis=(-2, -1), keepdims=True))
    valid &= jnp.all(peak > 0)
    finite = jnp.all(jnp.isfinite(dissimilarities))
    scaled = in_units_above_0(dissimilarities, peak)
    given = dissimilarities if options.transform == "ordinal" else scaled
    prepare = options.get_transform().prepare
    prepared = jax.vmap(lambda d, w: prepare(d, w, True))(given, weights)
    dissimilarities = _normalize(weights, scaled)
    return _Problem(dissimilarities, weights, prepared, valid, finite)


def _normalize(weights, disparities):
    """Each subject's (K, n, n) disparities with a weighted root mean square of 1."""
    square = _sum_of_pairs(weights * disparities**2)
    square = jnp.where(square > 0, square, 1)
    return disparities * jnp.sqrt(_sum_of_pairs(weights) / square)[:, None, None]


def _sum_of_pairs(matrices):
    return jnp.sum(matrices, axis=(-2, -1)) / 2


def _disparities(options, problem, prepared, distances):
    """(K, n, n) normalized disparities of all subjects, and what the next fit begins with."""
    if options.transform == "ratio":
        return problem.dissimilarities, prepared
    fit = options.get_transform().fit
    disparities, prepared = jax.vmap(fit)(prepared, distances)
    return _normalize(problem.weights, disparities), prepared


def _join(options, group, maps):
    """One (rows, k) array of what is free."""
    if options.model == "identity":
        return group
    if options.model == "indscal":
        maps = jnp.diagonal(maps, axis1=1, axis2=2)
    return jnp.concatenate([group, maps.reshape(-1, group.shape[1])])


def _split(options, num_points, num_subjects, point):
    """(n, k) group and (K, k, k) maps of a point of `_join`."""
    group, rest = point[:num_points], point[num_points:]
    k = group.shape[1]
    eye = jnp.eye(k, dtype=group.dtype)
    if options.model == "identity":
        return group, jnp.broadcast_to(eye, (num_subjects, k, k))
    if options.model == "indscal":
        return group, rest[:, :, None] * eye[None]
    return group, rest.reshape(num_subjects, k, k)


def _views(group, maps):
    """(K, n, k) configurations of the subjects."""
    return jnp.matmul(group[None], maps, precision=lax.Precision.HIGHEST)


def _restrict(options, images, group, maps):
    """Group and maps that come closer to the (K, n, k) images: alternating least squares."""
    if options.model == "identity":
        return jnp.mean(images, axis=0), maps
    tiny = jnp.finfo(group.dtype).tiny
    if options.model == "indscal":
        squares = jnp.maximum(jnp.sum(group**2, axis=0), tiny)
        factors = jnp.sum(group[None] * images, axis=1) / squares[None]
        squares = jnp.maximum(jnp.sum(factors**2, axis=0), tiny)
        group = jnp.sum(images * factors[:, None, :], axis=0) / squares[None]
        return group, factors[:, :, None] * jnp.eye(group.shape[1], dtype=group.dtype)[None]
    product = partial(jnp.matmul, precision=lax.Precision.HIGHEST)
    squares = product(group.T, group)
    maps = jax.vmap(lambda image: jnp.linalg.solve(squares, product(group.T, image)))(images)
    squares = jnp.sum(product(maps, maps.mT), axis=0)
    group = jnp.linalg.solve(squares, jnp.sum(product(maps, images.mT), axis=0)).T
    return group, maps


def _solve_one(options, dissimilarities, weights, max_iters, tolerance):
    return one_by_one(_minimize, options)(dissimilarities, weights, max_iters, tolerance)


_solve = partial(jax.custom_jvp, nondiff_argnums=(0,))(_solve_one)


def _minimize(options, dissimilarities, weights, max_iters, tolerance):
    problem = _prepare(options, dissimilarities, weights)
    num_subjects, n, _ = problem.weights.shape
    split = partial(_split, options, n, num_subjects)
    # Weights below the largest shorten the steps, which count as what they would be without.
    weights = problem.weights
    shortening = jnp.sum(weights) / jnp.sum(weights > 0, dtype=weights.dtype)

    def majorize(point, prepared):
        group, maps = split(point)
        views = _views(group, maps)
        distances = unscaled_distances(views)
        disparities, prepared = _disparities(options, problem, prepared, distances)
        loss, error = _measure(problem, disparities, distances)[:2]
        # Weights below 1, as distances nearer to what they are: the problem remains a plain one.
        targets = distances + problem.weights * (disparities - distances)
        images = views + jax.vmap(_guttman_step)(views, distances, targets)
        step = _join(options, *_restrict(options, images, group, maps)) - point
        return Move(step, loss, error * shortening, prepared)

    counted = jnp.sum(problem.weights, axis=0)
    mean = jnp.sum(problem.weights * problem.dissimilarities, axis=0)
    mean = jnp.where(counted > 0, mean / jnp.where(counted > 0, counted, 1), 0)
    group = torgerson(fill_with_shortest_paths(mean, counted), options.num_dims)
    eye = jnp.eye(options.num_dims, dtype=group.dtype)
    start = _join(options, group, jnp.broadcast_to(eye, (num_subjects, *eye.shape)))
    end = descend(majorize, start, problem.prepared, max_iters=max_iters, tolerance=tolerance)
    fit = _describe(options, problem, *split(end.point))
    finite = problem.is_finite & jnp.isfinite(end.move.loss) & jnp.all(jnp.isfinite(fit[0]))
    status = status_of(end.has_converged(tolerance), finite,
                       is_connected(counted), problem.is_valid)
    solved = status <= Status.STEP_LIMIT
    group, maps, stress, per_subject = (jnp.where(solved, x, jnp.nan) for x in fit)
    return IndividualDifferences(group, maps, stress, per_subject,
                                 *(x.astype(group.dtype) for x in (end.num_iters, status)))


def _guttman_step(points, distances, targets):
    """(n, k) change to the Guttman transform with equal weights."""
    pull = laplacian_product(1 - disparity_ratios(targets, distances), points)
    # The diagonal of the weights does not matter.
    return -pull / points.shape[0]


def _measure(problem, disparities, distances):
    """() loss, () stress and (K,) stress per subject."""
    squares = _sum_of_pairs(problem.weights * (disparities - distances) ** 2)
    relative = squares / _sum_of_pairs(problem.weights)
    mean = jnp.sum(squares) / jnp.sum(_sum_of_pairs(problem.weights))
    return jnp.sum(squares), square_root(mean), square_root(relative)


def _describe(options, problem, group, maps):
    """Group, maps, stress and stress per subject in their final form; differentiable."""
    group = group - jnp.mean(group, axis=0, keepdims=True)
    if options.model != "identity":
        size = jnp.sqrt(jnp.mean(group**2, axis=0))
        group, maps = group / size[None], maps * size[None, :, None]
    if options.model == "indscal":
        maps = jnp.abs(maps)
    distances = unscaled_distances(_views(group, maps))
    disparities, _ = _disparities(options, problem, problem.prepared, distances)
    return group, maps, *_measure(problem, disparities, distances)[1:]


@_solve.defjvp
def _solve_jvp(options, primals, tangents):
    """By the implicit function theorem: the gradient of the loss stays zero."""
    inputs, changes = primals[:2], tangents[:2]
    result = _solve(options, *primals)
    num_subjects, n, _ = inputs[0].shape
    split = partial(_split, options, n, num_subjects)
    point = _join(options, result.group, result.maps)

    def half_loss(point, disparities, weights):
        group, maps = split(point)
        distances = unscaled_distances(_views(group, maps))
        return jnp.sum(weights * (disparities - distances) ** 2) / 4

    def gradient(point, *inputs):
        problem = _prepare(options, *inputs)
        group, maps = split(point)
        distances = unscaled_distances(_views(group, maps))
        disparities, _ = _disparities(options, problem, problem.prepared, distances)
        return jax.grad(half_loss)(point, disparities, problem.weights)

    def describe(point, *inputs):
        return _describe(options, _prepare(options, *inputs), *split(point))

    _, change = jax.jvp(partial(gradient, point), inputs, changes)
    _, hessian = jax.linearize(lambda x: gradient(x, *inputs), point)

    def regularized_hessian(x):
        """With nonzero eigenvalues along what does not change the loss."""
        mean = jnp.mean(x[:n], axis=0, keepdims=True)
        shift = jnp.concatenate([jnp.broadcast_to(mean, x[:n].shape), jnp.zeros_like(x[n:])])
        if options.model == "identity":
            product = point.T @ x
            return hessian(x) + shift + point @ (product - product.T)
        # A larger axis of the group, for smaller factors of all subjects.
        signed = jnp.concatenate([point[:n], -point[n:]])
        return hessian(x) + shift + signed * jnp.sum(signed * x, axis=0, keepdims=True)

    moved = -lax.custom_linear_solve(
        regularized_hessian, change, symmetric=True,
        solve=partial(solve_in_unit, max_iters=_MAX_ITERS),
    )
    _, changes = jax.jvp(describe, (point, *inputs), (moved, *changes))
    counts = map(jnp.zeros_like, (result.num_iters, result.status))
    return result, IndividualDifferences(*changes, *counts)
