"""What unlabelled landmarks say of the shapes of their kind, from weights or a template on."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from tqdm import tqdm

from deepmds_jax import topologies
from deepmds_jax.adaptation.em import MIN_FACES, Kind, Learnt, fit_shapes, hidden_errors
from deepmds_jax.data.augmentation import deformation_basis
from deepmds_jax.lifting import lifting_method
from deepmds_jax.methods.contract import MIN_LANDMARKS, AdaptableMethod
from deepmds_jax.methods.gaussian import Gaussian, without_rigid_motion

SMOOTHNESS = 0.5
NUM_TURNS, NUM_TURNS_TEMPLATE = 10, 20  # a template is farther off
# How many faces a model's covariance is worth; a template's is a guess.
_WORTH, _WORTH_TEMPLATE = 100.0, 20.0
_ONE_SIDED = 0.25  # share of a shift's variance where it is not the same on both sides
# Smooth deformations, as `Augmentation.deformation` counts them: how differently another detector
# may put all its landmarks, and how much more than the model its faces differ from each other.
_ELSEWHERE, _BETWEEN_FACES = 1.3, 0.25
# Those of a template: length scales in multiples of the smoothness, and standard deviations along
# each axis in sizes of the template, times one of the amounts.
_DEFORMATIONS = ((1.0, 0.064), (0.5, 0.043), (0.2, 0.021), (0.0, 0.013))
_STRETCH = 0.03
_AMOUNTS = (1.0, 2.0, 4.0)
# For things that bend it takes more, +-30 degrees: seen from one side, a bent one looks like a
# shorter or a turned one (things from the front seem to turn by 15 to 24), and wrong depths fit.
_MIN_SPREAD_TEMPLATE = 0.25
_HIDDEN_SHARE = 0.25  # of the landmarks, to see how well the others tell where they are


def learn_shapes(
    params: Any, x2d: ArrayLike, visible: ArrayLike | None = None, *, progress: bool = False
) -> Learnt:
    """The Gaussian over the shapes of unlabelled faces, by expectation and maximisation.

    It starts from the model that the weights were trained on, and from how far other detectors'
    landmarks may lie from it. The expectation is that of `infer`: shape, pose, perspective and
    noise of each face. The covariance that follows is averaged with that of the model, which counts
    as some faces; the noise to expect is the median of theirs (not of things seen from any side).
    Of the mean what the views do not show stays as it was, and as uncertain, which is part of the
    covariance in the end: the fewer the faces, and the less they turn, the less is taken for known.
    Where the topology has a left and a right side the covariance is symmetric, and the mean nearly
    so. Where all faces are seen from nearly one direction, what lies along it stays as it was.

    Args:
      params, x2d, visible, progress: see `adapt`.

    Raises:
      ValueError: see `adapt`.

    Source: Torresani, Hertzmann & Bregler (2008), "Nonrigid structure-from-motion: estimating shape
    and motion with hierarchical priors", IEEE PAMI 30(5).
    """
    adaptable(params)
    topology = topologies.get(params.config.topology)
    points, seen = _as_faces(topology, x2d, visible)
    model, shift = _priors(params)
    shift = _alike_on_both_sides(shift, topology.mirror)
    kind = Kind(model, shift, _WORTH, topology.mirror, params.config.any_side)
    start = Gaussian(model.mean, model.covariance + shift)
    return fit_shapes(kind, start, points, seen, NUM_TURNS, _bar(progress))


def learn_from_template(
    template: ArrayLike,
    topology: str,
    x2d: ArrayLike,
    visible: ArrayLike | None = None,
    *,
    smoothness: float = SMOOTHNESS,
    progress: bool = False,
) -> Learnt:
    """The Gaussian over the shapes of unlabelled things, of which one shape is known.

    As `learn_shapes`, but it starts from smooth deformations of the template, as large as predicts
    hidden landmarks best, and the things may be seen from any side. Whether it helps is measured:
    each half of the things predicts hidden landmarks of the other half. If it predicts them no
    better than the start does, `after` is `before`. So it is if the views differ by less than some
    30 degrees, root mean square: things that bend look like others that turn.

    Args:
      template: (N, 3) one shape of the kind, any unit and origin; axes right-handed, as x right, y
        down, z away. The shapes learnt face as it does.
      topology: its name, or the path of its file.
      x2d: (F, N, 2) landmarks of at least 10 different things, x right and y down, any unit and
        origin; the more differently they are turned, the better. Copies count once.
      visible: (F, N) bool, whether each landmark was seen. All by default.
      smoothness: over what distance landmarks move together, in sizes of the template
        (root-mean-square distance to the centroid): the largest of three length scales.
      progress: whether to show progress bars.

    Raises:
      ValueError: wrong shapes, a template on a line or not finite, a smoothness not above 0, or
        fewer than 10 things that can be learnt from.

    Source: see `learn_shapes`.
    """
    known = topologies.get(topology)
    mean = _as_template(template, known)
    if not 0 < smoothness < np.inf:
        raise ValueError(f"smoothness: expected a number above 0, got {smoothness}")
    points, seen = _as_faces(known, x2d, visible)
    bar, hidden = _bar(progress), _some_landmarks(seen)
    starts = [_around(mean, smoothness, amount) for amount in _AMOUNTS]
    start = starts[0]
    if hidden.any():
        errors = [_mean(hidden_errors(start, points, seen, hidden))
                  for start in bar(starts, "trying starts")]
        start = starts[int(np.argmin(errors))]
    shift = _alike_on_both_sides(start.covariance, known.mirror)
    kind = Kind(start, shift, _WORTH_TEMPLATE, known.mirror, any_side=True)
    learnt = fit_shapes(kind, start, points, seen, NUM_TURNS_TEMPLATE, bar)
    learnt = learnt._replace(min_spread=_MIN_SPREAD_TEMPLATE)
    if not learnt.sees_depth:
        return learnt._replace(after=start)
    if not hidden.any():
        return learnt
    halves = np.array_split(np.arange(len(points)), 2)
    before, after = [], []
    for own, other in (halves, halves[::-1]):
        shapes = fit_shapes(kind, start, points[other], seen[other], NUM_TURNS, bar, 0).after
        for errors, prior in ((before, start), (after, shapes)):
            errors.append(hidden_errors(prior, points[own], seen[own], hidden[own]))
    learnt = learnt._replace(hidden=(_mean(*before), _mean(*after)))
    return learnt if learnt.is_better else learnt._replace(after=start)


def _bar(progress):
    """A progress bar around something to go through."""
    return lambda items, what: tqdm(items, what, unit="turn", disable=not progress)


def adaptable(params: Any) -> AdaptableMethod:
    """The method of parameters; ValueError if it cannot be adapted."""
    method = lifting_method(params)
    if not isinstance(method, AdaptableMethod):
        raise ValueError(f"params: {method.TITLE} as {method.VARIANT} cannot be adapted")
    return method


def _as_faces(topology, x2d, visible):
    """(F, N, 2) near the origin and of size 1, and (F, N) what is visible and finite.

    A face that is there again shows nothing: copies would make what it says look sure.
    """
    points = np.array(x2d, np.float64)
    expected = topology.num_landmarks
    if points.ndim != 3 or points.shape[1:] != (expected, 2):
        raise ValueError(f"x2d: expected (F, {expected}, 2) for topology {topology.name}, got "
                         f"{points.shape}")
    if visible is not None and np.shape(visible) != points.shape[:2]:
        raise ValueError(f"visible: expected {points.shape[:2]} like x2d, got {np.shape(visible)}")
    seen = np.all(np.isfinite(points), axis=-1)
    if visible is not None:
        seen &= np.asarray(visible, bool)
    points = np.where(seen[..., None], points, np.nan)
    few = np.sum(seen, axis=1) < MIN_LANDMARKS
    points[few] = 0
    points -= np.nanmean(points, axis=1, keepdims=True)
    spread = np.sqrt(np.nanmean(points**2, axis=(1, 2), keepdims=True))
    points = np.nan_to_num(points / np.where(spread > 0, spread, 1)).astype(np.float32)
    faces = np.concatenate([points.reshape(len(points), -1), seen], axis=1)
    again = np.ones(len(points), bool)
    again[np.unique(faces, axis=0, return_index=True)[1]] = False
    again &= ~few
    num_different = np.sum(~(again | few))
    if again.any() and num_different < MIN_FACES:
        raise ValueError(f"x2d: expected at least {MIN_FACES} different faces to learn from, got "
                         f"{num_different} and copies of them")
    return points, seen & ~np.expand_dims(few | again, 1)


def _as_template(template, topology):
    """(N, 3) float32, standardized."""
    points = np.asarray(template, np.float64)
    expected = (topology.num_landmarks, 3)
    if points.shape != expected or not np.isfinite(points).all():
        raise ValueError(f"template: expected {expected} finite numbers for topology "
                         f"{topology.name}, got "
                         f"{points.shape if points.shape != expected else 'some that are not'}")
    centred = points - points.mean(axis=0)
    widths = np.linalg.svd(centred, compute_uv=False)
    if widths[1] <= 1e-3 * widths[0]:
        raise ValueError("template: expected points in space, got points on a line")
    size = np.sqrt(np.mean(np.sum(centred**2, axis=1)))
    return jnp.asarray((centred / size).astype(np.float32))


def _some_landmarks(seen):
    """(F, N) bool, visible landmarks to hide; those of a pose stay."""
    order = np.random.default_rng(0).random(seen.shape)
    rank = np.argsort(np.argsort(np.where(seen, order, 2), axis=1), axis=1)
    count = np.sum(seen, axis=1)
    num = np.minimum((_HIDDEN_SHARE * count).astype(int), np.maximum(count - MIN_LANDMARKS, 0))
    return seen & (rank < num[:, None])


def _mean(*values):
    return float(np.mean(np.concatenate(values)))


def _priors(params):
    """The Gaussian of the weights' faces, and the covariance of other detectors' shifts of it."""
    mean = params.reference
    modes = params.modes.reshape(len(params.modes), -1)
    basis = deformation_basis(np.asarray(mean))

    @jax.jit
    def covariances():
        keep = without_rigid_motion(mean)
        smooth = jnp.einsum("gij,gkj->ik", basis, basis)
        smooth = keep @ jnp.kron(smooth, jnp.eye(3, dtype=mean.dtype)) @ keep
        return keep @ modes.T @ modes @ keep + _BETWEEN_FACES**2 * smooth, _ELSEWHERE**2 * smooth

    between, shift = covariances()
    return Gaussian(mean, between), shift


@partial(jax.jit, static_argnames="mirror")
def _alike_on_both_sides(shift, mirror):
    """A covariance of shifts with less of those that are not the same on both sides."""
    if mirror is None:
        return shift
    mirrored = jnp.kron(jnp.eye(len(mirror))[jnp.array(mirror)], jnp.diag(jnp.array([-1.0, 1, 1])))
    same = (jnp.eye(len(mirrored)) + mirrored) / 2
    other = jnp.eye(len(mirrored)) - same
    return same @ shift @ same + _ONE_SIDED * other @ shift @ other


@jax.jit
@jax.default_matmul_precision("highest")
def _around(template, smoothness, amount):
    """Smooth deformations of a template, and stretches of it."""
    square = jnp.sum((template[:, None] - template[None]) ** 2, axis=-1)
    covariance = sum(
        deviation**2 * (jnp.exp(-square / (2 * (length * smoothness) ** 2)) if length else
                        jnp.eye(len(template)))
        for length, deviation in _DEFORMATIONS)
    stretch = _STRETCH * jnp.einsum("nd,de->end", template, jnp.eye(3)).reshape(3, -1)
    covariance = jnp.kron(covariance, jnp.eye(3)) + stretch.T @ stretch
    keep = without_rigid_motion(template)
    return Gaussian(template, amount**2 * keep @ covariance @ keep)
