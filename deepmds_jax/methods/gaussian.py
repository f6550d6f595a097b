"""The best linear estimate: a Gaussian over landmark shapes, and what it says of a face.

It keeps trained networks honest. Where one of them does not beat it, it has learnt nothing that the
mean and the covariance of its training faces do not say.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, solve_triangular

from deepmds_jax.data.augmentation import varied_shapes
from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.morphable_model import MorphableModel
from deepmds_jax.data.views import Faces
from deepmds_jax.geometry import (
    affine_rotation,
    nearest_orthogonal,
    procrustes,
    standardize,
)
from deepmds_jax.geometry.similarity import rigid_changes
from deepmds_jax.methods.arguments import refuse_argument
from deepmds_jax.methods.contract import Method
from deepmds_jax.programs import one_program

_NUM_SHAPES = 10_000  # drawn for the mean and the covariance of a dataset
_NUM_ITERS = 10
_RIGID_DEVIATION = 1.0  # of moves, turns and changes of size, in sizes of the face: anything goes
_PERSPECTIVE, _PERSPECTIVE_DEVIATION, _MAX_PERSPECTIVE = 0.1, 0.15, 0.45
_MIN_SHRINK = 0.2  # nothing lies nearer to the camera than a fifth of the face's distance
# Of a detector of which nothing is known, in sizes of the face; and how many coordinates of a face
# what is known of its noise beforehand is worth.
_NOISE, _NOISE_COUNT = 0.025, 6.0
_MIN_NOISE, _MAX_NOISE = 0.002, 0.3
_TAIL = 6.0  # degrees of freedom of Student's t: outliers count less
_HIDDEN_VARIANCE = 1e4


class Gaussian(NamedTuple):
    """Shapes of faces: their mean and covariance, without differences of place, turn and size.

    Attributes:
      mean: (N, 3) head frame, centred, root-mean-square distance to the centroid 1.
      covariance: (3 N, 3 N) of the coordinates, landmark after landmark, x, y, z.
      noise: () standard deviation of image points that a face is expected to have, in sizes of the
        face. Each face has its own, near it.
    """

    mean: jax.Array
    covariance: jax.Array
    noise: jax.Array | float = _NOISE


class Posterior(NamedTuple):
    """What a `Gaussian` says of one face. Units are sizes of the mean face.

    Attributes:
      points: (N, 3) expected shape, head frame, aligned to the mean.
      covariance: (3 N, 3 N) of the shape, with the uncertainty of place, turn and size in it.
      score, information: (3 N,) and (3 N, 3 N) what the image says of the mean shape: derivative of
        the log density of the image by it, and its expected negative second derivative.
      rotation: (3, 3) proper; turns head-frame column vectors into the camera frame.
      perspective: () one over the distance of the camera.
      noise: () standard deviation of the image points.
      trust: (N,) weight of each landmark: about 1, less for outliers, 0 where not visible.
      evidence: () log density of the image points under the `Gaussian`, near this pose and noise,
        but for a constant that depends on the landmarks seen. It says which of several poses it is.
    """

    points: jax.Array
    covariance: jax.Array
    score: jax.Array
    information: jax.Array
    rotation: jax.Array
    perspective: jax.Array
    noise: jax.Array
    trust: jax.Array
    evidence: jax.Array


class _State(NamedTuple):
    points: jax.Array
    rotation: jax.Array
    scale: jax.Array  # of the image
    shift: jax.Array  # (2,) of the image, in units of the shape
    perspective: jax.Array
    noise: jax.Array
    trust: jax.Array


@jax.default_matmul_precision("highest")
def fit_gaussian(points: jax.Array) -> Gaussian:
    """The `Gaussian` of (F, N, 3) shapes, aligned to their mean by generalised Procrustes.

    Source: Gower (1975), "Generalized Procrustes analysis", Psychometrika 40:33; the tangent space
    at the mean: Dryden & Mardia (2016), Statistical Shape Analysis, section 4.4.
    """
    points = standardize(points)
    mean = standardize(jnp.mean(points, axis=0))
    for _ in range(3):
        points = procrustes(points, mean)(points)
        mean = standardize(jnp.mean(points, axis=0))
    changes = (points - mean).reshape(len(points), -1)
    keep = without_rigid_motion(mean)
    changes = changes @ keep
    return Gaussian(mean, changes.T @ changes / len(points))


@one_program
def rigid_motions(mean: jax.Array) -> jax.Array:
    """Orthonormal (7, 3 N) changes of a shape that move, turn or scale it."""
    return jnp.linalg.qr(rigid_changes(mean).reshape(7, -1).T)[0].T


@one_program
def without_rigid_motion(mean: jax.Array) -> jax.Array:
    """(3 N, 3 N) projection of changes of a shape onto those that change it itself."""
    motions = rigid_motions(mean)
    return jnp.eye(mean.size, dtype=mean.dtype) - motions.T @ motions


def of_dataset(dataset: Dataset) -> Gaussian:
    """The Gaussian of a dataset's training faces, deformed as its augmentation says."""
    draw_key, deform_key = jax.random.split(jax.random.key(0))
    points = dataset.draw_shapes(draw_key, _NUM_SHAPES)
    points = varied_shapes(deform_key, points, dataset.mean, dataset.spec.augmentation,
                           dataset.topology)
    return fit_gaussian(points)


def gaussian(prior: Gaussian) -> Method:
    """The expected shape under a `Gaussian`, see `infer`. The points are in the head frame."""

    def predict(faces: Faces) -> jax.Array:
        seen = faces.visible
        seen = jnp.ones(faces.x2d.shape[:-1], bool) if seen is None else seen
        return jax.vmap(lambda x2d, v: infer(prior, x2d, v).points)(faces.x2d, seen)

    return Method("Gaussian", predict, 0)


def load(argument: str, dataset: Dataset, reference: Dataset) -> Method:
    """The loader of `gaussian`: the mean and covariance of the reference's training faces."""
    del dataset
    refuse_argument("gaussian", argument)
    model = reference.source
    if isinstance(model, MorphableModel) and not len(model.identity):
        raise ValueError(f"gaussian: {reference.spec.name} have a mean, but no modes")
    return gaussian(of_dataset(reference))


@jax.default_matmul_precision("highest")
def infer(
    prior: Gaussian, x2d: jax.Array, visible: jax.Array, rotation: jax.Array | None = None
) -> Posterior:
    """The shape, pose, perspective and noise of one face. Pure; batches by vmap.

    Gauss-Newton steps for the mode of shape, pose and perspective together: a projection is linear
    in all of them near the current ones, and moves, turns and changes of size are part of the
    Gaussian, with a deviation that allows any. So the covariance knows how uncertain the pose is.
    The noise is that of this face, learnt by expectation and maximisation beside the steps, with
    Student's t for outliers.

    Args:
      prior: of the shapes.
      x2d: (N, 2) image points, x right and y down, any unit and origin.
      visible: (N,) bool; what is not visible may hold anything.
      rotation: (3, 3) to start from, as `Posterior` has it; that of an affine camera by default.

    Returns:
      The `Posterior`; NaN where visible landmarks are not finite or all equal.

    Source: Bell & Cathey (1993), "The iterated Kalman filter update as a Gauss-Newton method", IEEE
    Trans. Automatic Control 38:294; EM for the t distribution: Lange, Little & Taylor (1989), JASA
    84:881.
    """
    num_landmarks = len(prior.mean)
    mean = prior.mean.reshape(-1)
    motions = rigid_motions(prior.mean)
    covariance = prior.covariance + _RIGID_DEVIATION**2 * motions.T @ motions
    seen = visible.astype(x2d.dtype)
    known = jnp.where(visible[:, None], x2d, 0)
    image = jnp.where(visible[:, None], x2d - jnp.sum(known, axis=0) / jnp.sum(seen), 0)
    image = image / jnp.sqrt(jnp.sum(image**2) / jnp.sum(seen))

    def update(state):
        """The linear update at a state: its factors, gain and what the image shows beyond it."""
        seen_points, by_shape, by_perspective = _projected(state)
        by_perspective = by_perspective.reshape(-1)
        blocks = covariance.reshape(num_landmarks, 3, -1)
        shape_by_image = jnp.einsum("nab,nbk->nak", by_shape, blocks)  # (N, 2, 3 N)
        image_covariance = jnp.einsum(
            "namd,mcd->namc", shape_by_image.reshape(num_landmarks, 2, -1, 3), by_shape
        ).reshape(2 * num_landmarks, -1)
        variance = jnp.where(state.trust > 0, state.noise**2 / jnp.maximum(state.trust, 1e-6),
                             _HIDDEN_VARIANCE)
        variance = jnp.repeat(variance, 2)
        image_covariance += _PERSPECTIVE_DEVIATION**2 * jnp.outer(by_perspective, by_perspective)
        factor = jnp.linalg.cholesky(image_covariance + jnp.diag(variance),
                                     symmetrize_input=False)
        beyond = image / state.scale - state.shift - seen_points
        beyond += jnp.einsum("nab,nb->na", by_shape, state.points - prior.mean)
        beyond = beyond.reshape(-1) + by_perspective * (state.perspective - _PERSPECTIVE)
        return factor, by_shape, by_perspective, variance, beyond

    def step(state, _):
        factor, by_shape, by_perspective, variance, beyond = update(state)
        pull = cho_solve((factor, True), beyond)
        points = jnp.einsum("nab,na->nb", by_shape, pull.reshape(-1, 2)).reshape(-1)
        points = (mean + covariance @ points).reshape(-1, 3)
        perspective = _PERSPECTIVE + _PERSPECTIVE_DEVIATION**2 * by_perspective @ pull
        perspective = jnp.clip(perspective, 0, _MAX_PERSPECTIVE)
        inverse = solve_triangular(factor, jnp.eye(len(factor), dtype=factor.dtype), lower=True)
        left = (variance * pull) ** 2 + variance - variance**2 * jnp.sum(inverse**2, axis=0)
        left = jnp.sum(left.reshape(-1, 2), axis=1)  # expected square of each landmark's error
        trust = jnp.where(visible, (_TAIL + 2) / (_TAIL + left / state.noise**2), 0)
        noise = (_NOISE_COUNT * prior.noise**2 + jnp.sum(trust * left)) / (
            _NOISE_COUNT + 2 * jnp.sum(seen))
        noise = jnp.clip(jnp.sqrt(noise), _MIN_NOISE, _MAX_NOISE)
        state = state._replace(perspective=perspective, noise=noise, trust=trust)
        return _aligned(prior.mean, state, points, image), None

    if rotation is None:
        rotation = affine_rotation(prior.mean, image, seen / jnp.sum(seen))
    posed = (prior.mean @ rotation.T)[:, :2]
    posed = posed - seen @ posed / jnp.sum(seen)
    scale = jnp.sum(seen[:, None] * posed * image) / jnp.sum(seen[:, None] * posed**2)
    zero = jnp.zeros((), image.dtype)
    shift = jnp.zeros(2, image.dtype)
    state = _State(prior.mean, rotation, scale, shift, zero, zero + _NOISE, seen)
    state, _ = jax.lax.scan(step, state, None, length=_NUM_ITERS)
    factor, by_shape, _, _, beyond = update(state)
    each = jnp.eye(num_landmarks, dtype=image.dtype)
    image_by_shape = jnp.einsum("nm,nab->namb", each, by_shape).reshape(2 * num_landmarks, -1)
    seen_shape = solve_triangular(factor, image_by_shape, lower=True)
    explained = seen_shape @ covariance
    surprise = solve_triangular(factor, beyond, lower=True)
    # The density is that of the image, the same for all poses: not in units of this shape.
    evidence = -jnp.sum(surprise**2) / 2 - jnp.sum(jnp.log(jnp.diag(factor)))
    evidence = evidence - 2 * jnp.sum(seen) * jnp.log(jnp.abs(state.scale))
    return Posterior(state.points, covariance - explained.T @ explained, seen_shape.T @ surprise,
                     seen_shape.T @ seen_shape, state.rotation, state.perspective, state.noise,
                     state.trust, evidence)


def _projected(state):
    """Image points (N, 2) of a state, with their derivatives by shape and by perspective."""
    posed = state.points @ state.rotation.T
    shrink = jnp.maximum(1 + state.perspective * posed[:, 2:], _MIN_SHRINK)
    seen = posed[:, :2] / shrink
    by_shape = state.rotation[:2] - state.perspective * seen[:, :, None] * state.rotation[2]
    return seen, by_shape / shrink[..., None], -posed[:, 2:] * seen / shrink


def _aligned(mean, state, points, image):
    """The state of the same points in the camera, with the shape itself aligned to the mean."""
    middle = jnp.mean(points, axis=0)
    centred = points - middle
    product = mean.T @ centred
    turn = nearest_orthogonal(product, reflection=False)
    size = jnp.sum(product * turn) / jnp.sum(centred**2)
    points, rotation = size * centred @ turn.T, state.rotation @ turn.T
    nearer = jnp.maximum(1 + state.perspective * (state.rotation[2] @ middle), _MIN_SHRINK)
    perspective = jnp.clip(state.perspective / (size * nearer), 0, _MAX_PERSPECTIVE)
    scale = state.scale / (size * nearer)
    state = state._replace(points=points, rotation=rotation, perspective=perspective, scale=scale)
    seen, *_ = _projected(state)
    weights = state.trust[:, None]
    shift = jnp.sum(weights * (image / scale - seen), axis=0) / jnp.sum(weights)
    return state._replace(shift=shift)
