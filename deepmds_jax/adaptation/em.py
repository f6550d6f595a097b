"""Expectation and maximisation: the Gaussian over shapes that unlabelled landmarks are of.

Source: Torresani, Hertzmann & Bregler (2008), "Nonrigid structure-from-motion: estimating shape and
motion with hierarchical priors", IEEE PAMI 30(5).
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deepmds_jax.geometry import likely_rotations, standardize
from deepmds_jax.geometry.similarity import rigid_changes
from deepmds_jax.methods.gaussian import Gaussian, Posterior, infer, without_rigid_motion

MIN_FACES = 10
# Mean square of the sine of the angle between the views and the direction that they show least of;
# yaw evenly within 10 degrees to either side has 0.01. Below it depth cannot be learnt: faces that
# are all seen from the front seem to have up to 0.008, of another detector and with much noise.
MIN_SPREAD = 0.009
_MAX_NOISE = 0.15  # of a face that is still one, in sizes of the face
_FACES_AT_ONCE = 25
_MEAN_WORTH = 2.0  # things, where they may be seen from any side
# Faces of one detector, and of one model, differ from ours in the same ways: of their mean five say
# as much as one would if all that they differ in were known.
_COUNTS = 0.2
_LOST = 1.0  # error of a hidden landmark where nothing can be said of the thing


class Kind(NamedTuple):
    """What is known beforehand of the things to learn.

    Attributes:
      model: their mean and covariance as far as known, the latter worth `worth` things.
      shift: (3 N, 3 N) covariance of how far their mean may lie from the model's.
      worth: see `model`.
      mirror: partners of the landmarks in a mirror, if they have some.
      any_side: whether they may be seen from any side.
    """

    model: Gaussian
    shift: jax.Array
    worth: float
    mirror: tuple[int, ...] | None
    any_side: bool


class _Sums(NamedTuple):
    """Sums over the faces that are used, without rigid motions.

    Attributes:
      count: () how many.
      change: (3 N,) expected shapes less the mean.
      square: (3 N, 3 N) expected squares of the same.
      score, information: of the mean, see `Posterior`.
      view: (3, 3) squares of the directions that they are seen from, less those of their errors.
    """

    count: Any
    change: Any
    square: Any
    score: Any
    information: Any
    view: Any


class _Survey(NamedTuple):
    """What is known of F faces under a Gaussian.

    Attributes:
      used: (F,) bool, whether they are faces that can be learnt from.
      noise: (F,) of their landmarks.
      rotation: (F, 3, 3).
      residual: (F,) mean squared distance of the landmarks from the posed mean, outliers less.
      beyond: (F, N, 2) image points less those of the expected shape, hidden ones too.
    """

    used: Any
    noise: Any
    rotation: Any
    residual: Any
    beyond: Any


class Learnt(NamedTuple):
    """What unlabelled faces say of the shapes of their kind.

    Attributes:
      before, after: the `Gaussian` that the weights or the template brought, and the one learnt;
        both with what is not known of the mean in their covariance.
      used: (F,) bool, whether the face took part: its landmarks are those of a face.
      noise: (F,) standard deviation of each face's landmarks, in sizes of the face.
      rotation: (F, 3, 3) of each face, as `Posterior` has it.
      residual_before, residual_after: root-mean-square distance of the landmarks from the posed
        mean shape, over all faces, in sizes of the face; outliers count less.
      spread: how far the views differ: mean square of the sine of their angle to the direction
        that they show least of; see `sees_depth`.
      hidden: from a template only: mean distance in the image of hidden landmarks from where the
        others say that they are, in sizes of the face, as `before` says it, and as said by what
        was learnt from other faces; None where there was nothing to compare.
      min_spread: least spread that depth can be learnt from.
      share: how much of the variance of the mean, as it was known before, the faces took away: from
        0, nothing is known of it yet, to 1.
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
    min_spread: float = MIN_SPREAD
    share: float = 1.0

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


def fit_shapes(
    kind: Kind,
    start: Gaussian,
    points: np.ndarray,
    seen: np.ndarray,
    num_turns: int,
    bar: Callable[[Iterable, str], Iterable],
    min_faces: int = MIN_FACES,
) -> Learnt:
    """Expectation and maximisation from a start on.

    Args:
      kind: what is known of the faces.
      start: the first Gaussian.
      points: (F, N, 2) float32 image points near the origin, of size 1, finite.
      seen: (F, N) bool, which of them are known.
      num_turns: of both steps.
      bar: shows something to go through as a progress bar with a title.
      min_faces: with fewer to learn from it raises ValueError.
    """
    learnt, shapes, spread, share, first = start, kind.model, 0.0, 0.0, None
    for _ in bar(range(num_turns), "learning shapes"):
        # Faces that may lie as far from the mean as is not known of it pull it less: where views
        # are too much alike to tell it from their pose, turn after turn would distort it.
        expected = shapes if kind.any_side and first is not None else learnt
        sums, survey = _expect(expected, points, seen, kind.any_side)
        if first is None:
            first = survey
            if survey.used.sum() < min_faces:
                why = (" whose landmarks are those of a face; bin/reconstruct says what is wrong "
                       "with the others") if not survey.used.all() else ""
                raise ValueError(f"x2d: expected at least {MIN_FACES} faces to learn from, got "
                                 f"{survey.used.sum()} of {len(points)}{why}")
            if start is not kind.model:  # what all share is not told from what they differ in yet
                together = np.outer(sums.change, sums.change) / sums.count
                sums = sums._replace(square=sums.count * kind.model.covariance + together)
        shapes, learnt, spread, share = _maximise(kind, start, shapes, sums)
        # Noise that is expected, but not there, would take from what the shapes differ in. From a
        # template on the two are not told apart: bodies came out worse.
        if survey.used.any() and not kind.any_side:
            noise = float(np.median(survey.noise[survey.used]))
            shapes, learnt = shapes._replace(noise=noise), learnt._replace(noise=noise)
    assert first is not None
    _, last = _expect(learnt, points, seen, kind.any_side)
    return Learnt(start, learnt, last.used, last.noise, last.rotation, _root_mean(first),
                  _root_mean(last), spread, share=share)


def _root_mean(survey):
    return float(np.sqrt(survey.residual.sum() / survey.used.sum()))


def hidden_errors(
    shapes: Gaussian, points: np.ndarray, seen: np.ndarray, hidden: np.ndarray
) -> np.ndarray:
    """Distances (K,) of hidden landmarks from where the others say that they are."""
    _, survey = _expect(shapes, points, seen & ~hidden, any_side=True)
    distance = np.linalg.norm(survey.beyond, axis=-1)
    return np.nan_to_num(distance[hidden], nan=_LOST)


def infer_likeliest(
    shapes: Gaussian, x2d: jax.Array, visible: jax.Array, any_side: bool
) -> Posterior:
    """What the Gaussian says of a thing, in the pose that is likeliest."""
    if not any_side:
        return infer(shapes, x2d, visible)
    starts = likely_rotations(shapes.mean, x2d, visible)
    found = jax.vmap(lambda rotation: infer(shapes, x2d, visible, rotation))(starts)
    best = jnp.argmax(jnp.nan_to_num(found.evidence, nan=-jnp.inf))
    return jax.tree.map(lambda x: x[best], found)


def _beyond(found, shape, x2d, weights):
    """(N, 2) image points less those of a shape in the pose found, in sizes of the shape.

    Place and size in the image are those of the landmarks, by (N, 1) weights.
    """
    posed = shape @ found.rotation.T
    posed = posed[:, :2] / (1 + found.perspective * posed[:, 2:])
    posed = posed - jnp.sum(weights * posed, axis=0) / jnp.sum(weights)
    near = x2d - jnp.sum(weights * x2d, axis=0) / jnp.sum(weights)
    scale = jnp.sum(weights * posed * near) / jnp.sum(weights * near**2)
    return scale * near - posed


def _is_face(found, any_side):
    """Whether landmarks are those of a face: finite, seen from the front, near its shapes."""
    finite = jnp.all(jnp.isfinite(found.points)) & jnp.all(jnp.isfinite(found.covariance))
    return finite & ((found.rotation[2, 2] > 0) | any_side) & (found.noise < _MAX_NOISE)


def _scatter(shapes, found):
    """(3, 3) covariance of the direction that a face is found to be seen from, about the true one.

    What turns a shape by little is a part of its covariance.
    """
    turns = rigid_changes(shapes.mean)[3:6].reshape(3, -1)
    turns = jnp.linalg.solve(turns @ turns.T, turns)
    across = jnp.cross(found.rotation[2], turns, axis=0)
    return across @ found.covariance @ across.T


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
    def face(x2d, visible):
        found = infer_likeliest(shapes, x2d, visible, any_side)
        trust = found.trust[:, None]
        residual = _beyond(found, shapes.mean, x2d, trust)
        residual = jnp.sum(trust * residual**2) / jnp.sum(trust)
        used = _is_face(found, any_side)
        change = (found.points - shapes.mean).reshape(-1)
        view = jnp.outer(found.rotation[2], found.rotation[2]) - _scatter(shapes, found)
        square = jnp.outer(change, change) + found.covariance
        sums = jax.tree.map(lambda x: jnp.where(used, x, 0), _Sums(
            jnp.ones(()), change, square, found.score, found.information, view))
        return sums, _Survey(used, found.noise, found.rotation, jnp.where(used, residual, 0),
                             _beyond(found, found.points, x2d, visible[:, None]))

    sums, survey = jax.vmap(face)(points, seen)
    count, change, square, score, information, view = (jnp.sum(x, axis=0) for x in sums)
    keep = without_rigid_motion(shapes.mean)
    return _Sums(count, keep @ change, keep @ square @ keep, keep @ score,
                 keep @ information @ keep, view), survey


def _maximise(kind, start, shapes, sums):
    """The next shapes as `_expect` takes them; with what is not known of their mean; spread, share.

    The mean is that of one problem, in which each face differs from it and is seen with noise. What
    the views do not show of it stays as likely as it was, so that few faces, or faces from few
    sides, do not teach more than they know. Where poses are nearly known this is a Newton step;
    where they may be from any side, the shorter one of EM, which does not go too far. In float64:
    the information of many faces outweighs what is known beforehand by far.
    """
    sums = jax.tree.map(lambda x: np.asarray(x, np.float64), sums)
    model, known = (np.asarray(x, np.float64) for x in (kind.model.mean, kind.shift))
    num_landmarks, size = len(model), model.size
    count = max(float(sums.count), 1.0)  # of no faces, the model is what follows

    flip = np.array([-1.0, 1.0, 1.0])
    view = sums.view / count
    if kind.any_side and kind.mirror is not None:  # both sides, which are the same, are seen then
        view = (view + flip[:, None] * view * flip) / 2
    values, directions = np.linalg.eigh(view)
    spread, unseen = float(max(np.sum(values[:-1]), 0)), directions[:, -1]
    sees_depth, everything = spread >= MIN_SPREAD, np.trace(known)
    free = np.eye(3) if sees_depth else np.eye(3) - np.outer(unseen, unseen)
    free = np.kron(np.eye(num_landmarks), free)
    known = free @ known @ free

    moved = np.asarray(shapes.mean - kind.model.mean, np.float64).reshape(-1)
    change = sums.change / count

    def left(information):
        return np.linalg.solve(np.eye(size) + known @ information, known)

    if kind.any_side:
        uncertain = left(sums.information)
        moved = count / (count + _MEAN_WORTH) * free @ (moved + change)
    else:
        uncertain = left(_COUNTS * sums.information)
        moved = uncertain @ (_COUNTS * (sums.information @ moved + sums.score))
    moved = moved.reshape(-1, 3)
    covariance = sums.square - count * np.outer(change, change)
    covariance = (kind.worth * kind.model.covariance + covariance) / (kind.worth + count)
    if kind.mirror is not None:
        other_side = np.array(kind.mirror)
        covariance = covariance.reshape(num_landmarks, 3, num_landmarks, 3)
        other = flip[:, None, None] * covariance[other_side][:, :, other_side] * flip
        covariance = ((covariance + other) / 2).reshape(size, size)
    share = float(np.trace(known - left(sums.information)) / everything)
    mean = standardize(jnp.asarray(model + moved, kind.model.mean.dtype))
    if not sees_depth:
        return (Gaussian(mean, kind.model.covariance), Gaussian(mean, start.covariance), spread,
                share)
    keep = without_rigid_motion(mean)
    wider = covariance + (uncertain + uncertain.T) / 2
    shapes, learnt = (Gaussian(mean, keep @ jnp.asarray(x, mean.dtype) @ keep)
                      for x in (covariance, wider))
    return shapes, learnt, spread, share
