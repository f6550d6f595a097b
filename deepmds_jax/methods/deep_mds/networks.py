"""The two networks of Deep-MDS as published: the autoencoder and the dissimilarity network."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from deepmds_jax.methods.layers import batch_norm, leaky_relu

# Numbers in the features of a pair, by kind; see `pair_features`.
FEATURE_SIZES = {"paper": 6, "release": 5, "identity": 6}
_EMBEDDING = 4


class Autoencoder(nn.Module):
    """Maps landmarks seen from any pose to the frontal orthographic view ("occlusion removal").

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


def pair_features(points: jax.Array, kind: str = "paper") -> jax.Array:
    """Features of all ordered pairs of landmarks, the same for (i, j) and (j, i).

    Args:
      points: (..., N, 2) float, frontal landmarks, min-max scaled.
      kind: "paper" is eq. 6: |xi - xj|, xi * xj, exp(-|xi - xj|), elementwise, 6 numbers.
        "release" is what the authors' scripts feed: xi * xj, exp(-|xi - xj|), ||xi - xj||, 5.
        "identity" is "paper"; the network adds what it knows of the landmarks.

    Returns:
      (..., N, N, 6 or 5) float.

    Raises:
      ValueError: another kind.

    Source: Kamyab & Azimifar (2022), eq. 6.
    """
    xi, xj = points[..., :, None, :], points[..., None, :, :]
    difference, product = jnp.abs(xi - xj), xi * xj
    closeness = jnp.exp(-difference)
    if kind in ("paper", "identity"):
        return jnp.concatenate([difference, product, closeness], axis=-1)
    if kind == "release":
        square = jnp.sum(difference**2, axis=-1, keepdims=True)
        apart = square > 0  # the root has no gradient at 0
        norm = jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1)), 0)
        return jnp.concatenate([product, closeness, norm], axis=-1)
    raise ValueError(f"kind: expected one of {list(FEATURE_SIZES)}, got {kind!r}")


class DissimilarityNetwork(nn.Module):
    """Estimates the 3D Euclidean distance of a pair of landmarks from its features.

    Five dense layers of 20, each followed by LeakyReLU and batch normalisation; the outputs of
    the 2nd and the 4th are concatenated before the 5th; then dense 1 and batch normalisation.
    Called on (..., 6) or (..., 5) float from `pair_features`; returns (...), in units of the
    min-max scaled 3D shape. The output can be negative: its sign means nothing.

    Source: Kamyab & Azimifar (2022), section 3.2 and eq. 8; layer sizes from the release: 2,423
    trainable parameters and 202 moving statistics with its five features.

    Attributes:
      num_landmarks: 0, as published; or N, where the network is to know which landmarks it looks
        at (ours): called on the features of all N x N pairs in order, it adds those of eq. 6 of an
        embedding of four numbers per landmark, which it learns.
    """

    num_landmarks: int = 0

    @nn.compact
    def __call__(self, features: jax.Array, train: bool = False) -> jax.Array:
        def hidden(x, i):
            return batch_norm(train, f"norm{i}")(leaky_relu(nn.Dense(20, name=f"dense{i}")(x)))

        if self.num_landmarks:
            shape = (self.num_landmarks, _EMBEDDING)
            identity = self.param("identity", nn.initializers.normal(0.5), shape)
            own = pair_features(identity).reshape(self.num_landmarks**2, -1)
            faces = features.reshape(-1, self.num_landmarks**2, features.shape[-1])
            own = jnp.broadcast_to(own, (*faces.shape[:-1], own.shape[-1]))
            known = jnp.concatenate([faces, own], axis=-1)
            features = known.reshape(*features.shape[:-1], known.shape[-1])
        second = hidden(hidden(features, 1), 2)
        fourth = hidden(hidden(second, 3), 4)
        x = hidden(jnp.concatenate([second, fourth], axis=-1), 5)
        return batch_norm(train, "norm6")(nn.Dense(1, name="dense6")(x))[..., 0]
