"""The frontalising autoencoder ("occlusion removal")."""

import flax.linen as nn
import jax

from deepmds_jax.models.layers import batch_norm, leaky_relu


class Autoencoder(nn.Module):
    """Maps landmarks seen from any pose to the frontal orthographic view.

    Dense 2N-64-32-16-16-32-64-2N, each followed by LeakyReLU and batch normalisation, except
    that the release leaves the normalisation after the 16-unit bottleneck unused. Called on
    (..., N, 2) float, min-max scaled jointly over x and y; returns (..., N, 2): x and y of the 3D
    landmarks in the scaling of the training targets.

    Source: Kamyab & Azimifar (2022), section 3.1 and eq. 7; layer sizes from the release.

    Attributes:
      num_landmarks: N; 24,880 trainable parameters for 72, 19,378 for 51.
    """

    num_landmarks: int

    @nn.compact
    def __call__(self, x2d: jax.Array, train: bool = False) -> jax.Array:
        x = x2d.reshape(*x2d.shape[:-2], 2 * self.num_landmarks)
        for i, width in enumerate((64, 32, 16, 16, 32, 64, 2 * self.num_landmarks), start=1):
            x = leaky_relu(nn.Dense(width, name=f"dense{i}")(x))
            if i != 4:
                x = batch_norm(train, f"norm{i}")(x)
        return x.reshape(x2d.shape)
