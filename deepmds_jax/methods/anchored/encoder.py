"""The shape encoder: from 2D landmarks in any pose to a proposal of their 3D shape and its view."""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from deepmds_jax.geometry import affine_rotation, rotation_from_vector, turn_in_image
from deepmds_jax.loops import alike

RANK = 52  # shape modes
WIDTH = 64  # of the dense layer
NUM_ROUNDS = 5
_MAX_PERSPECTIVE = 0.45  # the nearest camera is 2.2 face sizes (10 cm) away
# Bounds that no face comes near; they keep the answer finite where the landmarks are not a face's.
_MIN_CORRELATION = 0.3  # of image and projection
_MIN_SHRINK = 0.2
_MAX_RESIDUAL = 1.0
_MAX_COEFFICIENT = 8.0  # standard deviations, where training starts
_MAX_MOVE = 1.0
_LOG_FACTOR = (-4.0, 2.0)  # of what a round moves single landmarks by
# Where training starts, in sizes of the face: how far moves spread; how near to a landmark the
# mirror image of another one is its own.
_LENGTHS = (0.3, 0.05)
_NUM_FIELDS = 4  # of moves, see `ShapeEncoder`


class Proposal(NamedTuple):
    """What the encoder finds; (...) are the leading axes of the landmarks.

    All points are in the unit of the mean shape (root-mean-square distance to the centroid 1) and,
    but for `shape`, in the upright camera frame: x right, y down, z away from the viewer, turned
    in the image so that the head's roll is 0.

    Attributes:
      shape: (..., N, 3) head frame.
      points: (..., N, 3) the shape as it is seen.
      observed: (..., N, 2) x and y that the image shows, freed from perspective by the depths of
        `points`.
      residual: (..., N, 2) image points less the projected shape; 0 where not visible.
      rotation: (..., 3, 3) proper; turns head-frame column vectors into the upright camera frame.
      roll: (..., 2, 2) turns image column vectors upright.
      perspective: (...) one over the distance of the camera.
      context: (..., WIDTH) the encoder's summary of the face.
    """

    shape: jax.Array
    points: jax.Array
    observed: jax.Array
    residual: jax.Array
    rotation: jax.Array
    roll: jax.Array
    perspective: jax.Array
    context: jax.Array


class ShapeEncoder(nn.Module):
    """Fits a learnt shape model and a perspective view by learnt steps.

    A shape is the mean, a sum of modes, and moves of the single landmarks. It starts at the mean,
    in the pose of an affine camera. Every round projects the current shape; what the image shows
    beyond it is the gradient of the squared residual with respect to coefficients, moves, rotation
    and perspective. A small network, the same in all rounds, turns it and the current state into
    the next step; scale and translation follow by least squares. Turning, scaling and shifting the
    landmarks in the image changes only the view.

    Landmarks move along their gradient, along that of their mirror image, and along both, smoothed
    over the face: four fields, as a Gaussian process over the mean face and its mirror image has
    them. The two sides of a turned face show two views of a symmetric one, so these moves have
    depth. The network says how far each field moves them: noise has little of a smooth part and
    little in common with its mirror image, which the products of the fields with the gradient tell.

    That the network sees the residual only through modes and fields saves the numbers of a layer of
    its own, and lets it do better on faces unlike those of its training.

    Called on x2d (..., N, 2), finite, and visible (..., N), 1 where a landmark is seen and 0 where
    it is missing; returns a `Proposal`.

    Source: ours. Learnt steps of shape: Xiong & De la Torre (2013), "Supervised descent method";
    steps learnt from gradients: Adler & Oktem (2017), "Solving ill-posed inverse problems using
    iterative deep neural networks", Inverse Problems 33:124007.

    Attributes:
      num_landmarks: N; 22,610 parameters for 68, of which 204 are the mean shape.
    """

    num_landmarks: int

    @nn.compact
    def __call__(self, x2d: jax.Array, visible: jax.Array) -> Proposal:
        size = 3 * self.num_landmarks
        mean = self.param("mean", nn.initializers.zeros, (self.num_landmarks, 3))
        modes = self.param("modes", nn.initializers.normal(0.05), (RANK, size))
        gains = self.param("gains", nn.initializers.zeros, (NUM_ROUNDS, RANK))
        reach = self.param("reach", nn.initializers.zeros, (NUM_ROUNDS, _NUM_FIELDS))
        near, same = jnp.exp(self.param("lengths", _log_lengths, (2,)))
        across = jnp.array([-1, 1, 1], x2d.dtype)
        smoothing, mirroring = _kernel(mean, mean, near), _kernel(mean, across * mean, same)
        # One product makes all fields but the first; the mirrored ones change the sign of x.
        kernels = jnp.concatenate([mirroring, smoothing, mirroring @ smoothing], axis=-1)
        signs = jnp.stack([across, jnp.ones_like(across), across], axis=-1)

        batch = x2d.shape[:-2]
        weights = (visible / jnp.sum(visible, axis=-1, keepdims=True))[..., None]
        rotation = affine_rotation(mean, x2d, weights[..., 0])
        roll = upright(rotation)
        rotation = turn_in_image(roll, rotation)
        image = x2d @ roll.mT
        image = image - jnp.sum(weights * image, axis=-2, keepdims=True)
        image_size = jnp.sqrt(jnp.sum(weights * image**2, axis=(-2, -1), keepdims=True))

        def project(coefficients, moves, rotation, perspective):
            """The shape in its view, and what the image shows beyond it."""
            shape = mean + (coefficients @ modes).reshape(*batch, -1, 3) + moves
            points = shape @ rotation.mT
            shrink = 1 + perspective[..., None, None] * points[..., 2:]
            shrink = jnp.maximum(shrink, _MIN_SHRINK)
            seen = points[..., :2] / shrink
            middle = jnp.sum(weights * seen, axis=-2, keepdims=True)
            projected = seen - middle
            square = jnp.sum(weights * projected**2, axis=(-2, -1), keepdims=True) + 1e-12
            scale = jnp.sum(weights * projected * image, axis=(-2, -1), keepdims=True) / square
            scale = jnp.maximum(scale, _MIN_CORRELATION * image_size / jnp.sqrt(square))
            residual = jnp.clip(image / scale - projected, -_MAX_RESIDUAL, _MAX_RESIDUAL)
            residual = residual * visible[..., None]
            return shape, points, seen, shrink, middle, scale, residual

        def advance(module, state, of_round):
            """One round: the next shape and view, and the context it was chosen in."""
            del module
            gain, lengths = of_round
            (coefficients, moves, rotation, perspective), _ = state
            _, points, seen, shrink, _, _, residual = project(*state[0])
            pull = residual / shrink
            away = -perspective[..., None] * jnp.sum(seen * pull, axis=-1)
            pull = jnp.concatenate([pull, away[..., None]], axis=-1)  # in the camera frame
            by_landmark = pull @ rotation
            by_shape = by_landmark.reshape(*batch, size) @ modes.mT
            own = by_landmark.mT
            others = (own @ kernels).reshape(*batch, 3, _NUM_FIELDS - 1, -1) * signs[..., None]
            agreement = jnp.sum(others * own[..., None, :], axis=(-3, -1))
            agreement /= jnp.sum(by_landmark**2, axis=(-2, -1))[..., None] + 1e-6
            by_turn = jnp.mean(jnp.cross(points, pull), axis=-2)
            by_perspective = -jnp.mean(points[..., 2:] * seen * pull[..., :2], axis=(-2, -1))
            spread = jnp.sqrt(jnp.sum(weights * residual**2, axis=(-2, -1)) + 1e-8)[..., None]
            inputs = [
                3 * by_shape, coefficients, rotation[..., 2, :], 10 * by_turn,
                20 * by_perspective[..., None], 5 * perspective[..., None], 10 * spread,
                jnp.log(spread), 0.3 * agreement, jnp.mean(visible, axis=-1, keepdims=True),
            ]
            hidden = nn.Dense(WIDTH, name="hidden")
            context = nn.gelu(hidden(jnp.concatenate(inputs, axis=-1)))
            num_steps = RANK + 4 + _NUM_FIELDS
            step = nn.Dense(num_steps, kernel_init=nn.initializers.normal(0.015), name="step")
            change = step(context)
            coefficients = coefficients + change[..., :RANK] + gain * by_shape
            coefficients = jnp.clip(coefficients, -_MAX_COEFFICIENT, _MAX_COEFFICIENT)
            rotation = rotation_from_vector(0.3 * change[..., RANK : RANK + 3]) @ rotation
            perspective = perspective + 0.2 * change[..., RANK + 3]
            perspective = jnp.clip(perspective, 0, _MAX_PERSPECTIVE)
            lengths = lengths * jnp.exp(jnp.clip(change[..., RANK + 4 :], *_LOG_FACTOR))
            fields = jnp.concatenate([own[..., None, :], others], axis=-2)
            moves = moves + jnp.sum(lengths[..., None, :, None] * fields, axis=-2).mT
            moves = jnp.clip(moves, -_MAX_MOVE, _MAX_MOVE)
            return ((coefficients, moves, rotation, perspective), context), None

        none = functools.partial(jnp.zeros, dtype=x2d.dtype)
        state = none((*batch, RANK)), none((*batch, *mean.shape)), rotation, none(batch)
        start = alike((state, none((*batch, WIDTH))))
        # The rounds are one loop: unrolled, they would take most of the time to compile.
        rounds = nn.scan(advance, variable_broadcast="params", split_rngs={"params": False})
        (state, context), _ = rounds(self, start, (gains, reach))
        *_, rotation, perspective = state
        shape, points, _, shrink, middle, scale, residual = project(*state)
        observed = (image / scale + middle) * shrink
        return Proposal(shape, points, observed, residual, rotation, roll, perspective, context)


def upright(rotation: jax.Array) -> jax.Array:
    """The turn (..., 2, 2) in the image after which a head of rotation (..., 3, 3) has no roll."""
    sin, cos = -rotation[..., 0, 1], rotation[..., 1, 1]
    norm = jnp.sqrt(sin**2 + cos**2 + 1e-12)
    sin, cos = sin / norm, cos / norm
    return jnp.stack([jnp.stack([cos, sin], axis=-1), jnp.stack([-sin, cos], axis=-1)], axis=-2)


def _kernel(points: jax.Array, others: jax.Array, length: jax.Array) -> jax.Array:
    """(N, N), 1 where a point of one (N, 3) is at that of the other, less the farther they are."""
    square = jnp.sum((points[:, None] - others) ** 2, axis=-1)
    return jnp.exp(-square / (2 * length**2))


def _log_lengths(key, shape, dtype=jnp.float32):
    del key, shape
    return jnp.log(jnp.array(_LENGTHS, dtype))
