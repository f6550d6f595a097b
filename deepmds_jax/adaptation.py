"""Adaptation: weights that learn where a detector puts its landmarks, from unlabelled faces.

Detectors, annotators and face models differ in where they put "the same" landmark, by more than
networks err. Landmarks of some faces, seen from several directions, tell where: a `Gaussian` over
shapes is fitted to them by expectation and maximisation, and the networks are trained on from where
they stand, on faces drawn from it. Things that no weights know start from one shape, a template.
"""

import dataclasses
import functools
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from tqdm import tqdm

from deepmds_jax import topologies
from deepmds_jax.data import specs
from deepmds_jax.data.augmentation import deformation_basis
from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.morphable_model import MorphableModel
from deepmds_jax.data.views import Uniform, ViewGroup
from deepmds_jax.geometry import angles_from_rotation, likely_rotations, standardize
from deepmds_jax.lifting import lifting_method
from deepmds_jax.methods import anchored
from deepmds_jax.methods.contract import MIN_LANDMARKS, AdaptableMethod
from deepmds_jax.methods.gaussian import Gaussian, infer, without_rigid_motion
from deepmds_jax.training.loop import fit
from deepmds_jax.training.trainable import Run

MIN_FACES = 10
SMOOTHNESS = 0.5
NUM_TURNS, NUM_TURNS_TEMPLATE = 10, 20  # a template is farther off


class _Counts(NamedTuple):
    """How many faces the model to start from is worth: its mean (where a shift is not the same on
    both sides, as few are, more of them), and its covariance."""

    mean: float
    asymmetry: float
    covariance: float


_OF_WEIGHTS = _Counts(5.0, 10.0, 100.0)
_OF_TEMPLATE = _Counts(2.0, 4.0, 20.0)  # a guess, not a model of such things
# Smooth deformations, as `Augmentation.deformation` counts them: how differently another detector
# may put all its landmarks, and how much more than the model its faces differ from each other.
_ELSEWHERE, _BETWEEN_FACES = 1.3, 0.25
# Those of a template: length scales in multiples of the smoothness, and standard deviations along
# each axis in sizes of the template, times one of the amounts.
_DEFORMATIONS = ((1.0, 0.064), (0.5, 0.043), (0.2, 0.021), (0.0, 0.013))
_STRETCH = 0.03
_AMOUNTS = (1.0, 2.0, 4.0)
_MAX_NOISE = 0.15  # of a face that is still one, in sizes of the face
# Mean square of the sine of the angle between the views and the direction that they show least of;
# 0.004 is a turn of +-6 degrees. Below it depth cannot be learnt.
_MIN_SPREAD = 0.004
# For things that bend it takes more, +-30 degrees: seen from one side, a bent one looks like a
# shorter or a turned one (things from the front seem to turn by 15 to 24), and wrong depths fit.
_MIN_SPREAD_TEMPLATE = 0.25
_FACES_AT_ONCE = 25
_HIDDEN_SHARE = 0.25  # of the landmarks, to see how well the others tell where they are
_LOST = 1.0  # error of a hidden landmark where nothing can be said of the thing
_MARGIN = 10.0  # degrees beyond the views that were seen
# Of networks that start from nothing.
_TRAINING, _NUM_TRAIN = anchored.Training(60, 12, 5e-4), 8192


class Learnt(NamedTuple):
    """What unlabelled faces say of the shapes of their kind.

    Attributes:
      before, after: the `Gaussian` that the weights or the template brought, and the one learnt.
      used: (F,) bool, whether the face took part: its landmarks are those of a face.
      noise: (F,) standard deviation of each face's landmarks, in sizes of the face.
      rotation: (F, 3, 3) of each face, as `Posterior` has it.
      residual_before, residual_after: root-mean-square distance of the landmarks from the posed
        mean shape, over all faces, in sizes of the face.
      spread: how far the views differ: mean square of the sine of their angle to the direction
        that they show least of; see `sees_depth`.
      hidden: from a template only: mean distance in the image of hidden landmarks from where the
        others say that they are, in sizes of the face, as `before` says it, and as said by what
        was learnt from other faces; None where there was nothing to compare.
      min_spread: least spread that depth can be learnt from.
    """

    before: Gaussian
    after: Gaussian
    used: np.ndarray
    noise: np.ndarray
    rotation: np.ndarray
    residual_before: float
    residual_after: float
    spread: float
    hidden: tuple[float, float] | None = None
    min_spread: float = _MIN_SPREAD

    @property
    def sees_depth(self) -> bool:
        """Whether the views differ enough to learn depth from; if not, it was left as it was.

        Of a template, everything was left as it was then: `after` is `before`.
        """
        return self.spread >= self.min_spread

    @property
    def is_better(self) -> bool:
        """Whether what was learnt predicts hidden landmarks better; if not, `after` is `before`."""
        return self.hidden is None or self.hidden[1] < self.hidden[0]


def adapt(
    params: Any,
    x2d: ArrayLike,
    visible: ArrayLike | None = None,
    *,
    seed: int = 0,
    progress: bool = False,
) -> Any:
    """Weights for landmarks that come from where these come from. No 3D is needed.

    Args:
      params: weights of a method that can be adapted: the anchored system.
      x2d: (F, N, 2) landmarks of at least 10 faces, x right and y down, any unit and origin; the
        more differently they are turned, the better.
      visible: (F, N) bool, whether each landmark was seen. All by default.
      seed: of the faces that the networks are trained on.
      progress: whether to show progress bars.

    Returns:
      Parameters of the same kind as `params`.

    Raises:
      ValueError: wrong shapes, other parameters, or fewer than 10 faces that can be learnt from.
    """
    return refine(params, learn_shapes(params, x2d, visible, progress=progress), seed=seed,
                  progress=progress)


def adapt_template(
    template: ArrayLike,
    topology: str,
    x2d: ArrayLike,
    visible: ArrayLike | None = None,
    *,
    smoothness: float = SMOOTHNESS,
    seed: int = 0,
    progress: bool = False,
) -> Any:
    """Weights for things of which only one 3D shape is known, from 2D landmarks of others.

    Args:
      template, topology, x2d, visible, smoothness, progress: see `learn_from_template`.
      seed: of the networks, and of the shapes that they are trained on.

    Returns:
      Parameters of the anchored system.

    Raises:
      ValueError: see `learn_from_template`.
    """
    learnt = learn_from_template(template, topology, x2d, visible, smoothness=smoothness,
                                 progress=progress)
    return train(learnt, topology, seed=seed, progress=progress)


def learn_shapes(
    params: Any, x2d: ArrayLike, visible: ArrayLike | None = None, *, progress: bool = False
) -> Learnt:
    """The Gaussian over the shapes of unlabelled faces, by expectation and maximisation.

    It starts from the model that the weights were trained on. The expectation is that of `infer`:
    shape, pose, perspective and noise of each face. The mean and the covariance that follow are
    averaged with those of the model, which counts as some faces. Where the topology has a left and
    a right side the covariance is symmetric, and the mean nearly so. A direction that no view shows
    anything of, as depth in faces that are all seen from the front, stays as the model has it.

    Args:
      params, x2d, visible, progress: see `adapt`.

    Raises:
      ValueError: see `adapt`.

    Source: Torresani, Hertzmann & Bregler (2008), "Nonrigid structure-from-motion: estimating shape
    and motion with hierarchical priors", IEEE PAMI 30(5).
    """
    _adaptable(params)
    topology = topologies.get(params.config.topology)
    points, seen = _as_faces(topology, x2d, visible)
    before, start = _priors(params)
    kind = _Kind(before, topology.mirror, _OF_WEIGHTS, params.config.any_side)
    return _learn(kind, start, points, seen, NUM_TURNS, _bar(progress))


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
      x2d: (F, N, 2) landmarks of at least 10 things, x right and y down, any unit and origin; the
        more differently they are turned, the better.
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
    points, seen = _as_faces(known, x2d, visible)
    if not 0 < smoothness < np.inf:
        raise ValueError(f"smoothness: expected a number above 0, got {smoothness}")
    bar, hidden = _bar(progress), _some_landmarks(seen)
    starts = [_around(mean, smoothness, amount) for amount in _AMOUNTS]
    start = starts[0]
    if hidden.any():
        errors = [_mean(_hidden_errors(start, points, seen, hidden))
                  for start in bar(starts, "trying starts")]
        start = starts[int(np.argmin(errors))]
    kind = _Kind(start, known.mirror, _OF_TEMPLATE, any_side=True)
    learnt = _learn(kind, start, points, seen, NUM_TURNS_TEMPLATE, bar)
    learnt = learnt._replace(min_spread=_MIN_SPREAD_TEMPLATE)
    if not learnt.sees_depth:
        return learnt._replace(after=start)
    if not hidden.any():
        return learnt
    halves = np.array_split(np.arange(len(points)), 2)
    before, after = [], []
    for own, other in (halves, halves[::-1]):
        shapes = _learn(kind, start, points[other], seen[other], NUM_TURNS, bar, 0).after
        for errors, prior in ((before, start), (after, shapes)):
            errors.append(_hidden_errors(prior, points[own], seen[own], hidden[own]))
    learnt = learnt._replace(hidden=(_mean(*before), _mean(*after)))
    return learnt if learnt.is_better else learnt._replace(after=start)


def refine(params: Any, learnt: Learnt, *, seed: int = 0, progress: bool = False) -> Any:
    """The parameters after their networks were trained on, on faces drawn from what was learnt.

    Args:
      params, seed, progress: see `adapt`.
      learnt: from `learn_shapes`.
    """
    method = _adaptable(params)
    config = params.config
    views = _views(learnt) if config.any_side else None
    dataset = as_dataset(learnt.after, config.topology, views)
    return method.refine(params, dataset, jax.random.key(seed), _fit_stage(progress))


def train(learnt: Learnt, topology: str, *, seed: int = 0, progress: bool = False) -> Any:
    """Parameters of the anchored system, trained from nothing on what was learnt of a template.

    They are trained on views like those seen.

    Args:
      learnt: from `learn_from_template`.
      topology, seed, progress: see `adapt_template`.
    """
    config = anchored.Config(topology, any_side=True)
    run = Run(config, _TRAINING, seed, _NUM_TRAIN)
    dataset = as_dataset(learnt.after, config.topology, _views(learnt))
    return anchored.train(run, dataset, _fit_stage(progress))


def as_dataset(
    shapes: Gaussian, topology: str, views: tuple[ViewGroup, ...] | None = None
) -> Dataset:
    """A dataset whose faces are drawn from a Gaussian.

    Args:
      shapes: the Gaussian.
      topology: its name.
      views: of the faces; those of the robust training by default.
    """
    no_expressions = jnp.zeros((0, *shapes.mean.shape))
    model = MorphableModel(shapes.mean, _modes(shapes), no_expressions, topology, "size")
    robust = specs.load_spec("ict_robust")
    # Where landmarks are few, most have to stay: twice as many as a pose takes, or more.
    most = max(0.0, 1 - 2 * MIN_LANDMARKS / len(shapes.mean))
    augmentation = robust.augmentation._replace(
        deformation=0.5, calm=0.0, outline=0.0, missing=min(robust.augmentation.missing, most))
    spec = dataclasses.replace(
        robust, name="adapted", title="faces like the unlabelled ones", expression=False,
        views=views or robust.views, augmentation=augmentation)
    return Dataset(spec, model, pathlib.Path())


@jax.jit
def _modes(shapes):
    """All modes of a Gaussian, (3 N, N, 3), by their deviations."""
    values, vectors = jnp.linalg.eigh(shapes.covariance)
    return (vectors * jnp.sqrt(jnp.maximum(values, 0))).T.reshape(-1, *shapes.mean.shape)


class _Kind(NamedTuple):
    """What is known of the things to learn: a model, which counts as some of them; their partners
    in a mirror, if they have some; whether they may be seen from any side."""

    model: Gaussian
    mirror: tuple[int, ...] | None
    counts: _Counts
    any_side: bool


class _Survey(NamedTuple):
    """What is known of F faces under a Gaussian.

    Attributes:
      used: (F,) bool, whether they are faces that can be learnt from.
      noise: (F,) of their landmarks.
      rotation: (F, 3, 3).
      residual: (F,) mean squared distance of the landmarks from the posed mean.
      beyond: (F, N, 2) image points less those of the expected shape, hidden ones too.
    """

    used: Any
    noise: Any
    rotation: Any
    residual: Any
    beyond: Any


def _bar(progress):
    """A progress bar around something to go through."""
    return lambda items, what: tqdm(items, what, unit="turn", disable=not progress)


def _fit_stage(progress):
    def fit_stage(stage, variables, *, key, num_epochs, beside=None):
        del beside
        return fit(stage, variables, key=key, num_epochs=num_epochs,
                   devices=jax.local_devices()[:1], progress=progress)

    return fit_stage


def _views(learnt: Learnt) -> tuple[ViewGroup, ...]:
    """Views as wide as those that the faces were seen in, half of them from near."""
    yaw, pitch, _ = angles_from_rotation(jnp.asarray(learnt.rotation[learnt.used]))
    ranges = []
    for angle, most in ((np.asarray(yaw), 180.0), (np.asarray(pitch), 90.0)):
        low, high = np.quantile(angle, [0.01, 0.99])
        ranges.append(Uniform(float(max(low - _MARGIN, -most)), float(min(high + _MARGIN, most))))
    far = ViewGroup(0.5, *ranges, roll=Uniform(-30, 30))
    return far, far._replace(field_of_view=Uniform(0, 37))


def _learn(kind, start, points, seen, num_turns, bar, min_faces=MIN_FACES) -> Learnt:
    """Expectation and maximisation from a start on.

    Args:
      kind: a `_Kind`.
      start: the first Gaussian.
      points, seen: from `_as_faces`.
      num_turns: how many.
      bar: from `_bar`.
      min_faces: with fewer to learn from it raises ValueError.
    """
    learnt, spread, first = start, 0.0, None
    for _ in bar(range(num_turns), "learning shapes"):
        sums, survey = _expect(learnt, points, seen, kind.any_side)
        if first is None:
            first = survey
            if survey.used.sum() < min_faces:
                raise ValueError(f"x2d: expected at least {MIN_FACES} faces to learn from, got "
                                 f"{survey.used.sum()} of {len(points)} whose landmarks are those "
                                 "of a face")
        learnt, spread = _maximise(learnt, sums, kind.model, kind.mirror, kind.counts)
    assert first is not None
    _, last = _expect(learnt, points, seen, kind.any_side)
    return Learnt(kind.model, learnt, last.used, last.noise, last.rotation, _root_mean(first),
                  _root_mean(last), float(spread))


def _adaptable(params):
    method = lifting_method(params)
    if not isinstance(method, AdaptableMethod):
        raise ValueError(f"params: {method.TITLE} as {method.VARIANT} cannot be adapted")
    return method


def _as_faces(topology, x2d, visible):
    """(F, N, 2) near the origin and of size 1, and (F, N) what is visible and finite."""
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
    return points, seen & ~np.expand_dims(few, 1)


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


def _root_mean(survey):
    return float(np.sqrt(survey.residual.sum() / survey.used.sum()))


def _mean(*values):
    return float(np.mean(np.concatenate(values)))


def _priors(params):
    """The Gaussian of the weights, and the wider one of other detectors' landmarks."""
    mean = params.reference
    modes = params.modes.reshape(len(params.modes), -1)
    basis = deformation_basis(np.asarray(mean))
    smooth = jnp.kron(jnp.einsum("gij,gkj->ik", basis, basis), jnp.eye(3, dtype=mean.dtype))

    @jax.jit
    def widened(amount):
        keep = without_rigid_motion(mean)
        return Gaussian(mean, keep @ (modes.T @ modes + amount**2 * smooth) @ keep)

    return widened(_BETWEEN_FACES), widened(_ELSEWHERE)


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


def _found(shapes, x2d, visible, any_side):
    """What the Gaussian says of a thing, in the pose that is likeliest."""
    if not any_side:
        return infer(shapes, x2d, visible)
    starts = likely_rotations(shapes.mean, x2d, visible)
    found = jax.vmap(lambda rotation: infer(shapes, x2d, visible, rotation))(starts)
    best = jnp.argmax(jnp.nan_to_num(found.evidence, nan=-jnp.inf))
    return jax.tree.map(lambda x: x[best], found)


def _beyond(found, shape, x2d, visible):
    """(N, 2) image points less those of a shape in the pose found, in sizes of the shape.

    Place and size in the image are those of the visible landmarks.
    """
    posed = shape @ found.rotation.T
    posed = posed[:, :2] / (1 + found.perspective * posed[:, 2:])
    weights = visible.astype(x2d.dtype)[:, None]
    posed = posed - jnp.sum(weights * posed, axis=0) / jnp.sum(weights)
    near = x2d - jnp.sum(weights * x2d, axis=0) / jnp.sum(weights)
    scale = jnp.sum(weights * posed * near) / jnp.sum(weights * near**2)
    return scale * near - posed


def _hidden_errors(shapes, points, seen, hidden):
    """Distances (K,) of hidden landmarks from where the others say that they are."""
    _, survey = _expect(shapes, points, seen & ~hidden, any_side=True)
    distance = np.linalg.norm(survey.beyond, axis=-1)
    return np.nan_to_num(distance[hidden], nan=_LOST)


def _is_face(found, any_side):
    """Whether landmarks are those of a face: finite, seen from the front, near its shapes."""
    finite = jnp.all(jnp.isfinite(found.points)) & jnp.all(jnp.isfinite(found.covariance))
    return finite & ((found.rotation[2, 2] > 0) | any_side) & (found.noise < _MAX_NOISE)


def _expect(shapes, points, seen, any_side):
    """The sums over all faces that the next Gaussian follows from, and a `_Survey` of them."""
    parts = []
    for start in range(0, len(points), _FACES_AT_ONCE):
        part = slice(start, start + _FACES_AT_ONCE)
        # The last ones are filled up with faces that show nothing: one program does for all.
        missing = _FACES_AT_ONCE - len(points[part])
        faces = (np.pad(x[part], [(0, missing), *[(0, 0)] * (x.ndim - 1)]) for x in (points, seen))
        parts.append(_expect_some(shapes, *faces, any_side))
    sums, surveys = zip(*parts, strict=True)
    survey = jax.tree.map(lambda *x: np.concatenate(x)[: len(points)], *jax.device_get(surveys))
    return jax.tree.map(lambda *x: sum(x), *jax.device_get(sums)), survey


@functools.partial(jax.jit, static_argnames="any_side")
@jax.default_matmul_precision("highest")
def _expect_some(shapes, points, seen, any_side):
    keep = without_rigid_motion(shapes.mean)

    def face(x2d, visible):
        found = _found(shapes, x2d, visible, any_side)
        weights = visible.astype(x2d.dtype)[:, None]
        residual = _beyond(found, shapes.mean, x2d, visible)
        residual = jnp.sum(weights * residual**2) / jnp.sum(weights)
        used = _is_face(found, any_side)
        change = (found.points - shapes.mean).reshape(-1) @ keep
        view = jnp.outer(found.rotation[2], found.rotation[2])
        sums = jax.tree.map(lambda x: jnp.where(used, x, 0), (
            jnp.ones(()), change, jnp.outer(change, change), found.covariance, view))
        return sums, _Survey(used, found.noise, found.rotation, jnp.where(used, residual, 0),
                             _beyond(found, found.points, x2d, visible))

    sums, survey = jax.vmap(face)(points, seen)
    count, change, square, covariance, view = (jnp.sum(x, axis=0) for x in sums)
    return (count, change, square + keep @ covariance @ keep, view), survey


@functools.partial(jax.jit, static_argnames=("mirror", "counts"))
@jax.default_matmul_precision("highest")
def _maximise(shapes, sums, model, mirror, counts):
    """The next Gaussian, and how far the views differ."""
    num_landmarks, size = len(shapes.mean), shapes.mean.size
    count, change, square, view = sums
    count = jnp.maximum(count, 1)  # of no faces, the model is what follows
    change = change / count

    flip = jnp.array([-1.0, 1.0, 1.0])
    view = view / count
    if mirror is not None:  # what is the same on both sides is seen from both at once
        view = (view + flip[:, None] * view * flip) / 2
    values, directions = jnp.linalg.eigh(view)
    spread, unseen = 1 - values[-1], directions[:, -1]

    shift = shapes.mean - model.mean + change.reshape(-1, 3)
    other = shift if mirror is None else shift[jnp.array(mirror)] * flip
    even, odd = (shift + other) / 2, (shift - other) / 2
    shift = count / (count + counts.mean) * even + count / (count + counts.asymmetry) * odd
    flat = shift - (shift @ unseen)[:, None] * unseen
    sees_depth = spread >= _MIN_SPREAD
    mean = model.mean + jnp.where(sees_depth, shift, flat)
    moved = mean - shapes.mean
    rest = change - moved.reshape(-1)
    square = square - count * jnp.outer(change, change) + count * jnp.outer(rest, rest)
    covariance = (counts.covariance * model.covariance + square) / (counts.covariance + count)
    if mirror is not None:
        other_side = jnp.array(mirror)
        covariance = covariance.reshape(num_landmarks, 3, num_landmarks, 3)
        other = flip[:, None, None] * covariance[other_side][:, :, other_side] * flip
        covariance = ((covariance + other) / 2).reshape(size, size)
    covariance = jnp.where(sees_depth, covariance, model.covariance)
    mean = standardize(mean)
    keep = without_rigid_motion(mean)
    return Gaussian(mean, keep @ covariance @ keep), spread
