"""Adaptation: weights that learn where a detector puts its landmarks, from unlabelled faces.

Detectors, annotators and face models differ in where they put "the same" landmark, by more than
networks err. Landmarks of some faces, seen from several directions, tell where: a `Gaussian` over
shapes is fitted to them by expectation and maximisation, and the networks are trained on from where
they stand, on faces drawn from it.
"""

import dataclasses
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
from deepmds_jax.geometry import standardize
from deepmds_jax.lifting import lifting_method
from deepmds_jax.methods.contract import MIN_LANDMARKS, AdaptableMethod
from deepmds_jax.methods.gaussian import Gaussian, infer, without_rigid_motion
from deepmds_jax.training.loop import fit

MIN_FACES = 10
NUM_TURNS = 10
# How many faces the model that the weights were trained on is worth: its mean (where a shift is not
# the same on both sides, as few are, twice as many), and its covariance.
_MEAN_COUNT, _ASYMMETRY_COUNT, _COVARIANCE_COUNT = 5.0, 10.0, 100.0
# Smooth deformations, as `Augmentation.deformation` counts them: how differently another detector
# may put all its landmarks, and how much more than the model its faces differ from each other.
_ELSEWHERE, _BETWEEN_FACES = 1.3, 0.25
_MAX_NOISE = 0.15  # of a face that is still one, in sizes of the face
# Mean square of the sine of the angle between the views and the direction that they show least of;
# 0.004 is a turn of +-6 degrees. Below it depth cannot be learnt.
_MIN_SPREAD = 0.004
_FACES_AT_ONCE = 25


class Learnt(NamedTuple):
    """What unlabelled faces say of the shapes of their kind.

    Attributes:
      before, after: the `Gaussian` that the weights brought, and the one learnt.
      used: (F,) bool, whether the face took part: its landmarks are those of a face.
      noise: (F,) standard deviation of each face's landmarks, in sizes of the face.
      residual_before, residual_after: root-mean-square distance of the landmarks from the posed
        mean shape, over all faces, in sizes of the face.
      spread: how far the views differ, see `sees_depth`.
    """

    before: Gaussian
    after: Gaussian
    used: np.ndarray
    noise: np.ndarray
    residual_before: float
    residual_after: float
    spread: float

    @property
    def sees_depth(self) -> bool:
        """Whether the views differ enough to learn depth from; if not, it was left as it was."""
        return self.spread >= _MIN_SPREAD


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
    points, seen = _as_faces(params, x2d, visible)
    mirror = topologies.get(params.config.topology).mirror
    mirror = None if mirror is None else jnp.asarray(mirror)
    before, start = _priors(params)
    chunks = _chunks(points, seen)
    learnt, spread = start, 0.0
    first = _survey(start, *chunks)
    used = _flat(first.used, len(points))
    if used.sum() < MIN_FACES:
        raise ValueError(f"x2d: expected at least {MIN_FACES} faces to learn from, got "
                         f"{used.sum()} of {len(points)} whose landmarks are those of a face")
    for _ in tqdm(range(NUM_TURNS), "learning shapes", unit="turn", disable=not progress):
        learnt, spread = _turn(learnt, before, *chunks, mirror)
    last = _survey(learnt, *chunks)
    return Learnt(before, learnt, _flat(last.used, len(points)), _flat(last.noise, len(points)),
                  _root_mean(first.residual, first.used), _root_mean(last.residual, last.used),
                  float(spread))


def refine(params: Any, learnt: Learnt, *, seed: int = 0, progress: bool = False) -> Any:
    """The parameters after their networks were trained on, on faces drawn from what was learnt.

    Args:
      params, seed, progress: see `adapt`.
      learnt: from `learn_shapes`.
    """
    method = _adaptable(params)
    key = jax.random.key(seed)

    def fit_stage(stage, variables, *, key, num_epochs, beside=None):
        del beside
        return fit(stage, variables, key=key, num_epochs=num_epochs,
                   devices=jax.local_devices()[:1], progress=progress)

    return method.refine(params, as_dataset(learnt.after, params.config.topology), key, fit_stage)


def as_dataset(shapes: Gaussian, topology: str) -> Dataset:
    """A dataset whose faces are drawn from a Gaussian, in the views of the robust training."""
    values, vectors = jnp.linalg.eigh(shapes.covariance)
    modes = (vectors * jnp.sqrt(jnp.maximum(values, 0))).T.reshape(-1, *shapes.mean.shape)
    model = MorphableModel(shapes.mean, modes, jnp.zeros((0, *shapes.mean.shape)), topology, "size")
    robust = specs.load_spec("ict_robust")
    spec = dataclasses.replace(
        robust, name="adapted", title="faces like the unlabelled ones", expression=False,
        augmentation=robust.augmentation._replace(deformation=0.5, calm=0.0, outline=0.0))
    return Dataset(spec, model, pathlib.Path())


class _Survey(NamedTuple):
    """Per face, in chunks: whether it can be used, its noise, and its squared distance from the
    posed mean."""

    used: jax.Array
    noise: jax.Array
    residual: jax.Array


def _adaptable(params):
    method = lifting_method(params)
    if not isinstance(method, AdaptableMethod):
        raise ValueError(f"params: {method.TITLE} as {method.VARIANT} cannot be adapted")
    if not params.config.num_modes:
        raise ValueError("params: these weights have no modes to start from; an older version "
                         "trained them")
    return method


def _as_faces(params, x2d, visible):
    """(F, N, 2) near the origin and of size 1, and (F, N) what is visible and finite."""
    points = np.array(x2d, np.float64)
    expected = params.reference.shape[0]
    if points.ndim != 3 or points.shape[1:] != (expected, 2):
        raise ValueError(f"x2d: expected (F, {expected}, 2) for topology {params.config.topology}, "
                         f"got {points.shape}")
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


def _chunks(points, seen):
    """The faces, some at once: (C, B, ...), the last chunk filled with faces that show nothing."""
    missing = -len(points) % _FACES_AT_ONCE
    return tuple(
        jnp.asarray(np.pad(x, [(0, missing), *[(0, 0)] * (x.ndim - 1)])).reshape(
            -1, _FACES_AT_ONCE, *x.shape[1:])
        for x in (points, seen))


def _root_mean(squares, used):
    return float(jnp.sqrt(jnp.sum(squares * used) / jnp.sum(used)))


def _flat(values: jax.Array, num_faces: int) -> np.ndarray:
    return np.asarray(values).reshape(-1)[:num_faces]


def _priors(params):
    """The Gaussian of the weights, and the wider one of other detectors' landmarks."""
    mean = params.reference
    modes = params.modes.reshape(len(params.modes), -1)
    basis = deformation_basis(np.asarray(mean))
    smooth = jnp.kron(jnp.einsum("gij,gkj->ik", basis, basis), jnp.eye(3, dtype=mean.dtype))
    keep = without_rigid_motion(mean)

    def widened(amount):
        return Gaussian(mean, keep @ (modes.T @ modes + amount**2 * smooth) @ keep)

    return widened(_BETWEEN_FACES), widened(_ELSEWHERE)


@jax.jit
@jax.default_matmul_precision("highest")
def _survey(shapes, points, seen):
    def face(x2d, visible):
        found = infer(shapes, x2d, visible)
        posed = shapes.mean @ found.rotation.T
        posed = posed[:, :2] / (1 + found.perspective * posed[:, 2:])
        weights = visible.astype(x2d.dtype)[:, None]
        posed = posed - jnp.sum(weights * posed, axis=0) / jnp.sum(weights)
        near = x2d - jnp.sum(weights * x2d, axis=0) / jnp.sum(weights)
        scale = jnp.sum(weights * posed * near) / jnp.sum(weights * near**2)
        beyond = jnp.sum(weights * (scale * near - posed) ** 2) / jnp.sum(weights)
        used = _is_face(found)
        return _Survey(used, found.noise, jnp.where(used, beyond, 0))

    return jax.lax.map(lambda chunk: jax.vmap(face)(*chunk), (points, seen))


def _is_face(found):
    """Whether landmarks are those of a face: finite, seen from the front, near its shapes."""
    finite = jnp.all(jnp.isfinite(found.points)) & jnp.all(jnp.isfinite(found.covariance))
    return finite & (found.rotation[2, 2] > 0) & (found.noise < _MAX_NOISE)


@jax.jit
@jax.default_matmul_precision("highest")
def _turn(shapes, model, points, seen, mirror):
    """One expectation and maximisation: the next Gaussian, and how far the views differ."""
    num_landmarks = len(shapes.mean)
    keep = without_rigid_motion(shapes.mean)

    def face(x2d, visible):
        found = infer(shapes, x2d, visible)
        used = _is_face(found)
        change = (found.points - shapes.mean).reshape(-1) @ keep
        view = jnp.outer(found.rotation[2], found.rotation[2])
        return jax.tree.map(lambda x: jnp.where(used, x, 0), (
            jnp.ones(()), change, jnp.outer(change, change), found.covariance, view))

    def chunk(total, faces):
        found = jax.vmap(face)(*faces)
        return jax.tree.map(lambda t, x: t + jnp.sum(x, axis=0), total, found), None

    size = shapes.mean.size
    square = jnp.zeros((size, size))
    zeros = jnp.zeros(()), jnp.zeros(size), square, square, jnp.zeros((3, 3))
    sums, _ = jax.lax.scan(chunk, zeros, (points, seen))
    count, change, square, covariance, view = sums
    square += keep @ covariance @ keep
    change = change / count

    flip = jnp.array([-1.0, 1.0, 1.0])
    view = view / count
    if mirror is not None:  # what is the same on both sides is seen from both at once
        view = (view + flip[:, None] * view * flip) / 2
    values, directions = jnp.linalg.eigh(view)
    spread, unseen = 1 - values[-1], directions[:, -1]

    shift = shapes.mean - model.mean + change.reshape(-1, 3)
    other = shift if mirror is None else shift[mirror] * flip
    even, odd = (shift + other) / 2, (shift - other) / 2
    shift = count / (count + _MEAN_COUNT) * even + count / (count + _ASYMMETRY_COUNT) * odd
    flat = shift - (shift @ unseen)[:, None] * unseen
    sees_depth = spread >= _MIN_SPREAD
    mean = model.mean + jnp.where(sees_depth, shift, flat)
    moved = mean - shapes.mean
    rest = change - moved.reshape(-1)
    square = square - count * jnp.outer(change, change) + count * jnp.outer(rest, rest)
    covariance = (_COVARIANCE_COUNT * model.covariance + square) / (_COVARIANCE_COUNT + count)
    if mirror is not None:
        covariance = covariance.reshape(num_landmarks, 3, num_landmarks, 3)
        other = flip[:, None, None] * covariance[mirror][:, :, mirror] * flip
        covariance = ((covariance + other) / 2).reshape(size, size)
    covariance = jnp.where(sees_depth, covariance, model.covariance)
    mean = standardize(mean)
    keep = without_rigid_motion(mean)
    return Gaussian(mean, keep @ covariance @ keep), spread
