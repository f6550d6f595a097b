"""The depth network of Zhao, Wang & Martinez, which the paper compares with."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from deepmds_jax.geometry import centre


def zhao_normalize(x2d: jax.Array) -> jax.Array:
    """Centres (..., N, 2) landmarks and divides them by (std of x + std of y)."""
    centred = centre(x2d)
    return centred / jnp.sum(jnp.std(centred, axis=-2), axis=-1)[..., None, None]


class ZhaoNetwork(nn.Module):
    """Maps (..., N, 2) landmarks from `zhao_normalize` to their depths (..., N), same scale.

    Five tanh layers of 2N and one of N; 114,840 parameters for N = 72. In the released weights
    depth points towards the viewer and the image's y up.

    Source: Zhao, Wang & Martinez (2017), "A simple, fast and highly-accurate algorithm to recover
    3D shape from 2D landmarks on a single image", arXiv:1609.09058; the release's reading of it.

    Attributes:
      num_landmarks: N.
    """

    num_landmarks: int

    @nn.compact
    def __call__(self, x2d: jax.Array) -> jax.Array:
        x = x2d.reshape(*x2d.shape[:-2], 2 * self.num_landmarks)
        for i in range(1, 6):
            x = nn.tanh(nn.Dense(2 * self.num_landmarks, name=f"dense{i}")(x))
        return nn.tanh(nn.Dense(self.num_landmarks, name="dense6")(x))
