"""The pair network: the distance of every pair of landmarks, with a standard deviation."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from deepmds_jax.mds.measures import squared_distances
from deepmds_jax.mds.ordering import pair_positions
from deepmds_jax.methods.anchored.encoder import Proposal

_CODE = 10  # numbers in a landmark's code
_CONTEXT = 8
_WIDTH = 16
# Bounds that no face comes near; they keep the answer finite where the landmarks are not a face's.
_MAX_LOG_RATIO = 1.0  # of a distance to the proposal's
_LOG_STD = (-8.0, 1.0)


class PairEstimate(NamedTuple):
    """The pair network's answer.

    Attributes:
      distances: (..., N, N) in the unit of the proposal, symmetric, 0 on the diagonal.
      std: (..., N, N) standard deviation of each; 1 on the diagonal.
      landmark_std: (..., N, 3) standard deviations of x, y and z of each landmark in the result, in
        the upright camera frame.
      observed_std: (..., N) standard deviation of x and y as the image shows them.
      angle_std: (..., 3) standard deviations of yaw, pitch and roll, radians.
      trust: (4,) logarithms of the weights that stress majorization gives to the proposal's x, y
        and z and to the distances, as shares of their precisions: the errors of one face are
        correlated, so their precisions do not simply add up.
    """

    distances: jax.Array
    std: jax.Array
    landmark_std: jax.Array
    observed_std: jax.Array
    angle_std: jax.Array
    trust: jax.Array


class PairNetwork(nn.Module):
    """Estimates the 3D distance of every pair of landmarks, knowing which landmarks they are.

    Each landmark has a code: its place in the encoder's proposal, what the image shows beyond that,
    whether it is visible, and the encoder's context, through one dense layer whose bias is the
    landmark's own (its identity). The features of a pair are |ci - cj|, ci * cj and exp(-|ci - cj|)
    of its two codes, as in the paper (eq. 6), and symmetric; two hidden layers turn them into the
    logarithm of the distance over the proposal's, and into its precision.

    Called on a `Proposal` and visible (..., N); returns a `PairEstimate`.

    Source: Kamyab & Azimifar (2022), section 3.2; identity and context are ours.

    Attributes:
      num_landmarks: N; 2,645 parameters for 68.
    """

    num_landmarks: int

    @nn.compact
    def __call__(self, proposal: Proposal, visible: jax.Array) -> PairEstimate:
        identity = self.param("identity", nn.initializers.normal(0.5), (self.num_landmarks, _CODE))
        bias = self.param("landmarks", _precisions, (self.num_landmarks, 4))
        context = nn.Dense(_CONTEXT, use_bias=False, name="context")(proposal.context)
        context = jnp.broadcast_to(context[..., None, :], (*visible.shape, _CONTEXT))
        local = [proposal.points, 10 * proposal.residual, visible[..., None], context]
        local = nn.Dense(_CODE, use_bias=False, name="code")(jnp.concatenate(local, axis=-1))
        code = nn.gelu(local + identity)

        # Each pair once, features first: long rows are what a processor multiplies fastest.
        of_one, of_other = around(code)
        difference = jnp.abs(of_one - of_other)
        features = jnp.concatenate([difference, of_one * of_other, jnp.exp(-difference)])
        last = nn.initializers.normal(0.025)
        x = nn.hard_swish(_FirstAxisDense(_WIDTH, name="dense1")(features))
        x = nn.hard_swish(_FirstAxisDense(_WIDTH, name="dense2")(x))
        x = _FirstAxisDense(2, kernel_init=last, name="dense3")(x)
        log_ratio, log_precision = square(x)
        log_ratio = jnp.clip(0.1 * log_ratio, -_MAX_LOG_RATIO, _MAX_LOG_RATIO)
        proposed = jnp.sqrt(squared_distances(proposal.points) + 1e-8)
        is_pair = ~np.eye(self.num_landmarks, dtype=bool)
        spread = nn.Dense(4, use_bias=False, kernel_init=last, name="head")(code) + bias
        spread = jnp.exp(jnp.clip(-spread, *_LOG_STD))
        # How sure the pose is shall not change the pose.
        turn = nn.Dense(3, kernel_init=last, name="turn")(jax.lax.stop_gradient(proposal.context))
        turn = jnp.clip(turn, -2.5, 1.5)  # 21 to 0.4 degrees
        return PairEstimate(
            jnp.where(is_pair, proposed * jnp.exp(log_ratio), 0),
            jnp.where(is_pair, jnp.exp(jnp.clip(-3 - log_precision, *_LOG_STD)), 1),
            spread[..., :3], spread[..., 3],
            jnp.exp(-3.5 - turn), self.param("trust", _trust, (4,)),
        )


class _FirstAxisDense(nn.Module):
    """A dense layer, with the parameters of `nn.Dense`, over the first axis instead of the last."""

    features: int
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", self.kernel_init, (x.shape[0], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return jnp.tensordot(kernel.T, x, 1) + jnp.expand_dims(bias, range(1, x.ndim))


def around(values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Values (..., N, C) of each pair's landmarks, (C, ..., 1, N) and (C, ..., N // 2, N).

    The landmarks stand on a circle, and landmark i is paired with those up to half-way round after
    it, as in `pair_codes`. Windows of the circle need no table of indices.
    """
    num_landmarks, num_values = values.shape[-2:]
    # The unit matrix makes the compiler store them: it would compute them anew for every pair.
    first = jnp.tensordot(jnp.eye(num_values, dtype=values.dtype), values, (1, -1))
    twice = jnp.concatenate([first, first], axis=-1)

    def after(steps):
        return lax.dynamic_slice_in_dim(twice, steps, num_landmarks, axis=-1)

    steps = 1 + jnp.arange(num_landmarks // 2)
    return first[..., None, :], jax.vmap(after, out_axes=-2)(steps)


def square(values: jax.Array) -> jax.Array:
    """Values (..., N // 2, N) of pairs as in `around`, as (..., N, N); arbitrary for i, i."""
    flat = values.reshape(*values.shape[:-2], -1)
    positions = pair_positions(values.shape[-1])
    return flat.at[..., positions].get(mode="promise_in_bounds", wrap_negative_indices=False)


def _precisions(key, shape, dtype=jnp.float32):
    del key
    return jnp.broadcast_to(jnp.array([3.0, 3.0, 2.5, 3.5], dtype), shape)


def _trust(key, shape, dtype=jnp.float32):
    del key, shape
    return jnp.array([-1.0, -1.0, -1.0, -2.0], dtype)
